"""`asgard doctor`: says of each dependency what was reached and what to do about a failure."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app.airbyte.airbyte_workspaces import Workspaces
from app.airbyte.client import AirbyteClient
from app.config import PARTS, ConfigurationError, Settings, check_choice
from app.context import kubernetes_api, trino_connection
from app.errors import AsgardError
from app.lakehouse.catalog import Catalog
from app.lakehouse.embedded import embedded_lakehouse
from app.lakehouse.external import external_lakehouse
from app.lakehouse.storage import ObjectStore, PreconditionFailed
from app.telemetry import configure_logging
from app.warehouse.trino_client import TrinoClient

BUDGET = 5.0
"""Seconds that each check may take."""


@dataclass(frozen=True)
class Finding:
    what: str
    ok: bool
    said: str
    advice: str = ""


def examine() -> int:
    """Prints a table of what works; returns 0, or 1 when something does not."""
    try:
        settings = Settings()
        check_choice(settings)
    except (ConfigurationError, ValidationError) as error:
        return _show([Finding("settings", False, str(error), "Correct the variable it names.")])
    configure_logging("ERROR")
    return _show(asyncio.run(_examine(settings)))


async def _examine(settings: Settings) -> list[Finding]:
    """All at once: one that is mute holds up no other."""
    embedded = [part for part in PARTS if not settings.is_production(part)]
    kept = f"embedded under {settings.home}: {', '.join(embedded) or 'nothing'}"
    findings = [Finding("settings", True, kept)]
    checks = [_lake(settings)]
    if settings.is_production("sql"):
        checks.append(_trino_findings(settings))
    if settings.is_production("ingestion"):
        checks.append(airbyte_findings(settings))
    if settings.is_production("spark"):
        checks.append(kubernetes_findings(settings))
    for found in await asyncio.gather(*checks):
        findings += found
    return findings


async def _trino_findings(settings: Settings) -> list[Finding]:
    advice = "Check TRINO_HOST, TRINO_PORT, TRINO_USER and how Trino lets them in."
    return [await _finding("Trino", lambda: _trino(settings), advice)]


async def _lake(settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    lake = settings.is_production("lake")
    try:
        opened = external_lakehouse(settings) if lake else embedded_lakehouse(settings)
        async with opened as lakehouse:
            store, catalog = ObjectStore(lakehouse.lake.s3), Catalog(lakehouse.lake)
            for what, check, advice in (
                ("S3 put, get, delete", lambda: _round_trip(store), "Is the disk full?"),
                ("S3 conditional PUT", lambda: _conditional_put(store), "Runs need it: see docs."),
                ("Iceberg catalog", lambda: _namespaces(catalog), "See the SeaweedFS log."),
            ):
                findings.append(await _finding(what, check, advice))
            await store.close()
    except Exception as error:  # noqa: BLE001 — a doctor reports whatever it met
        what, advice = ("lake", "See docs/catalogs.md.") if lake else ("SeaweedFS", "See its log.")
        findings.append(Finding(what, False, str(error), advice))
    return findings


async def airbyte_findings(settings: Settings) -> list[Finding]:
    client = AirbyteClient(settings)
    workspaces = Workspaces(client, settings.airbyte_workspace)

    async def workspace() -> str:
        return f"new sources go to {await workspaces.resolve()}"

    try:
        reached = _finding("Airbyte", client.probe, "See Airbyte's log.")
        one = _finding("Airbyte workspace", workspace, "See Airbyte's log.")
        return list(await asyncio.gather(reached, one))
    finally:
        await client.close()


async def kubernetes_findings(settings: Settings) -> list[Finding]:
    api = kubernetes_api(settings)
    try:
        advice = "Check KUBECONFIG, SPARK_NAMESPACE and the Role of Asgard's ServiceAccount."
        return [await _finding("Kubernetes", api.probe, advice)]
    finally:
        api.close()


async def _finding(what: str, check: Callable[[], Awaitable[str]], advice: str) -> Finding:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(BUDGET):
            said = await check()
    except Exception as error:  # noqa: BLE001
        hint = error.hint if isinstance(error, AsgardError) else None
        return Finding(what, False, str(error) or type(error).__name__, hint or advice)
    return Finding(what, True, f"{said} ({(time.perf_counter() - started) * 1000:.0f} ms)")


async def _round_trip(store: ObjectStore) -> str:
    key, body = f"asgard/doctor/{uuid.uuid4().hex}", b"scratch"
    await store.put(key, body)
    found = await store.get(key)
    await store.delete(key)
    if found is None or found.body != body:
        raise RuntimeError("what was written could not be read back")
    return f"bucket {store.bucket}"


async def _conditional_put(store: ObjectStore) -> str:
    key = f"asgard/doctor/{uuid.uuid4().hex}"
    await store.create(key, b"first")
    try:
        await store.create(key, b"second")
    except PreconditionFailed:
        return "a second writer is refused"
    finally:
        await store.delete(key)
    raise RuntimeError("the bucket ignores If-None-Match: two writers would both win")


async def _trino(settings: Settings) -> str:
    client = TrinoClient(trino_connection(settings))
    asked = "SELECT node_version, current_user FROM system.runtime.nodes LIMIT 1"
    answer = await asyncio.to_thread(client.ask, asked, BUDGET)
    version, user = answer.rows[0]
    shown = await asyncio.to_thread(client.ask, "SHOW SCHEMAS", BUDGET)
    schemas = {row[0] for row in shown.rows}
    if missing := {settings.silver_schema, settings.gold_schema} - schemas:
        raise RuntimeError(
            f"catalog {settings.trino_catalog} has no schema {', '.join(sorted(missing))}: "
            "./script/create-schemas.sh makes it, and so does Asgard when it starts"
        )
    return f"version {version} as {user}, catalog {settings.trino_catalog}"


async def _namespaces(catalog: Catalog) -> str:
    found = await catalog.run(lambda rest: rest.list_namespaces())
    return "namespaces " + ", ".join(sorted(".".join(name) for name in found))


def _show(findings: list[Finding]) -> int:
    table = Table("check", "result", "what was seen", "what to do")
    for finding in findings:
        result = "[green]ok" if finding.ok else "[red]failed"
        table.add_row(finding.what, result, finding.said, "" if finding.ok else finding.advice)
    Console().print(table)
    return 0 if all(finding.ok for finding in findings) else 1
