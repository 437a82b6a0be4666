"""Checks that the engines are reachable, and that Asgard's user has the permissions it needs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from app.airbyte.remote.client import AirbyteClient
from app.airbyte.remote.workspaces import Workspaces
from app.config import Settings
from app.context.connections import kubernetes_api
from app.doctor.report import BUDGET, CheckResult, finding
from app.warehouse.trino.adapter import trino_connection
from app.warehouse.trino.client import TrinoClient

Check = Callable[[Settings], Awaitable[list[CheckResult]]]


async def trino_findings(settings: Settings) -> list[CheckResult]:
    client = TrinoClient(trino_connection(settings))
    advice = "Check TRINO_HOST, TRINO_PORT, TRINO_USER and Trino's authentication."
    reached = await finding("Trino", lambda: _identity(client), advice)
    if not reached.ok:
        return [reached]
    allow = "Allow TRINO_USER to create tables in GOLD_SCHEMA: see Trino's access control."
    create = "./script/create-schemas.sh creates them, and so does Asgard when it starts."
    return [
        reached,
        *await asyncio.gather(
            finding("Trino schemas", lambda: _schemas(client, settings), create),
            finding("Trino, writing", lambda: _may_write(client, settings), allow),
        ),
    ]


async def _identity(client: TrinoClient) -> str:
    query = "SELECT node_version, current_user FROM system.runtime.nodes LIMIT 1"
    answer = await asyncio.to_thread(client.ask, query, BUDGET)
    version, user = answer.rows[0]
    return f"version {version} as {user}"


async def _schemas(client: TrinoClient, settings: Settings) -> str:
    answer = await asyncio.to_thread(client.ask, "SHOW SCHEMAS", BUDGET)
    missing = {settings.silver_schema, settings.gold_schema} - {row[0] for row in answer.rows}
    if missing:
        names = ", ".join(sorted(missing))
        raise RuntimeError(f"catalog {settings.trino_catalog} has no schema {names}")
    return f"catalog {settings.trino_catalog}: {settings.silver_schema}, {settings.gold_schema}"


async def _may_write(client: TrinoClient, settings: Settings) -> str:
    """Let Trino validate a statement, which checks its access control and creates nothing."""
    table = f'"{settings.gold_schema}".asgard_doctor'
    query = f"EXPLAIN (TYPE VALIDATE) CREATE TABLE {table} AS SELECT 1 AS checked"
    await asyncio.to_thread(client.ask, query, BUDGET)
    return f"tables can be created in {settings.gold_schema}"


async def airbyte_findings(settings: Settings) -> list[CheckResult]:
    client = AirbyteClient(settings)
    workspaces = Workspaces(client, settings.airbyte_workspace)

    async def workspace() -> str:
        return f"new sources go to {await workspaces.resolve()}"

    advice = "Check AIRBYTE_BASE_URL and its credentials; see Airbyte's log."
    try:
        reached = finding("Airbyte", client.probe, advice)
        one = finding("Airbyte workspace", workspace, "Correct AIRBYTE_WORKSPACE.")
        return list(await asyncio.gather(reached, one))
    finally:
        await client.close()


async def kubernetes_findings(settings: Settings) -> list[CheckResult]:
    api = kubernetes_api(settings)
    try:
        advice = "Check KUBECONFIG, SPARK_NAMESPACE and the Role of Asgard's ServiceAccount."
        return [await finding("Kubernetes", api.probe, advice)]
    finally:
        api.close()


ENGINE_CHECKS: Mapping[str, Check] = {
    "trino": trino_findings,
    "airbyte": airbyte_findings,
    "kubernetes": kubernetes_findings,
}
"""The checks of production engines, by the name of their technology."""
