"""Determines which layers of the sandbox this system has, from a child process in a sandbox."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.processes.child import ChildProcess
from app.sandbox import probe, run_module
from app.sandbox.landlock import PORTS_SINCE, SCOPES_SINCE, TRUNCATION_SINCE, abi
from app.sandbox.policy import Sandbox
from app.sandbox.relay import Address

NAMESPACES, LANDLOCK, SECCOMP = "user namespaces", "Landlock", "seccomp"
TRUNCATION, TCP, SIGNALS = "Landlock ABI 3", "Landlock ABI 4", "Landlock ABI 6"
PARTS = {TRUNCATION: TRUNCATION_SINCE, TCP: PORTS_SINCE, SIGNALS: SCOPES_SINCE}
"""The layers that only later versions of Landlock have, with the version."""
LAYERS = (NAMESPACES, LANDLOCK, *PARTS, SECCOMP)
EXPOSED = {
    NAMESPACES: "workers on DuckDB can reach the lake's TCP ports on any host, and local processes "
    "can reach Sail's port. Without Landlock ABI 4, workers can reach every host and port",
    LANDLOCK: "workers can read and write the files of the gateway's user",
    TRUNCATION: "only seccomp prevents workers from emptying the files of the gateway's user",
    TCP: "only user namespaces limit the hosts and ports that workers can reach",
    SIGNALS: "only seccomp prevents workers from ending the processes of the gateway's user",
    SECCOMP: "workers can use system calls that bypass the other layers",
}
"""Describes what is exposed without each layer."""


async def reached(home: Path, hosts: Sequence[Address] = ()) -> dict[str, Any]:
    """Return which of this process's own things a child in a builder's sandbox reached, and its
    `layers`. The file that it tries to read lies in `home`."""
    await asyncio.to_thread(home.mkdir, mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as outside, tempfile.TemporaryDirectory() as folder:
        canary = Path(outside) / "canary"
        canary.write_text("a file of the gateway")
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            arguments = [str(canary), str(port), str(os.getpid())]
            child = await ChildProcess.start(
                [sys.executable, run_module.__file__, "-m", probe.__name__, *arguments],
                name="sandbox probe",
                sandbox=Sandbox(Path(folder), tuple(hosts)),
                pipe_stdout=True,
            )
            answer = await child.stdout.read()
            code = await child.wait()
    if code != 0:
        raise RuntimeError(f"the probe ended with exit code {code}")
    report: dict[str, Any] = json.loads(answer)
    version = abi() if sys.platform == "linux" else 0
    parts = {part: version >= since for part, since in PARTS.items()}
    landlock = {LANDLOCK: version > 0, **parts}
    present = {NAMESPACES: report["namespaces"], **landlock, SECCOMP: report["seccomp"]}
    return {**report, "layers": [layer for layer in LAYERS if present[layer]]}
