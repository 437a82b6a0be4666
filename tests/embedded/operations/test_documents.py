"""Runs every command of the documents, from top to bottom, and compares every answer."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents import CLUSTER, LOCAL, blocks, differences, told, untrue
from tests.live_gateway import live_gateway


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", LOCAL)
def test_the_answers_in_a_document_are_correct(document: str, tmp_path: Path) -> None:
    local = [block for block in blocks(document) if not CLUSTER.search(block.commands)]
    with live_gateway(tmp_path / ".asgard") as gateway:
        here = [
            replace(block, commands=block.commands.replace("http://localhost:8000", gateway.url))
            for block in local
        ]
        printed = told(here, tmp_path, os.environ, 240)
    assert untrue(local, printed) == []
    assert sum(block.answer is not None for block in local) >= 2


def test_an_answer_that_differs_from_the_document_is_detected() -> None:
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
