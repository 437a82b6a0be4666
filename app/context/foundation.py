"""Builds what every engine uses: the lake, its catalog and the SQL guard."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from app.config import Settings
from app.lakehouse.bronze.manifests import BronzeManifests
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import EmbeddedLakehouse, embedded_lakehouse
from app.lakehouse.external import ExternalLakehouse, external_lakehouse
from app.lakehouse.storage import ObjectStore
from app.lakehouse.storage_probe import StorageProbe
from app.sql.client import SqlGuardClient
from app.sql.model import SqlPolicy
from app.telemetry.calls import Telemetry

Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Foundation:
    settings: Settings
    lake: Lake
    builder_lake: Lake
    """The same lake with the keys for untrusted code."""
    publisher_lake: Lake
    """The same lake with the keys that write gold tables."""
    sail_lake: Lake
    """The same lake with the keys that read sources, silver and gold."""
    silver_publisher_lake: Lake
    """The same lake with the keys that write silver tables."""
    store: ObjectStore
    catalog: Catalog
    records: Catalog
    """The same catalog, on the branch of Asgard's own records."""
    policy: SqlPolicy
    sql_guard: SqlGuardClient
    manifests: BronzeManifests
    telemetry: Telemetry
    stack: AsyncExitStack
    """Closes everything pushed onto it, in reverse order."""
    warm: list[Callable[[], Awaitable[None]]]
    """Functions that start workers, called in the background once everything is built."""
    probes: dict[str, Probe]
    """The checks of readiness, by the name of the dependency."""

    @property
    def logs(self) -> Path:
        return self.settings.home / "logs"


async def build_foundation(
    settings: Settings, telemetry: Telemetry, stack: AsyncExitStack
) -> Foundation:
    lakehouse: EmbeddedLakehouse | ExternalLakehouse
    if settings.is_production("lake"):
        lakehouse = await stack.enter_async_context(external_lakehouse(settings, telemetry))
    else:
        lakehouse = await stack.enter_async_context(
            embedded_lakehouse(settings, telemetry=telemetry)
        )
    store, catalog = lakehouse.store, lakehouse.catalog
    storage = StorageProbe(lakehouse.probed, lakehouse.proofs)
    storage.open()
    stack.push_async_callback(storage.close)
    policy = SqlPolicy(
        silver_schema=settings.silver_schema,
        gold_schema=settings.gold_schema,
        bucket=lakehouse.lake.s3.bucket,
        allowed_prefixes=settings.source_prefixes,
    )
    sql_guard = SqlGuardClient(
        policy, log_path=settings.home / "logs" / "sql-judge.log", telemetry=telemetry
    )
    stack.push_async_callback(sql_guard.close)
    return Foundation(
        settings=settings,
        lake=lakehouse.lake,
        builder_lake=lakehouse.builder_lake,
        publisher_lake=lakehouse.publisher_lake,
        sail_lake=lakehouse.sail_lake,
        silver_publisher_lake=lakehouse.silver_publisher_lake,
        store=store,
        catalog=catalog,
        records=lakehouse.records,
        policy=policy,
        sql_guard=sql_guard,
        manifests=BronzeManifests(store),
        telemetry=telemetry,
        stack=stack,
        warm=[sql_guard.warm],
        probes={
            "s3": storage.check,
            "catalog": lambda: catalog.run(lambda rest: rest.list_namespaces()),
        },
    )
