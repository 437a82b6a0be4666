"""The types of sources that Asgard reads itself are entries of a registry, with one base."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.airbyte.local.files.paths import SourceFile
from app.airbyte.local.files.source import FileSource
from app.airbyte.local.source_types import SOURCE_TYPES
from app.airbyte.source_configs import TYPED
from app.config import Settings

COLUMNS = [{"name": "id", "type": "integer"}]


@pytest.mark.parametrize("type_", SOURCE_TYPES)
def test_a_type_has_a_config_and_a_reader(type_: str) -> None:
    source = SOURCE_TYPES[type_]
    assert TYPED[type_] is source.config
    reader = import_module(source.reader)
    assert callable(reader.read_file)
    assert callable(reader.file_streams)


class Config(BaseModel):
    streams: list[str | None]


class Files(FileSource):
    config = Config
    reader = "the.reader"

    async def files(self, config: dict[str, Any]) -> list[SourceFile]:
        return [SourceFile(name, "a.db", path=Path("/a.db")) for name in config["streams"]]


class Workers:
    """Stands in for the work directories. Its worker says what a file has."""

    def __init__(self, *streams: str) -> None:
        self.streams = [{"name": name, "columns": COLUMNS} for name in streams]
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def for_file(self, _: str) -> AsyncIterator["Workers"]:
        yield self

    async def call(self, _: str, message: dict[str, Any], **__: Any) -> dict[str, Any]:
        self.asked.append(message)
        return {"streams": self.streams}


def source(workers: Workers) -> Files:
    return Files("toy", Settings(_env_file=None), [], None, workers)  # type: ignore[arg-type]


async def test_a_file_of_several_streams_is_asked_for_them() -> None:
    workers = Workers("people", "orders")
    known = await source(workers).known_streams("toy", {"streams": [None]}, ())
    assert [(s.name, [c.name for c in s.columns]) for s in known] == [
        ("people", ["id"]),
        ("orders", ["id"]),
    ]
    [message] = workers.asked
    assert (message["type"], message["name"], message["stream"]) == ("toy", "a.db", None)


async def test_a_file_that_is_a_stream_is_not_opened_for_its_name() -> None:
    workers = Workers("people")
    [known] = await source(workers).known_streams("toy", {"streams": ["a"]}, ())
    assert (known.name, known.columns, workers.asked) == ("a", (), [])


async def test_a_worker_cannot_rename_the_stream_of_a_file() -> None:
    """A hostile file may control the worker that has parsed it."""
    [found] = await source(Workers("renamed", "more")).discover("toy", {"streams": ["a"]}, ())
    assert found.name == "a"
