"""Every path and module that a document names exists in the tree."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"))
)
FOLDERS = "app|benchmarks|docs|helmchart|k8s|script|tests"
PATH = re.compile(rf"(?<![\w./$-])(?:\./)?((?:{FOLDERS})/[\w./-]*[\w/])")
MODULE = re.compile(r"(?<![\w./-])((?:app|tests)(?:\.\w+)+)")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
CREATED = frozenset({"docs/openapi.json"})
"""Paths that look like the tree's, and that a reader creates."""


def paths_in(text: str) -> Iterator[str]:
    for match in PATH.finditer(text):
        if not text[match.end() :].startswith("*"):
            yield match[1]


def modules_in(text: str) -> Iterator[str]:
    for match in MODULE.finditer(text):
        if not match[1].endswith((".md", ".py")):
            yield match[1]


def module_exists(name: str) -> bool:
    """Whether it is a module, or an attribute of one: `app.main`, `app.edge.wire.Wire`."""
    for parts in (name.split("."), name.split(".")[:-1]):
        folder = ROOT.joinpath(*parts)
        if folder.with_suffix(".py").is_file() or (folder / "__init__.py").is_file():
            last = name.split(".")[len(parts) :]
            if not last:
                return True
            source = folder.with_suffix(".py")
            source = source if source.is_file() else folder / "__init__.py"
            return re.search(rf"\b{last[0]}\b", source.read_text()) is not None
    return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_a_document_exists(document: str) -> None:
    named = set(paths_in((ROOT / document).read_text())) - CREATED
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_in_a_document_exists(document: str) -> None:
    named = set(modules_in((ROOT / document).read_text()))
    assert [name for name in sorted(named) if not module_exists(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_in_a_document_leads_to_a_file(document: str) -> None:
    folder = (ROOT / document).parent
    targets = set(LINK.findall((ROOT / document).read_text()))
    assert [target for target in sorted(targets) if not (folder / target).exists()] == []


def test_paths_and_modules_are_recognized(tmp_path: Path) -> None:
    text = "`app/edge/wire.py`, ./script/test.sh, app.edge.wire:Wire, https://a.example.com/docs/x"
    assert list(paths_in(text)) == ["app/edge/wire.py", "script/test.sh"]
    assert list(modules_in(text)) == ["app.edge.wire"]
    assert not (tmp_path / "app/edge/door.py").exists()
    assert not module_exists("app.edge.door")
    assert not module_exists("app.edge.wire.Door")
    assert module_exists("app.edge.wire.Wire")
    assert importlib.util.find_spec("app.edge.wire") is not None
