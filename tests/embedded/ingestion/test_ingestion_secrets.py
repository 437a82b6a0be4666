"""Secrets in fields that no spec names appear in no response or record, on either engine."""

import asyncio
import json
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.airbyte.engine import DestinationDraft, Source, SourceDraft
from app.airbyte.local import records
from app.airbyte.local.records import DestinationDoc, SourceDoc
from app.airbyte.secrets import masked
from app.airbyte.views import CheckView, SinkView, SourceView, StreamList
from app.config import Settings
from app.errors import InvalidBody
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.lakehouse.records.table import RecordTable
from app.redaction import Scope, clean, within
from app.runs.model import RunState
from app.runs.submission import Submission
from app.secret_marks import MASK
from tests.conftest import Lakehouse
from tests.harnesses.ingestion import (
    CALLER,
    TOY,
    IngestionHarness,
    install_toy,
    local_ingestion_harness,
    make,
)
from tests.harnesses.toy_connector import spellings
from tests.patience import until

HUNTER = "hunter2-0815-hunter"
UNNAMED: dict[str, Any] = {
    "password": HUNTER,
    "extra": {"token": HUNTER, "nested": [{"password": HUNTER}]},
    "headers": [{"name": "Authorization", "value": HUNTER}],
    "url": f"https://me:{HUNTER}@example.com/",
    "properties": f'LoginModule required username="me" password="{HUNTER}";',
    "pem": f"-----BEGIN PRIVATE KEY-----\n{HUNTER}\n-----END PRIVATE KEY-----",
}
SHOWN = {
    "password": MASK,
    "extra": {"token": MASK, "nested": [{"password": MASK}]},
    "headers": [{"name": "Authorization", "value": MASK}],
    "url": MASK,
    "properties": MASK,
    "pem": MASK,
}


def bucket_of(harness: IngestionHarness) -> str:
    return harness.lakehouse.lake.s3.bucket


def sink_config(harness: IngestionHarness) -> dict[str, Any]:
    return {
        "s3_bucket_name": bucket_of(harness),
        "s3_bucket_region": "us-east-1",
        "s3_bucket_path": f"bronze/s{uuid4().hex[:8]}",
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": HUNTER,
        "format": {"format_type": "Parquet"},
        **UNNAMED,
    }


async def in_records(harness: IngestionHarness, kind: str) -> str:
    """Return all versions of all records of the kind, as any SQL engine reads them."""
    space = harness.lakehouse.lake.records_schema
    table = await harness.lakehouse.catalog.run(
        lambda catalog: catalog.load_table(f"{space}.{kind}").scan().to_arrow()
    )
    return str(table.to_pylist())


async def faker(harness: IngestionHarness, **config: Any) -> Source:
    """Create a source with an open spec, which accepts any field, without installing it."""
    draft = SourceDraft(name=f"f{uuid4().hex[:6]}", type="faker", config=config)
    return await harness.engine.create_source(str(uuid4()), draft, CALLER)


async def test_a_source_s_unnamed_secrets_are_masked(harness: IngestionHarness) -> None:
    created = await faker(harness, count=5, **UNNAMED)
    stored = await harness.service.source(created.id)
    listed = [source for source in await harness.service.sources() if source.id == created.id]
    for source in (created, stored, *listed):
        assert source.config == {"count": 5, **SHOWN}
        assert HUNTER not in SourceView.of(source).model_dump_json()
    if harness.airbyte is None:
        assert HUNTER not in await in_records(harness, "sources")
        file = harness.lakehouse.home / "secrets" / "sources" / f"{created.id}.json"
        secrets = json.loads(file.read_text())
        assert set(secrets) == {"password", "extra", "headers", "url", "properties", "pem"}
        assert set(secrets["extra"]) == {"token", "nested"}
        assert secrets["headers"]["0"].keys() == {"value"}


async def test_a_sink_s_unnamed_secrets_are_masked(harness: IngestionHarness) -> None:
    config = sink_config(harness)
    draft = DestinationDraft(name=f"s{uuid4().hex[:6]}", config=config)
    created, _ = await harness.service.create_destination(draft, CALLER)
    stored = await harness.service.destination(created.id)
    for sink in (created, stored):
        assert HUNTER not in SinkView.of(sink).model_dump_json()
        assert {name: sink.config[name] for name in SHOWN} == SHOWN
        assert sink.config["secret_access_key"] == MASK
        assert sink.config["s3_bucket_path"] == config["s3_bucket_path"]
    if harness.airbyte is None:
        assert HUNTER not in await in_records(harness, "destinations")


async def test_the_log_hides_the_secrets_of_a_request(harness: IngestionHarness) -> None:
    token = f"passing-{uuid4().hex}"
    draft = DestinationDraft(
        name=f"s{uuid4().hex[:6]}", config={**sink_config(harness), "extra": {"token": token}}
    )
    await harness.service.create_destination(draft, CALLER)
    assert clean(f"sent {token}") == "sent ***"


