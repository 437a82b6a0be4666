"""Does to an embedded lake what an administrator with its certificate can do."""

import asyncio
import os
from pathlib import Path

from app.lakehouse.embedded.home import Home
from app.lakehouse.embedded.seaweedfs import _program
from app.lakehouse.embedded.seaweedfs_ports import environment


async def shell(home: Path, *commands: str) -> str:
    """Return what `weed shell` says."""
    shared = Home(home).read()
    ports = shared.ports
    program = await asyncio.create_subprocess_exec(
        _program(),
        "shell",
        f"-master=127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}",
        f"-filer=127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**environment(Home(home), shared), "HOME": str(home), "PATH": os.environ["PATH"]},
        cwd=home,
    )
    asked = "\n".join(["lock", *commands, "unlock", "exit\n"])
    async with asyncio.timeout(60):
        said, _ = await program.communicate(asked.encode())
    return said.decode()
