"""Every path, module, member, file and heading that a document names exists."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "helmchart/*.md")
    for path in ROOT.glob(pattern)
)
FOLDERS = "app|benchmarks|docs|helmchart|k8s|script|tests"
PATH = re.compile(rf"(?<![\w./$-])(?:\./)?((?:{FOLDERS})/[\w./-]*[\w/])")
MODULE = re.compile(r"(?<![\w./-])((?:app|tests)(?:\.\w+)+)")
MEMBER = re.compile(r"`(\w+)` of `(app(?:\.\w+)+)`")
FILE = re.compile(r"`([\w-]+\.(?:py|sh|sql))`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
HEADING_LINK = re.compile(r"\]\(([^)#:\s]*)#([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TREE = ("app", "benchmarks", "script", "tests")
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


def has_member(of: str, member: str) -> bool:
    """Whether the module of the class `of` has a member of that name: `app.runs.model.Run`."""
    source = ROOT.joinpath(*of.split(".")[:-1]).with_suffix(".py")
    return module_exists(of) and re.search(rf"\b{member}\b", source.read_text()) is not None


def anchors_in(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in HEADING.findall(outside))
    return {heading.replace(" ", "-") for heading in plain}


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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_in_a_document_leads_to_a_heading(document: str) -> None:
    path = ROOT / document
    links = set(HEADING_LINK.findall(path.read_text()))
    texts = {name: (path.parent / name if name else path).read_text() for name, _ in links}
    assert [link for link in sorted(links) if link[1] not in anchors_in(texts[link[0]])] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_member_in_a_document_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    names = {path.name for folder in TREE for path in (ROOT / folder).rglob("*.*")}
    assert sorted(set(FILE.findall(text)) - names) == []
    assert [pair for pair in MEMBER.findall(text) if not has_member(pair[1], pair[0])] == []


def test_headings_and_members_are_recognized() -> None:
    text = "# Who, what & why?\n## `a_b` of 1.5\n```bash\n# not one\n```\n"
    assert anchors_in(text) == {"who-what--why", "a_b-of-15"}
    assert has_member("app.runs.model.Run", "epoch")
    assert not has_member("app.runs.model.Run", "aeon")


def test_paths_and_modules_are_recognized(tmp_path: Path) -> None:
    text = "`app/edge/wire.py`, ./script/test.sh, app.edge.wire:Wire, https://a.example.com/docs/x"
    assert list(paths_in(text)) == ["app/edge/wire.py", "script/test.sh"]
    assert list(modules_in(text)) == ["app.edge.wire"]
    assert not (tmp_path / "app/edge/door.py").exists()
    assert not module_exists("app.edge.door")
    assert not module_exists("app.edge.wire.Door")
    assert module_exists("app.edge.wire.Wire")
    assert importlib.util.find_spec("app.edge.wire") is not None