async def test_a_mask_is_refused_where_a_secret_is_expected(harness: IngestionHarness) -> None:
    config = {"rows": 1, "stream": "a", "password": MASK}
    with pytest.raises(InvalidBody, match=r"config\.password is the mask"):
        await harness.service.create_source(
            SourceDraft(name="masked", type="toy", config=config), Submission(CALLER)
        )
    with pytest.raises(InvalidBody, match=r"config\.secret_access_key is the mask"):
        await harness.service.create_destination(
            DestinationDraft(
                name="masked", config={**sink_config(harness), "secret_access_key": MASK}
            ),
            CALLER,
        )


async def test_a_closed_spec_refuses_an_unknown_field(harness: IngestionHarness) -> None:
    config = {"rows": 1, "stream": "a", "api_token": HUNTER}
    # The embedded engine names the field, and Airbyte names the rule that it breaks.
    named = "api_token" if harness.airbyte is None else "additionalProperties"
    with pytest.raises(InvalidBody, match=named) as refused:
        await harness.service.create_source(
            SourceDraft(name="closed", type="toy", config=config), Submission(CALLER)
        )
    assert HUNTER not in str(refused.value.detail)


async def test_records_of_old_versions_are_masked_and_still_work(
    local_harness: IngestionHarness,
) -> None:
    """Old versions wrote fields that no spec names without masking them."""
    harness = local_harness
    toy = await make(harness, rows=2, password="first-password")
    catalog, space = harness.lakehouse.catalog, harness.lakehouse.lake.records_schema
    clear = {
        "rows": 2,
        "stream": toy.ingestion.streams[0].name,
        "password": HUNTER,
        "renewed_password": f"renewed-{HUNTER}",
    }
    sources = RecordTable(catalog, "sources", SourceDoc, space)
    await sources.update(
        toy.ingestion.source_id, lambda doc: doc.model_copy(update={"config": clear}), CALLER
    )
    file = harness.lakehouse.home / "secrets" / "sources" / f"{toy.ingestion.source_id}.json"
    file.unlink()
    source = await harness.service.source(toy.ingestion.source_id)
    assert source.config == {**clear, "password": MASK, "renewed_password": MASK}
    run = await toy.sync()
    assert run.state is RunState.SUCCEEDED, run.failure
    assert "with ***" in await harness.runs.logs(run.run_id)
    # The connector got the values, because it renewed its password with one of them.
    assert json.loads(file.read_text())["password"] == f"renewed-{HUNTER}"


async def test_sinks_of_old_versions_are_masked(local_harness: IngestionHarness) -> None:
    harness = local_harness
    draft = DestinationDraft(name=f"s{uuid4().hex[:6]}", config=sink_config(harness))
    created, _ = await harness.service.create_destination(draft, CALLER)
    catalog, space = harness.lakehouse.catalog, harness.lakehouse.lake.records_schema
    sinks = RecordTable(catalog, "destinations", DestinationDoc, space)
    await sinks.update(
        created.id,
        lambda doc: doc.model_copy(update={"config": {"region": "r", **UNNAMED}}),
        CALLER,
    )
    stored = await harness.service.destination(created.id)
    assert stored.config == {"region": "r", **SHOWN}


