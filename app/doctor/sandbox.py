"""Tests the sandbox of processes that run dbt and SQL from inside, since kernels differ."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.config import Settings
from app.doctor.findings import Finding, finding
from app.processes import ChildProcess
from app.sandbox import probe, run_module
from app.sandbox.landlock import abi
from app.sandbox.policy import Sandbox
from app.sandbox.relay import Address

UNREACHED = ("127.0.0.1", 1)
"""A host that the probe may reach, as builders on DuckDB may reach the lake. Nothing listens."""
WHAT = "builder sandbox"
ADVICE = (
    "docs/security.md lists what each layer needs: user namespaces, Landlock (Linux 5.13), seccomp."
)


async def sandbox_findings(settings: Settings) -> list[Finding]:
    """Warns, but never fails, when a layer is missing: the SQL guard works without it."""
    hosts = () if settings.is_production("sql") else (UNREACHED,)
    reached: dict[str, Any] = {}

    async def check() -> str:
        reached.update(await _reached(hosts))
        return _described(reached)

    result = await finding(WHAT, check, ADVICE)
    if not result.ok:
        return [result]
    open_ = [name for name in ("file", "network", "process") if reached[name]]
    return [Finding(WHAT, True, result.said, ADVICE, is_warning=bool(open_))]


async def _reached(hosts: tuple[Address, ...]) -> dict[str, Any]:
    """Return which of this process's own things a child in a builder's sandbox reached."""
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
                sandbox=Sandbox(Path(folder), hosts),
                pipe_stdout=True,
            )
            answer = await child.stdout.read()
            code = await child.wait()
    if code != 0:
        raise RuntimeError(f"the probe ended with exit code {code}")
    reached: dict[str, Any] = json.loads(answer)
    return reached


def _described(reached: dict[str, Any]) -> str:
    layers = [name for name in ("namespaces", "seccomp") if reached[name]]
    if version := abi():
        layers.insert(0, f"Landlock ABI {version}")
    active = ", ".join(layers) or "no sandbox layer"
    words = {
        "file": "files of the gateway",
        "network": "other local ports",
        "process": "other processes",
    }
    open_ = [word for name, word in words.items() if reached[name]]
    verdict = f"builders can reach {', '.join(open_)}" if open_ else "builders are confined"
    return f"{verdict} ({active})"
