"""Shared parts of the tests of ingestion: one engine of each adapter, with real runs."""

import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import psutil
import pyarrow.parquet as pq

from app.airbyte.engine import (
    DestinationDraft,
    Ingestion,
    IngestionDraft,
    IngestionEngine,
    Source,
    SourceDraft,
    StreamSelection,
    SyncMode,
)
from app.airbyte.local.connectors.packages import allowed_packages
from app.airbyte.local.engine import LocalIngestionEngine
from app.airbyte.remote.engine import RemoteIngestionEngine
from app.airbyte.run_handler import IngestionRunHandler
from app.airbyte.service import AirbyteService
from app.caller import Caller
from app.config import Settings
from app.idempotency import IdempotencyStore
from app.lakehouse.bronze.manifests import BronzeManifests, Manifest
from app.runs.model import Run, RunKind
from app.runs.service import RunService
from app.runs.submission import Submission
from tests.conftest import Lakehouse
from tests.harnesses import toy_connector
from tests.integration.servers.airbyte import AirbyteServer, airbyte_server

CALLER = Caller("tester")
TOY = "airbyte-source-toy==1.0"
SECONDS = 120


@dataclass
class IngestionHarness:
    """A running engine. `data` is a directory that file sources may read. `airbyte` is the stand-in
    behind the production adapter, if it has one."""

    lakehouse: Lakehouse
    engine: IngestionEngine
    service: AirbyteService
    runs: RunService
    manifests: BronzeManifests
    data: Path
    sink: str
    settings: Settings
    airbyte: AirbyteServer | None = None

    async def reading(self) -> bool:
        """Return whether a connector's process or a job of Airbyte reads a source now."""
        if self.airbyte is None:
            return bool(connectors())
        return any(job.status == "running" for job in self.airbyte.state.jobs.values())

    async def at_rest(self) -> bool:
        return not await self.reading()

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def source(self, type_: str, **config: Any) -> Source:
        draft = SourceDraft(name=f"{type_} {uuid4().hex[:6]}", type=type_, config=config)
        created = await self.service.create_source(draft, Submission(CALLER, wait_seconds=SECONDS))
        return created.source

    async def ingestion(self, source: Source, *streams: StreamSelection) -> Ingestion:
        draft = IngestionDraft(
            name=f"of {source.name}",
            source_id=source.id,
            destination_id=self.sink,
            streams=streams or None,
        )
        return (await self.service.create_ingestion(draft, CALLER))[0]

    async def sync(self, ingestion: Ingestion) -> Run:
        return (await self.service.sync(ingestion.id, Submission(CALLER, wait_seconds=SECONDS)))[0]

    async def ingest(self, name: str, content: bytes | str, **config: Any) -> tuple[str, Run]:
        """Write a file and ingest it. Return its bronze path and the run."""
        path = self.write(name, content)
        ingestion = await self.ingestion(await self.source("file", url=str(path), **config))
        return ingestion.streams[0].path, await self.sync(ingestion)

    async def rows(
        self,
        path: str,
        columns: str = "COLUMNS(c -> NOT starts_with(c, '_airbyte_'))",
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a reader of the path sees."""
        bronze = await self.manifests.resolve(path)
        assert bronze is not None, path
        directory = self.data.parent / uuid4().hex
        directory.mkdir()
        for number, key in enumerate(bronze.files):
            stored = await self.lakehouse.store.get(key)
            assert stored is not None, key
            (directory / f"{number:04}.parquet").write_bytes(stored.body)
        if not bronze.files:
            return []
        rows = duckdb.sql(f"SELECT {columns} FROM read_parquet('{directory}/*.parquet')").fetchall()
        shutil.rmtree(directory)
        return rows

    async def columns(self, path: str) -> list[str]:
        """Return the source's columns that a reader of the path sees."""
        bronze = await self.manifests.resolve(path)
        assert bronze is not None, path
        stored = await self.lakehouse.store.get(bronze.files[0])
        assert stored is not None
        names: list[str] = pq.read_schema(BytesIO(stored.body)).names
        return [name for name in names if not name.startswith("_airbyte_")]

    async def meta(self, path: str) -> list[Any]:
        return [json.loads(row[0]) for row in await self.rows(path, "_airbyte_meta")]

    async def keys(self, path: str) -> set[str]:
        return {info.key for info in await self.lakehouse.store.list(f"{path}/")}


def stream(name: str, mode: SyncMode = SyncMode.FULL_REFRESH_OVERWRITE) -> StreamSelection:
    return StreamSelection(name=name, sync_mode=mode)


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


INCREMENTAL = SyncMode.INCREMENTAL_APPEND


@dataclass(frozen=True)
class Toy:
    """A toy source with streams of its own, and an ingestion of the first one."""

    harness: IngestionHarness
    ingestion: Ingestion

    @property
    def path(self) -> str:
        return self.ingestion.streams[0].path

    async def sync(self) -> Run:
        return await self.harness.sync(self.ingestion)

    async def start(self) -> Run:
        return (await self.harness.service.sync(self.ingestion.id, Submission(CALLER)))[0]

    async def rows(self) -> list[int]:
        return sorted(row[0] for row in await self.harness.rows(self.path, "n"))

    async def manifest(self) -> Manifest:
        manifest = await self.harness.manifests.get(self.ingestion.id)
        assert manifest is not None
        return manifest


async def make(harness: IngestionHarness, mode: SyncMode | None = None, **config: Any) -> Toy:
    name = config.setdefault("stream", f"ticks_{uuid4().hex[:8]}")
    source = await harness.source("toy", **config)
    chosen = stream(name, mode or SyncMode.FULL_REFRESH_OVERWRITE)
    return Toy(harness, await harness.ingestion(source, chosen))


def connectors() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any("source-toy" in part for part in process.cmdline())
    ]


