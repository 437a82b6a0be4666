"""Clients and operators read plain English: see CONTRIBUTING.md for the rule."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app import errors
from app.config import Settings
from app.config.reference import variables
from app.http.problems import catalogue
from app.main import create_app

BANNED = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<!here )\bis no (?!longer\b|more\b)",
        r"\banew\b",
        r"\bbesides\b",
        r"\bformer(ly)?\b",
        r"\b[Ww]hoever\b",
        r"\b[Aa]s whom\b",
        r"\bcannot be right\b",
        r"\bsaid in so many words\b",
        r"\b(is|was|are|were) told\b",
        r"\bof its own\b",
        r"^(Of|By|And|Who) ",
        r"[.:;] (Who|And) ",
        r";[^;]*;",
    )
)
"""What the rules for English replace: puzzles, translated idioms and chains of semicolons."""


OF_ROUTES = re.compile(r"^(What|As) ")
"""A route's description begins with a verb."""


def phrases_in(text: str) -> list[str]:
    return [match[0] for pattern in BANNED if (match := pattern.search(text))]


def descriptions(document: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key in {"description", "summary"} and isinstance(value, str):
                yield f"{path}/{key}", value
            else:
                yield from descriptions(value, f"{path}/{key}")
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from descriptions(value, f"{path}/{number}")


@pytest.mark.parametrize(
    "text",
    [
        "cronExpression is no cron expression",
        "The table is built anew.",
        "Keys, besides those of the file.",
        "As whom Asgard works in Trino.",
        "Of TRINO_HOST.",
        "One thing; another; a third.",
        "The run ended. Who waits is answered.",
    ],
)
def test_a_banned_phrase_is_found(text: str) -> None:
    assert phrases_in(text)


@pytest.mark.parametrize("text", ["There is no such run.", "The key is no longer valid.", "A; b."])
def test_plain_text_passes(text: str) -> None:
    assert phrases_in(text) == []


def test_errors_have_plain_titles_and_meanings() -> None:
    texts = [text for problem in catalogue() for text in (problem["title"], problem["meaning"])]
    assert {text: found for text in texts if (found := phrases_in(text))} == {}


def test_the_source_of_the_errors_is_plain() -> None:
    lines = inspect.getsource(errors).splitlines()
    assert {line: found for line in lines if (found := phrases_in(line.strip(' "')))} == {}


def test_settings_have_plain_descriptions() -> None:
    texts = {
        f"{variable.name} {part}": text
        for variable in variables()
        for part, text in (("description", variable.description), ("kind", variable.kind))
    }
    assert {name: found for name, text in texts.items() if (found := phrases_in(text))} == {}
    assert [name for name, text in texts.items() if ";" in text] == []


def test_the_openapi_document_has_plain_descriptions() -> None:
    document = create_app(Settings(_env_file=None)).openapi()  # type: ignore[call-arg]
    texts = list(descriptions(document))
    assert len(texts) > 100
    assert {path: found for path, text in texts if (found := phrases_in(text))} == {}
    routes = [
        (path, text)
        for path, text in texts
        if re.search(r"/(get|post|put|patch|delete)/\w+$", path)
    ]
    assert {path: text for path, text in routes if OF_ROUTES.search(text)} == {}
