"""The lake that the operator runs: any S3, and Nessie or another Iceberg REST catalog."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from app.config import ConfigurationError, Settings
from app.errors import AsgardError, EngineTimeout, EngineUnreachable
from app.lakehouse.catalog import Catalog
from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.lakehouse.storage import ObjectStore, PreconditionFailed
from app.lakehouse.storage_probe import ProbeObject, Proof
from app.telemetry.calls import SILENT, Telemetry

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to wait at the start for a lake that cannot be reached."""
PAUSE = 1.0
PROBE_KEY = "asgard/probe"


@dataclass(frozen=True)
class ExternalLakehouse:
    lake: Lake
    store: ObjectStore
    catalog: Catalog
    records: Catalog

    @property
    def probed(self) -> tuple[ProbeObject, ...]:
        return (ProbeObject(self.store),)

    @property
    def proofs(self) -> tuple[Proof, ...]:
        return ()

    @property
    def builder_lake(self) -> Lake:
        """The lake with the keys of untrusted code. An external lake has only the gateway's own
        keys."""
        return self.lake

    @property
    def publisher_lake(self) -> Lake:
        return self.lake

    @property
    def sail_lake(self) -> Lake:
        return self.lake

    @property
    def silver_publisher_lake(self) -> Lake:
        return self.lake


@asynccontextmanager
async def external_lakehouse(
    settings: Settings, telemetry: Telemetry = SILENT
) -> AsyncIterator[ExternalLakehouse]:
    """Open the external lake. Then the bucket accepts conditional writes and the catalog has its
    namespaces. Raises `ConfigurationError` if not, or if the lake cannot be reached."""
    lake = external_lake(settings)
    async with AsyncExitStack() as stack:
        store = ObjectStore(lake.s3, telemetry)
        stack.push_async_callback(store.close)
        catalog = records = Catalog(lake, telemetry)
        stack.push_async_callback(catalog.close)
        ref = settings.nessie_records_ref
        if settings.nessie_uri and ref and ref != settings.nessie_ref:
            branch = replace(lake, catalog=catalog_connection(settings, ref))
            records = Catalog(branch, telemetry)
            stack.push_async_callback(records.close)
        await _retry_until_reachable("S3_BUCKET", lambda: _prove_bucket(store))
        await _retry_until_reachable(_catalog_variable(settings), catalog.ensure_namespaces)
        if records is not catalog:
            own = [lake.records_schema]
            await _retry_until_reachable(
                "NESSIE_RECORDS_REF", lambda: records.ensure_namespaces(own)
            )
        yield ExternalLakehouse(lake, store, catalog, records)


def external_lake(settings: Settings) -> Lake:
    secret = settings.aws_secret_access_key
    bucket = settings.s3_bucket or ""
    return Lake(
        s3=S3Connection(
            endpoint=settings.s3_endpoint,
            region=settings.aws_region,
            access_key=settings.aws_access_key_id,
            secret_key=secret.get_secret_value() if secret else None,
            bucket=bucket,
        ),
        catalog=catalog_connection(settings, settings.nessie_ref),
        catalog_name=settings.trino_catalog,
        silver_schema=settings.silver_schema,
        gold_schema=settings.gold_schema,
        # A catalog with its own warehouse decides where in it a schema is.
        namespaces_under=None if settings.iceberg_rest_warehouse else f"s3://{bucket}",
    )


def catalog_connection(settings: Settings, ref: str) -> CatalogConnection:
    """Return the Iceberg REST endpoint of Nessie's branch, or of the configured catalog."""
    credential, token = settings.iceberg_rest_credential, settings.iceberg_rest_token
    uri = settings.iceberg_rest_uri or ""
    if settings.nessie_uri:
        url = urlsplit(settings.nessie_uri)
        base = url.path.rstrip("/").removesuffix("/api/v1").removesuffix("/api/v2")
        uri = f"{url.scheme}://{url.netloc}{base}/iceberg/{quote(ref, safe='')}"
    return CatalogConnection(
        uri=uri.rstrip("/"),
        warehouse=settings.iceberg_rest_warehouse,
        ref=ref if settings.nessie_uri else "main",
        credential=credential.get_secret_value() if credential else None,
        oauth2_server_uri=settings.iceberg_rest_oauth2_uri,
        token=token.get_secret_value() if token else None,
        hides_history=settings.nessie_uri is not None,
    )


def _catalog_variable(settings: Settings) -> str:
    return "NESSIE_URI, NESSIE_REF" if settings.nessie_uri else "ICEBERG_REST_URI"


async def _prove_bucket(store: ObjectStore) -> None:
    """Check conditional writes, on which runs and locks depend."""
    body = b"read, and written again on a condition, at every start"
    try:
        if existing := await store.get(PROBE_KEY):
            await store.replace(PROBE_KEY, body, existing.etag)
        else:
            await store.create(PROBE_KEY, body)
    except PreconditionFailed:
        # Another gateway starts at the same moment, so conditional writes work.
        return


async def _retry_until_reachable(variable: str, prove: Callable[[], Awaitable[None]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await prove()
        except (EngineUnreachable, EngineTimeout) as error:
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{variable}: {error.detail}") from error
            log.warning("waiting for the lake: %s", error.detail)
        except AsgardError as error:
            raise ConfigurationError(f"{variable}: {error.detail}") from error
        await asyncio.sleep(PAUSE)
