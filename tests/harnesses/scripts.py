"""Scripts as an operator runs them; programs that they call are recorded, or stood in for."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).parents[2] / "script"
SECONDS = 150


class ScriptResult(NamedTuple):
    code: int
    out: str
    err: str


class Bin:
    """A directory in front of PATH. What is in it notes how it was called, a line a call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        folder.mkdir()
        self.calls.touch()

    def add(self, name: str, body: str) -> None:
        program = self.folder / name
        note = f'printf "%s\\n" "{name} $(printf "%s" "$*" | tr "\\n" " ")" >>"{self.calls}"'
        program.write_text(f"#!/usr/bin/env bash\n{note}\n{body}\n")
        program.chmod(0o755)

    def watch(self, name: str) -> None:
        """The real one, noted."""
        real = shutil.which(name)
        assert real is not None
        self.add(name, f'exec {real} "$@"')

    @property
    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


async def run(
    script: str | Path, *arguments: str, bin_: Bin | None = None, **environment: str
) -> ScriptResult:
    """With nothing of the test's own settings in its environment."""
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    known = {"PATH": ":".join([str(bin_.folder), *path] if bin_ else path), "LC_ALL": "C.UTF-8"}
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / script,
        *arguments,
        env={**known, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return ScriptResult(process.returncode, out.decode(), err.decode())
