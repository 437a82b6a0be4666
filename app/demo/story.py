"""The calls of the demo, from two sources to a data product.

`facts` holds figures from the answers, which the summary prints and the check compares.
"""

from pathlib import Path
from typing import Any

from rich.table import Table

from app.demo import queries
from app.demo.client import Answer, Client, DemoFailed

FLIGHTS_SOURCE = "nyc-flights-2013"
USERS_SOURCE = "faker-users"
USERS = 5000
INSTALL_SECONDS = 240
SYNC_SECONDS = 240
SPARK_SECONDS = 120
PRODUCT = "Carrier Punctuality 360"
ENDED = ("succeeded", "failed", "cancelled")


class Story:
    def __init__(self, client: Client, data: Path) -> None:
        self._client = client
        self._data = data
        self.facts: dict[str, Any] = {"bronze": {}, "silver": {}, "gold": {}, "product": {}}

    def run(self) -> None:
        self._chapter("1 · Ingestion: files and an Airbyte connector into bronze")
        users = self._ingest()
        self._chapter("2 · Spark: bronze into silver, while the connector keeps reading")
        self._spark("flights", queries.SILVER_FLIGHTS)
        self._spark("flights_enriched", queries.SILVER_FLIGHTS_ENRICHED)
        self._synced(users)
        self._chapter("3 · dbt: silver into gold")
        self._gold()
        self._chapter("4 · A data product")
        self._product()

    def _chapter(self, title: str) -> None:
        self._client.console.print()
        self._client.console.rule(f"[bold]{title}", align="left")

    def _ingest(self) -> str:
        """Load the files into bronze, and return the run of the connector's sync, which goes on."""
        call = self._client
        users, install = self._source(USERS_SOURCE, "faker", {"count": USERS, "seed": 2013})
        flights, _ = self._source(FLIGHTS_SOURCE, "file", {"url": str(self._data)})
        call.get(f"/airbyte/datasource/{flights}/streams")
        sink = (
            self._find("/airbyte/sink", "destinations", "destinationId", "lake")
            or (call.post("/airbyte/sink", {"name": "lake", "type": "s3"}, show="id")["id"])
        )
        self._synced(self._sync(flights, sink, FLIGHTS_SOURCE, None))
        if install:
            self._ended(install, "installing the connector", INSTALL_SECONDS)
        return self._sync(users, sink, USERS_SOURCE, [{"name": "users"}])

    def _synced(self, run_id: str) -> None:
        for stream in self._ended(run_id, "syncing", SYNC_SECONDS)["output"]["streams"]:
            self.facts["bronze"][stream["stream"]] = stream["rows"]
            self._client.console.print(
                f"    {stream['path']}: {stream['rows']:,} rows, {stream['bytes']:,} bytes"
            )

    def _ended(self, run_id: str, what: str, limit: float) -> Answer:
        run = self._client.poll(f"/runs/{run_id}", _has_ended, what, limit)
        _expect_success(run)
        return run

    def _source(self, name: str, kind: str, config: Answer) -> tuple[str, str | None]:
        """Return the source's id, and the run that installs its connector, if that is needed."""
        existing = self._find("/airbyte/datasource", "sources", "sourceId", name)
        if existing:
            return existing, None
        body = {"name": name, "type": kind, "config": config}
        answer = self._client.post("/airbyte/datasource", body, show="id, name")
        install = answer.get("run") or {}
        return answer["id"], install.get("run_id")

    def _find(self, path: str, plural: str, key: str, name: str) -> str | None:
        """Return the id of a resource that an earlier demo on the same ASGARD_HOME created."""
        for item in self._client.get(path, show="total")[plural]:
            if item["name"] == name:
                return str(item[key])
        return None

    def _sync(self, source: str, sink: str, name: str, streams: list[Answer] | None) -> str:
        call = self._client
        ingestion = next(
            (
                item["connectionId"]
                for item in call.get("/airbyte/ingestion", show="total")["ingestions"]
                if item["name"] == name
            ),
            None,
        )
        if ingestion is None:
            body: Answer = {"name": name, "sourceId": source, "destinationId": sink}
            body |= {"streams": streams} if streams else {}
            answer = call.post("/airbyte/ingestion", body, show="connectionId, status")
            ingestion = answer["connectionId"]
        path = f"/airbyte/ingestion/{ingestion}/sync"
        return str(call.post(path, show="run_id, state", wait_seconds=0)["run_id"])

    def _spark(self, table: str, sql: str) -> None:
        body = {"sql": sql, "destination_table": table, "write_mode": "overwrite"}
        run_id = self._client.post("/spark/transform", body, show="run_id, status")["run_id"]
        path = f"/spark/transform/{run_id}"
        status = self._client.poll(
            f"{path}/status",
            lambda answer: answer["state"] in ("COMPLETED", "FAILED", "SUBMISSION_FAILED"),
            f"Spark builds silver.{table}",
            SPARK_SECONDS,
        )
        if status["state"] != "COMPLETED":
            raise DemoFailed(f"silver.{table}: {status['error_message']}")
        metrics = self._client.get(f"{path}/metrics", show="output.rows, output.bytes")
        self.facts["silver"][table] = metrics["output"]["rows"]

    def _gold(self) -> None:
        gold = self.facts["gold"]
        gold["carrier_delays"] = self._dbt("carrier_delays", queries.CARRIER_DELAYS, "table")
        gold["worst_routes"] = self._dbt("worst_routes", queries.WORST_ROUTES, "view")
        self._delete("daily_departures")
        gold["daily_departures, first run"] = self._daily(queries.DAILY_DEPARTURES_FIRST)
        gold["daily_departures, second run"] = self._daily(queries.DAILY_DEPARTURES_SECOND)

    def _daily(self, sql: str) -> int | None:
        return self._dbt(
            "daily_departures",
            sql,
            "incremental",
            incremental_strategy="merge",
            unique_key=["scheduled_on", "origin"],
        )

    def _dbt(self, name: str, sql: str, materialization: str, **options: Any) -> int | None:
        body = {
            "name": name,
            "sql_query": sql,
            "materialization": materialization,
            "tags": ["demo"],
            "owner": "demo",
            **options,
        }
        answer = self._client.post(
            "/dbt/transform", body, show="status, gold_table_name, row_count"
        )
        if answer["status"] != "completed":
            raise DemoFailed(f"gold.{name}: {answer['error_message']}")
        rows: int | None = answer["row_count"]
        return rows

    def _delete(self, name: str) -> None:
        """Delete the table of an earlier demo, since an incremental table grows with every run."""
        page = self._client.get("/dbt/transformations", show="total_count", page_size=100)
        for item in page["transformations"]:
            if item["name"] == name:
                path = f"/dbt/transformations/{item['transformation_id']}"
                self._client.call("DELETE", path, params={"drop_table": "true"})

    def _product(self) -> None:
        call, facts = self._client, self.facts["product"]
        page = call.get("/data-products", show="total_count", search=PRODUCT)
        existing = [item["id"] for item in page["data_products"] if item["name"] == PRODUCT]
        body = {
            "name": PRODUCT,
            "description": "How punctual each carrier is, and where it has a hard time.",
            "data_product_type": "OPERATIONAL_METRICS",
            "owner": "network-planning",
            "consumers": ["bi_team"],
            "update_frequency": "daily",
            "tags": ["flights", "punctuality"],
            "sql_query": queries.CARRIER_PUNCTUALITY,
        }
        if existing:
            id_ = existing[0]
        else:
            id_ = call.post("/data-products", body, show="id, status")["id"]
        path = f"/data-products/{id_}"
        built = call.post(f"{path}/run", show="status, run.state, run.output.rows")
        _expect_success(built["run"])
        lineage = call.get(f"{path}/lineage")
        self._show_lineage(lineage)
        stats = call.get(f"{path}/stats", show="row_count, size_bytes, freshness.status")
        preview = call.get(f"{path}/preview", limit=100)
        self._show_rows(preview)
        facts["run rows"] = built["run"]["output"]["rows"]
        facts["stats rows"] = stats["row_count"]
        facts["columns"] = [column["name"] for column in preview["columns"]]
        facts["rows"] = preview["rows"]
        facts["id"] = id_
        facts["upstream"] = sorted(node["id"] for node in lineage["upstream"])

    def _show_lineage(self, lineage: Answer) -> None:
        inputs: dict[str, list[str]] = {}
        for edge in lineage["edges"]:
            inputs.setdefault(edge["to"], []).append(edge["from"])
        for table, names in inputs.items():
            self._client.console.print(f"    {table} [dim]⟵[/] {', '.join(names)}", soft_wrap=True)

    def _show_rows(self, preview: Answer) -> None:
        shown = [
            (place, column["name"])
            for place, column in enumerate(preview["columns"])
            if not column["name"].startswith("data_product_")
        ]
        table = Table(title=PRODUCT, title_justify="left")
        for _, name in shown:
            table.add_column(name, overflow="fold")
        for row in preview["rows"][:8]:
            table.add_row(*(_cell(row[place]) for place, _ in shown))
        self._client.console.print(table)


def _has_ended(run: Answer) -> bool:
    return run["state"] in ENDED


def _expect_success(run: Answer) -> None:
    if run["state"] != "succeeded":
        failure = run.get("failure") or {}
        raise DemoFailed(f"Run {run['run_id']} {run['state']}: {failure.get('message')}")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:,.3f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
