"""Every command of the documents is run, from top to bottom, and every answer is as it is shown."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.documents import CLUSTER, Block, blocks, differences
from tests.live_gateway import live_gateway

DOCUMENTS = {
    "docs/DOCUMENTATION.md": 8,
    "docs/TRANSFORMATION_APIs_DOCUMENTATION.md": 8,
    "docs/operations.md": 2,
}
"""With as many answers as each shows at least."""
MARK = "\x1eblock "
KEY = "a-key-for-the-documents-0123456789"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_is_true(document: str, tmp_path: Path) -> None:
    local = [block for block in blocks(document) if not CLUSTER.search(block.commands)]
    environment = {}
    if any("$KEY" in block.commands for block in local):
        key = tmp_path / "api-key"
        key.write_text(KEY)
        key.chmod(0o600)
        environment = {"AUTH_MODE": "api_key", "AUTH_API_KEY_FILE": str(key)}
    with live_gateway(tmp_path / ".asgard", **environment) as gateway:
        told = _told(local, gateway.url, tmp_path)
    wrong = []
    for block, answer in zip(local, told, strict=True):
        if block.answer is not None:
            found = differences(json.loads(block.answer), json.loads(answer))
            wrong += [f"{block.where} {difference}" for difference in found]
    assert wrong == []
    assert sum(block.answer is not None for block in local) >= DOCUMENTS[document]


def _told(local: list[Block], url: str, folder: Path) -> list[str]:
    """What each block printed, all in one shell: later ones use what earlier ones set."""
    script = "".join(f"printf '{MARK}'\n{block.commands}" for block in local)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://localhost:8000", url)],
        cwd=folder,
        env={**os.environ, "KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    told = run.stdout.split(MARK)[1:]
    assert run.returncode == 0, f"{local[len(told) - 1].where}: {run.stderr}"
    return told


def test_another_answer_than_the_one_shown_is_found() -> None:
    shown = {"rows": 3, "size_bytes": 10, "at": "2026-11-01T10:00:00Z", "names": ["a", "…"]}
    same = {"rows": 3, "size_bytes": 99, "at": "2027-01-02T03:04:05.6Z", "names": ["a", "b"]}
    assert list(differences(shown, same)) == []
    other = {"rows": 4, "at": "today", "names": ["b"], "more": 1}
    assert list(differences(shown, other)) == [
        ": ['size_bytes'] missing",
        ": ['more'] not shown",
        ".rows: 4 instead of 3",
        ".at: 'today' instead of '2026-11-01T10:00:00Z'",
        ".names[0]: 'b' instead of 'a'",
    ]
