"""The stock dbt, as somebody without Asgard runs it."""

import asyncio
import sys
from pathlib import Path


async def dbt(command: str, folder: Path, *more: str) -> None:
    """Run the stock command in an environment without Asgard's variables."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("dbt"),
        command,
        *("--project-dir", folder, "--profiles-dir", folder),
        *more,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "DO_NOT_TRACK": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
