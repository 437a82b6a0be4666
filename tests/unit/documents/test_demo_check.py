"""The demo's check is worth nothing if it shares code with what it checks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app.demo.data import FILES, altered_copy, raw_data

ROOT = Path(__file__).parents[3]
CHECK = ROOT / "script" / "demo_check.py"


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.thorough
def test_the_check_imports_nothing_of_the_application() -> None:
    script = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='check');"
        "print([name for name in sys.modules if name.split('.')[0] == 'app'])"
    )
    command = [sys.executable, "-c", script, str(CHECK)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"
    assert not {name for name in _imported(CHECK) if name.split(".")[0] == "app"}


@pytest.mark.parametrize("path", sorted((ROOT / "app" / "demo").glob("*.py")), ids=lambda p: p.name)
def test_the_demo_imports_no_other_part(path: Path) -> None:
    own = {name for name in _imported(path) if name.split(".")[0] == "app"}
    assert {name for name in own if not name.startswith("app.demo")} == set()


def test_a_seed_gives_the_same_data_again_and_another_seed_gives_other_data(
    tmp_path: Path,
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for name in FILES[1:]:
        head = (raw_data() / name).read_text().splitlines(keepends=True)[:400]
        (small / name).write_text("".join(head))
    copies = []
    for number, seed in enumerate((7, 7, 8)):
        altered_copy(small, tmp_path / str(number), seed, FILES[1:])
        copies.append((tmp_path / str(number) / "airports.csv").read_text())
    assert copies[0] == copies[1]
    assert copies[0] != copies[2]
    original = (small / "airports.csv").read_text().splitlines()
    altered = copies[0].splitlines()
    assert altered[0] == original[0]
    assert set(original) - set(altered)
    assert len(altered) > len(set(altered))
