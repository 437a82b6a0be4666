"""What the tests of ingestion share: one engine of each adapter, with real runs."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
import pytest
import toy_connector

from app.airbyte.connector_packages import allowed_packages
from app.airbyte.driver import IngestionDriver
from app.airbyte.engine import (
    DestinationDraft,
    Ingestion,
    IngestionDraft,
    IngestionEngine,
    Source,
    SourceDraft,
    StreamChoice,
    SyncMode,
)
from app.airbyte.local_connectors import LocalConnectors
from app.airbyte.service import AirbyteService
from app.caller import Caller
from app.lakehouse.bronze import BronzeManifests
from app.runs.idempotency import IdempotencyStore
from app.runs.model import Run, RunKind
from app.runs.service import RunService

if TYPE_CHECKING:
    from conftest import Lakehouse

CALLER = Caller("tester")
TOY = "airbyte-source-toy==1.0"
SECONDS = 120


@dataclass
class World:
    """`data` is a directory that file sources may read."""

    lakehouse: "Lakehouse"
    engine: IngestionEngine
    service: AirbyteService
    runs: RunService
    manifests: BronzeManifests
    data: Path
    sink: str

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def source(self, type_: str, **config: Any) -> Source:
        draft = SourceDraft(name=f"{type_} {uuid4().hex[:6]}", type=type_, config=config)
        created = await self.service.create_source(draft, CALLER, wait_seconds=SECONDS)
        return created.source

    async def ingestion(self, source: Source, *streams: StreamChoice) -> Ingestion:
        draft = IngestionDraft(
            name=f"of {source.name}",
            source_id=source.id,
            destination_id=self.sink,
            streams=streams or None,
        )
        return (await self.service.create_ingestion(draft, CALLER))[0]

    async def sync(self, ingestion: Ingestion) -> Run:
        return (await self.service.sync(ingestion.id, CALLER, wait_seconds=SECONDS))[0]

    async def ingest(self, name: str, content: bytes | str, **config: Any) -> tuple[str, Run]:
        """Writes a file, ingests it; its bronze path and the run."""
        path = self.write(name, content)
        ingestion = await self.ingestion(await self.source("file", url=str(path), **config))
        return ingestion.streams[0].path, await self.sync(ingestion)

    async def rows(
        self,
        path: str,
        columns: str = "* EXCLUDE (_airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta)",
    ) -> list[tuple[Any, ...]]:
        """The rows that a reader of the path sees."""
        found = await self.manifests.resolve(path)
        assert found is not None, path
        directory = self.data.parent / uuid4().hex
        directory.mkdir()
        for number, key in enumerate(found.files):
            stored = await self.lakehouse.store.get(key)
            assert stored is not None, key
            (directory / f"{number:04}.parquet").write_bytes(stored.body)
        if not found.files:
            return []
        rows = duckdb.sql(f"SELECT {columns} FROM read_parquet('{directory}/*.parquet')").fetchall()
        shutil.rmtree(directory)
        return rows

    async def meta(self, path: str) -> list[Any]:
        return [json.loads(row[0]) for row in await self.rows(path, "_airbyte_meta")]

    async def keys(self, path: str) -> set[str]:
        return {info.key for info in await self.lakehouse.store.list(f"{path}/")}


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 — the condition is outside
            await asyncio.sleep(0.02)
    return found


def stream(name: str, mode: SyncMode = SyncMode.FULL_REFRESH_OVERWRITE) -> StreamChoice:
    return StreamChoice(name=name, sync_mode=mode)


def install_toy(home: Path) -> None:
    package = allowed_packages([TOY])["toy"]
    program = home / "connectors" / package.directory / "bin" / "source-toy"
    if program.exists():
        return
    program.parent.mkdir(parents=True)
    text = Path(toy_connector.__file__).read_text().split("\n", 1)[1]
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o700)
    complete = program.parents[1] / ".complete"
    complete.write_text(json.dumps({"version": "1.0", "spec": toy_connector.SPEC}))


@pytest.fixture(scope="session", params=["local"], name="world")
async def ingestion_world(
    request: pytest.FixtureRequest, lakehouse: "Lakehouse", tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    data = tmp_path_factory.mktemp("ingestion") / "data"
    data.mkdir()
    settings = lakehouse.settings.model_copy(
        update={
            "ingestion_allowed_dirs": (data,),
            "connectors_allowed": (TOY,),
            "max_running_per_engine": 4,
        }
    )
    install_toy(settings.home)
    manifests = BronzeManifests(lakehouse.store)
    engine = LocalConnectors(
        settings=settings,
        lake=lakehouse.lake,
        store=lakehouse.store,
        catalog=lakehouse.catalog,
        manifests=manifests,
        checkpoint_rows=20,
        checkpoint_seconds=3600,
    )
    runs = RunService(
        store=lakehouse.store,
        catalog=lakehouse.catalog,
        settings=settings,
        drivers={RunKind.INGESTION: IngestionDriver(engine)},
    )
    service = AirbyteService(
        engine=engine,
        runs=runs,
        idempotency=IdempotencyStore(lakehouse.store),
        settings=settings,
    )
    await engine.open()
    await runs.open()
    try:
        sink, _ = await service.create_destination(DestinationDraft(name="lake"), CALLER)
        yield World(lakehouse, engine, service, runs, manifests, data, sink.id)
    finally:
        await runs.close()
        await engine.close()
