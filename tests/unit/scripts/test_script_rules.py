"""Rules for every script in script/."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harnesses.scripts import SCRIPTS, run

ALL = sorted(SCRIPTS.glob("*.sh"))
PROGRAMS = [path for path in ALL if os.access(path, os.X_OK)]
SOURCED = {"gateway-client.sh", "port-forward.sh"}


@pytest.mark.thorough
def test_shellcheck_finds_nothing() -> None:
    beside = str(Path(sys.executable).parent)
    shellcheck = shutil.which("shellcheck", path=f"{beside}:{os.environ['PATH']}")
    assert shellcheck is not None
    done = subprocess.run([shellcheck, *ALL], capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert (done.returncode, done.stdout) == (0, "")


def test_files_that_cannot_run_are_only_sourced() -> None:
    assert {path.name for path in ALL if path not in PROGRAMS} == SOURCED
    for name in SOURCED:
        assert (SCRIPTS / name).read_text().splitlines()[1].startswith("# Source this file ")


def test_every_script_is_strict() -> None:
    assert [path for path in PROGRAMS if "\nset -euo pipefail\n" not in path.read_text()] == []


@pytest.mark.parametrize("script", [path.name for path in PROGRAMS])
async def test_a_script_explains_itself(script: str, tmp_path: Path) -> None:
    result = await run(script, "--help", HOME=str(tmp_path))
    assert (result.code, result.err) == (0, "")
    assert result.out.strip()
    assert not [line for line in result.out.splitlines() if line.startswith(("#", "set "))]
