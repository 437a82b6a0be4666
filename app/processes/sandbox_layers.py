"""Finds out which layers of the sandbox this system has, from a child process inside of one."""

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
from app.sandbox.landlock import abi
from app.sandbox.policy import Sandbox
from app.sandbox.relay import Address

NAMESPACES, LANDLOCK, SECCOMP = "user namespaces", "Landlock", "seccomp"
LAYERS = (NAMESPACES, LANDLOCK, SECCOMP)
EXPOSED = {
    NAMESPACES: "workers on DuckDB can reach the lake's TCP ports on any host, and local processes "
    "can reach Sail's port",
    LANDLOCK: "workers can read and write the files of the gateway's user",
    SECCOMP: "workers can use system calls that bypass the other layers",
}
"""Describes what is exposed without each layer."""


async def reached(hosts: Sequence[Address] = ()) -> dict[str, Any]:
    """Return which of this process's own things a child in a builder's sandbox reached, and its
    `layers`."""
    with tempfile.TemporaryDirectory() as outside, tempfile.TemporaryDirectory() as folder:
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
    found: dict[str, Any] = json.loads(answer)
    landlock = sys.platform == "linux" and abi() > 0
    has = {NAMESPACES: found["namespaces"], LANDLOCK: landlock, SECCOMP: found["seccomp"]}
    return {**found, "layers": [layer for layer in LAYERS if has[layer]]}