async def test_a_config_is_searched_once_and_on_a_thread_of_its_own(
    local_harness: IngestionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    def counting(config: Mapping[str, Any]) -> dict[str, Any]:
        searched.append(threading.get_ident())
        return masked(config)

    await faker(local_harness, note="n")
    draft = DestinationDraft(name=f"s{uuid4().hex[:6]}", config=sink_config(local_harness))
    await local_harness.service.create_destination(draft, CALLER)
    monkeypatch.setattr(records, "masked", counting)
    for read in (local_harness.engine.sources, local_harness.engine.destinations):
        searched.clear()
        first = await read()
        assert 1 <= len(searched) <= len(first)
        assert threading.get_ident() not in searched
        searched.clear()
        assert await read() == first
        assert searched == []


async def test_one_callers_secrets_are_not_masked_in_the_runs_of_others(
    harness: IngestionHarness,
) -> None:
    """The first caller sends as a secret a word that the other's run has to show."""
    other = await make(harness, rows=50, fail_after=45)
    stream = other.ingestion.streams[0].name
    hostile = await make(harness, rows=10, hang_after=5, password="no more after")
    named = await make(harness, rows=10, hang_after=5, password=stream)
    runs = [await hostile.start(), await named.start()]
    failed = await other.sync()
    assert failed.failure is not None
    assert "no more after 45" in failed.failure.message
    assert failed.events[-1].message == failed.failure.message
    if harness.airbyte is None:
        assert f"reading {stream} from 0" in await harness.runs.logs(failed.run_id)
    for run in runs:
        await harness.runs.cancel(run.run_id, CALLER)
        assert (await harness.runs.wait(run.run_id, 30)).state is RunState.CANCELLED


async def test_two_concurrent_sources_hide_only_their_own_secrets(
    harness: IngestionHarness,
) -> None:
    """Airbyte quotes the secret in the job's failure. Embedded, a source's name is in events."""

    async def failed(own: str, others: str) -> str:
        message = f"{own} beside {others}"
        more = {"failure": {"externalMessage": message}} if harness.airbyte else {}
        config = {"stream": f"s{uuid4().hex[:8]}", "password": own, "rows": 3, "fail_after": 2}
        draft = SourceDraft(name=message, type="toy", config={**config, **more})
        source = (await harness.service.create_source(draft, Submission(CALLER))).source
        run = await harness.sync(await harness.ingestion(source))
        assert run.failure is not None
        messages = [event.message for event in run.events]
        return "\n".join([*messages, run.failure.message, await harness.runs.logs(run.run_id)])

    one, two = f"one-{uuid4().hex}", f"two-{uuid4().hex}"
    messages = await asyncio.gather(failed(one, two), failed(two, one))
    assert one not in messages[0]
    assert two not in messages[1]
    assert f"*** beside {two}" in messages[0]
    assert f"*** beside {one}" in messages[1]


QUOTED = [
    'pass wörd/+"1"',
    'it\'s a "pass\\word" ü',
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nAoIBAQ==\n-----END KEY-----",
]


async def checked(harness: IngestionHarness, password: str, rows: int) -> CheckView:
    """Return what a client sees of a check. The number of rows says what the connector quotes."""
    source = await harness.source("toy", rows=rows, stream="a", password=password)
    with within(Scope()):
        return CheckView.of(await harness.service.check_source(source.id, CALLER))


@pytest.mark.parametrize("secret", QUOTED, ids=ascii)
async def test_a_check_hides_every_spelling_of_a_secret(
    local_harness: IngestionHarness, secret: str
) -> None:
    check = await checked(local_harness, secret, rows=14)
    shown = check.message.replace('"', "").replace("'", "")
    assert check.succeeded
    assert shown == " ".join(["***"] * len(spellings(secret)))


@pytest.mark.parametrize(
    "secret",
    [json.dumps({"private_key": QUOTED[2]}), "postgresql://me:p%40ss%2fword@db.example.com/x"],
    ids=ascii,
)
async def test_a_check_hides_what_the_connector_has_parsed(
    local_harness: IngestionHarness, secret: str
) -> None:
    check = await checked(local_harness, secret, rows=15)
    assert set(check.message.split()) == {"***"}


@pytest.mark.parametrize("secret", QUOTED[:2], ids=ascii)
async def test_a_list_of_streams_hides_every_spelling_of_a_secret(
    local_harness: IngestionHarness, secret: str
) -> None:
    for spelling in spellings(secret):
        name = f"by {spelling}"
        columns = [f"with {spelling}"]
        source = await local_harness.source(
            "toy", rows=1, stream=name, password=secret, columns=columns
        )
        with within(Scope()):
            streams = StreamList.of(await local_harness.service.streams(source.id)).streams
        assert [s.name.replace('"', "").replace("'", "") for s in streams] == [
            "by ***",
            "by ***_more",
        ]
        last = streams[0].columns[-1].name
        assert last.replace('"', "").replace("'", "") == "with ***"


async def test_a_request_hides_nothing_in_the_responses_to_others(
    client: httpx.AsyncClient, harness: IngestionHarness
) -> None:
    config = {**sink_config(harness), "password": "There is no source", "token": "/api/v1/runs"}
    sink = {"name": f"s{uuid4().hex[:6]}", "config": config}
    created = await client.post("/airbyte/sink", json={**sink, "type": "s3"})
    assert created.status_code == 201, created.text
    missing = await client.get(f"/airbyte/datasource/{uuid4()}")
    assert missing.json()["detail"].startswith("There is no source ")
    assert missing.json()["instance"].startswith("/api/v1/airbyte/datasource/")


async def test_a_run_that_continues_after_a_restart_hides_its_sources_secrets(
    tmp_path: Path,
) -> None:
    """The new gateway takes over a queued run, and has not met its secret yet."""
    secret = f"kept-{uuid4().hex}"
    home = tmp_path / "home"
    settings = Settings(
        _env_file=None, asgard_home=home, connectors_allowed=(TOY,), max_running_per_engine=1
    )
    install_toy(home)
    async with embedded_lakehouse(settings) as opened:
        lakehouse = Lakehouse.of(settings, opened)

        def gateway() -> AbstractAsyncContextManager[IngestionHarness]:
            return local_ingestion_harness(lakehouse, settings, tmp_path)

        async def accepted() -> str:
            async with gateway() as harness:
                running = await make(harness, rows=10, hang_after=5)
                draft = SourceDraft(
                    name=f"of {secret}",
                    type="toy",
                    config={"rows": 3, "stream": "queued", "password": secret},
                )
                source = (await harness.service.create_source(draft, Submission(CALLER))).source
                queued = await harness.ingestion(source)
                await running.start()
                await until(harness.reading)
                run, _ = await harness.service.sync(queued.id, Submission(CALLER))
                assert run.state is RunState.QUEUED
                return run.run_id

        with within(Scope()):
            run_id = await accepted()
        assert clean(secret) == secret
        async with gateway() as harness:
            run = await harness.runs.wait(run_id, 60)
            assert run.state is RunState.SUCCEEDED, run.failure
            assert "Reading of ***" in [event.message for event in run.events]
