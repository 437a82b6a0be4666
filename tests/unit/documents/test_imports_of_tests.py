"""How tests import: from `tests`, so that no module is loaded twice, and never from a test."""

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
FILES = sorted(TESTS.rglob("*.py"))
HERE = {part for file in FILES for part in file.relative_to(TESTS).with_suffix("").parts}
"""Names of modules and packages that would be found if their folder were in `sys.path`."""


def wrong_imports(code: str) -> list[str]:
    tree = ast.parse(code)
    if len(tree.body) == 1 and "import *" in ast.unparse(tree):
        # The whole file runs the tests of another file again, with the fixtures of its folder.
        return []
    return [name for name in imported(tree) if is_wrong(name)]


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_wrong(name: str) -> bool:
    root, *parts = name.split(".")
    if root == "tests":
        return any(part.startswith("test_") and part in HERE for part in parts)
    return root == "" or (root in HERE and find_spec(root) is None)


@pytest.mark.parametrize(
    "line",
    [
        "from runs_processes import FORKS",
        "import toy_connector",
        "from integration.servers.airbyte import airbyte_server",
        "from .runs import running",
        "from tests.unit import test_processes",
        "import tests.unit.test_processes",
        "from tests.unit.test_processes import until",
    ],
)
def test_a_wrong_import_is_found(line: str) -> None:
    assert len(wrong_imports(f"import trino\n{line}\nfrom tests.patience import until")) == 1


def test_tests_import_from_tests_and_never_from_a_test() -> None:
    wrong = {str(file): names for file in FILES if (names := wrong_imports(file.read_text()))}
    assert not wrong


def test_every_folder_of_tests_is_a_package() -> None:
    assert not {file.parent for file in FILES if not file.with_name("__init__.py").exists()}