@asynccontextmanager
async def ingestion_harness(
    lakehouse: Lakehouse,
    settings: Settings,
    engine: IngestionEngine,
    data: Path,
    airbyte: AirbyteServer | None = None,
) -> AsyncIterator[IngestionHarness]:
    runs = RunService(
        store=lakehouse.store,
        catalog=lakehouse.catalog,
        settings=settings,
        handlers={RunKind.INGESTION: IngestionRunHandler(engine)},
    )
    service = AirbyteService(
        engine=engine,
        runs=runs,
        idempotency=IdempotencyStore(lakehouse.store),
        settings=settings,
    )
    await runs.open()
    try:
        sink, _ = await service.create_destination(DestinationDraft(name="lake"), CALLER)
        manifests = BronzeManifests(lakehouse.store)
        yield IngestionHarness(
            lakehouse, engine, service, runs, manifests, data, sink.id, settings, airbyte
        )
    finally:
        await runs.close()


@asynccontextmanager
async def local_ingestion_harness(
    lakehouse: Lakehouse, settings: Settings, data: Path
) -> AsyncIterator[IngestionHarness]:
    engine = LocalIngestionEngine(
        settings=settings,
        lake=lakehouse.lake,
        store=lakehouse.store,
        catalog=lakehouse.catalog,
        manifests=BronzeManifests(lakehouse.store),
        checkpoint_rows=20,
        checkpoint_seconds=3600,
    )
    await engine.open()
    try:
        async with ingestion_harness(lakehouse, settings, engine, data) as harness:
            yield harness
    finally:
        await engine.close()


@asynccontextmanager
async def airbyte_ingestion_harness(
    lakehouse: Lakehouse, data: Path
) -> AsyncIterator[IngestionHarness]:
    with airbyte_server() as airbyte:
        update = {
            "airbyte_base_url": airbyte.url,
            "max_running_per_engine": 4,
            "airbyte_timeout": 10.0,
        }
        settings = lakehouse.settings.model_copy(update=update)
        engine = RemoteIngestionEngine(
            settings=settings, lake=lakehouse.lake, store=lakehouse.store
        )
        try:
            async with ingestion_harness(lakehouse, settings, engine, data, airbyte) as harness:
                yield harness
        finally:
            await engine.close()
