"""Rights to cancel a run over HTTP: its callers, its record's creator, and `runs:admin`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import pytest

from app.auth.keys import KnownKey, make_key
from app.caller import Caller
from app.config import AuthMode, Settings
from app.runs.cancellers import MOST_JOINED, counts_for
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from tests.harnesses.gateway import GatewayHarness, bearer, gateway_harness, key_of, write_keys
from tests.harnesses.runs import Idle, running
from tests.oidc_issuer import AUDIENCE, issuing

WORKER = ("dbt:write", "spark:write", "airbyte:write", "data-products:write")
SCOPES = (*WORKER, "airbyte:read", "runs:read", "runs:write")
FOREVER = """
    WITH RECURSIVE r(n) AS (SELECT {0} UNION ALL SELECT n + 1 FROM r) SELECT count(*) AS n FROM r
"""


@dataclass
class CancelHarness:
    """Two replicas of one lake: the gateway, and one whose runs last until they are cancelled."""

    gateway: GatewayHarness
    other: RunService
    keys: dict[str, tuple[str, KnownKey]]

    def caller(self, name: str) -> Caller:
        return self.keys[name][1].caller

    def headers(self, name: str) -> dict[str, str]:
        return bearer(self.keys[name][0])

    async def start(self, by: Caller, **more: object) -> Run:
        """Start a run on the other replica."""
        given = {"kind": RunKind.DBT, "target": f"gold.t{uuid4().hex[:8]}", **more}
        work = RunRequest(spec={"seconds": 600}, **given)
        started = await self.other.start(work, Submission(by))
        return started.run

    async def post(self, path: str, name: str, **more: object) -> dict:
        answer = await self.gateway.client.post(
            f"/api/v1/{path}", headers=self.headers(name), **more
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def cancel(self, run_id: str, name: str, path: str = "runs") -> int:
        answer = await self.gateway.client.post(
            f"/api/v1/{path}/{run_id}/cancel", headers=self.headers(name)
        )
        if answer.status_code == 403:
            refused = answer.json()
            assert refused["type"] == "/problems/missing-scope"
            assert refused["missing"] == "runs:admin"
            assert "may not cancel this run" in refused["detail"]
            assert "runs:admin" in refused["hint"]
            assert 'scope="runs:admin"' in answer.headers["WWW-Authenticate"]
        return answer.status_code

    async def is_cancelled(self, run_id: str) -> bool:
        run = await self.gateway.app.state.context.runs.wait(run_id, 30)
        return run.state is RunState.CANCELLED


@pytest.fixture(scope="module")
async def harness(own_lakehouse, tmp_path_factory) -> AsyncIterator[CancelHarness]:
    keys = {name: key_of(*SCOPES, name=name) for name in ("ann", "bob", "eve")}
    rotated = make_key("ann", SCOPES, None)
    keys["ann rotated"] = (rotated.plain, rotated.known)
    keys["operator"] = key_of("runs:write", "spark:write", "runs:admin", name="operator")
    keys["root"] = key_of("admin", name="root")
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(file, *(known for _, known in keys.values()))
    async with (
        gateway_harness(
            own_lakehouse.settings, auth_mode=AuthMode.API_KEY, auth_keys_file=file, rate_limit=0
        ) as closed,
        running(replica(closed)) as other,
    ):
        yield CancelHarness(closed, other, keys)


def replica(gateway: GatewayHarness) -> RunService:
    context = gateway.app.state.context
    return RunService(
        store=context.store,
        catalog=context.catalog,
        settings=Settings(_env_file=None, max_running_per_engine=20),
        handlers={kind: Idle() for kind in RunKind},
    )


async def test_a_key_cancels_its_own_run_and_not_that_of_another_key(harness):
    run = await harness.start(harness.caller("ann"))
    assert await harness.cancel(run.run_id, "eve") == 403
    assert (
        await harness.gateway.app.state.context.runs.get(run.run_id)
    ).cancel_requested_at is None
    assert await harness.cancel(run.run_id, "ann") == 200
    assert await harness.is_cancelled(run.run_id)
    # Callers that may not cancel a run may not cancel it after its end, either.
    assert [await harness.cancel(run.run_id, name) for name in ("ann", "eve")] == [200, 403]


async def test_a_rotated_key_is_the_same_caller(harness):
    run = await harness.start(harness.caller("ann"))
    assert await harness.cancel(run.run_id, "ann rotated") == 200
    assert await harness.is_cancelled(run.run_id)


async def test_a_run_of_this_gateway_is_also_guarded(harness):
    run = (await transform(harness, "ann", FOREVER.format(1)))["run_id"]
    assert await harness.cancel(run, "eve") == 403
    assert await harness.cancel(run, "ann") == 200
    assert await harness.is_cancelled(run)


@pytest.mark.parametrize("who", ["operator", "root"])
async def test_runs_admin_cancels_the_runs_of_others(harness, who):
    run = await harness.start(harness.caller("ann"))
    assert await harness.cancel(run.run_id, who) == 200
    assert await harness.is_cancelled(run.run_id)


async def test_the_spark_route_guards_like_the_common_one(harness):
    run = await harness.start(
        harness.caller("ann"), kind=RunKind.SPARK, target=f"silver.{uuid4().hex}"
    )
    assert await harness.cancel(run.run_id, "eve", "spark/transform") == 403
    assert await harness.cancel(run.run_id, "operator", "spark/transform") == 200
    assert await harness.is_cancelled(run.run_id)


async def transform(harness: CancelHarness, who: str, sql: str, name: str | None = None) -> dict:
    body = {"name": name or f"m{uuid4().hex[:8]}", "sql_query": sql}
    return await harness.post("dbt/transform", who, json=body, params={"wait_seconds": 0})


async def shown(harness: CancelHarness, run_id: str) -> dict:
    answer = await harness.gateway.client.get(
        f"/api/v1/runs/{run_id}", headers=harness.headers("root")
    )
    return answer.json()


async def reasons(harness: CancelHarness, run_id: str) -> list[str]:
    run = await harness.gateway.app.state.context.runs.get(run_id)
    return [event.reason for event in run.events]


async def test_a_caller_that_joins_can_withdraw_only_itself(harness):
    name, sql = f"m{uuid4().hex[:8]}", FOREVER.format(2)
    bob, eve = (harness.caller(name).subject for name in ("bob", "eve"))
    run_id = (await transform(harness, "bob", sql, name))["run_id"]
    assert await harness.cancel(run_id, "eve") == 403
    joined = [(await transform(harness, "eve", sql, name))["run_id"] for _ in range(2)]
    assert joined == [run_id] * 2

    for _ in range(2):
        left = await harness.post(f"runs/{run_id}/cancel", "eve")
        assert left["state"] in {"queued", "running"}
        assert (left["created_by"], left["joined_by"]) == (bob, [eve])
        assert (left["withdrawn_by"], left["cancel_requested_at"]) == ([eve], None)
    run = await harness.gateway.app.state.context.runs.get(run_id)
    assert [(e.reason, e.message) for e in run.events if e.reason in {"Joined", "Withdrawn"}] == [
        ("Joined", f"{eve} requested the same work and joined the run."),
        ("Withdrawn", f"{eve} withdrew from the run. The run continues for 1 other caller."),
    ]

    assert await harness.cancel(run_id, "bob") == 200
    assert await harness.is_cancelled(run_id)
    assert (await shown(harness, run_id))["withdrawn_by"] == [eve]


async def test_a_run_ends_when_the_last_of_its_callers_has_withdrawn(harness):
    name, sql = f"m{uuid4().hex[:8]}", FOREVER.format(4)
    run_id = (await transform(harness, "ann", sql, name))["run_id"]
    await transform(harness, "bob", sql, name)
    # The caller that started the run does not end it for the other one, with a new key either.
    assert (await harness.post(f"runs/{run_id}/cancel", "ann"))["cancel_requested_at"] is None
    assert (await harness.post(f"runs/{run_id}/cancel", "ann rotated"))[
        "cancel_requested_at"
    ] is None
    assert (await shown(harness, run_id))["withdrawn_by"] == [harness.caller("ann").subject]
    # A caller that requests the work again joins again.
    assert (await transform(harness, "ann", sql, name))["run_id"] == run_id
    assert (await shown(harness, run_id))["withdrawn_by"] == []
    assert (await shown(harness, run_id))["joined_by"] == [harness.caller("bob").subject]
    assert (await harness.post(f"runs/{run_id}/cancel", "bob"))["cancel_requested_at"] is None
    assert await harness.cancel(run_id, "ann") == 200
    assert await harness.is_cancelled(run_id)


@pytest.mark.parametrize("who", ["operator", "root"])
async def test_runs_admin_ends_a_run_that_several_callers_want(harness, who):
    work = {"target": f"gold.t{uuid4().hex[:8]}", "fingerprint": "same"}
    run = await harness.start(harness.caller("ann"), **work)
    await harness.start(harness.caller("bob"), **work)
    assert await harness.cancel(run.run_id, who) == 200
    assert await harness.is_cancelled(run.run_id)


async def test_callers_can_withdraw_on_any_replica(harness):
    name, sql = f"m{uuid4().hex[:8]}", FOREVER.format(3)
    here = (await transform(harness, "ann", sql, name))["run_id"]
    run = await harness.gateway.app.state.context.runs.get(here)
    joined = await harness.start(
        harness.caller("bob"), target=run.target, fingerprint=run.fingerprint
    )
    assert joined.run_id == here
    # At once, before the gateway, which owns the run, has polled S3 again.
    assert (await harness.post(f"runs/{here}/cancel", "ann"))["cancel_requested_at"] is None
    await harness.other.cancel(here, harness.caller("bob"))
    assert await harness.is_cancelled(here)
    ended = await harness.gateway.app.state.context.runs.get(here)
    assert ended.joined_by == (harness.caller("bob").subject,)
    assert ended.withdrawn_by == (harness.caller("ann").subject,)
    reasons_shown = [
        r for r in await reasons(harness, here) if r in {"Joined", "Withdrawn", "CancelRequested"}
    ]
    assert reasons_shown == ["Joined", "Withdrawn", "CancelRequested"]


async def test_the_spark_route_says_for_how_many_callers_a_run_continues(harness):
    work = {"target": f"silver.t{uuid4().hex[:8]}", "fingerprint": "same", "kind": RunKind.SPARK}
    run = await harness.start(harness.caller("ann"), **work)
    for name in ("bob", "eve"):
        await harness.start(harness.caller(name), **work)
    left = await harness.post(f"spark/transform/{run.run_id}/cancel", "eve")
    assert left["message"] == "You withdrew. The run continues for 2 other callers."
    assert left["cancel_requested_at"] is None
    await harness.post(f"spark/transform/{run.run_id}/cancel", "ann")
    ended = await harness.post(f"spark/transform/{run.run_id}/cancel", "bob")
    assert ended["message"] == "Cancellation was requested."
    assert await harness.is_cancelled(run.run_id)


async def test_a_run_counts_for_the_first_caller_that_still_wants_it(harness):
    work = {"target": f"gold.t{uuid4().hex[:8]}", "fingerprint": "same"}
    run = await harness.start(Caller("first"), **work)
    await harness.start(Caller("second"), **work)
    assert counts_for(run) == "first"
    left = await harness.other.cancel(run.run_id, Caller("first"))
    assert counts_for(left) == "second"
    ended = await harness.other.cancel(run.run_id, Caller("second"))
    assert ended.cancel_requested_at is not None


async def test_a_run_remembers_a_limited_number_of_callers(harness):
    target = f"gold.t{uuid4().hex[:8]}"
    run = await harness.start(harness.caller("ann"), target=target, fingerprint="same")
    for number in range(MOST_JOINED + 5):
        joined = await harness.start(Caller(f"user-{number}"), target=target, fingerprint="same")
        assert joined.run_id == run.run_id
    late = await harness.start(harness.caller("bob"), target=target, fingerprint="same")
    assert late.joined_by == tuple(f"user-{number}" for number in range(MOST_JOINED))
    assert await harness.cancel(run.run_id, "bob") == 403
    assert await harness.cancel(run.run_id, "operator") == 200


async def test_the_owner_of_a_data_product_cancels_its_runs(harness):
    body = {"name": f"p{uuid4().hex[:8]}", "sql_query": "SELECT 1 AS a", "owner": "eve"}
    product = await harness.post("data-products", "bob", json={**PRODUCT, **body})
    work = {"target": f"gold.t{uuid4().hex[:8]}", "fingerprint": "same"}
    run = await harness.start(
        harness.caller("ann"), kind=RunKind.DATA_PRODUCT, subject_id=product["id"], **work
    )
    joined = await harness.start(harness.caller("bob"), kind=RunKind.DATA_PRODUCT, **work)
    assert joined.run_id == run.run_id
    # `owner` is free text. Only the creator counts.
    assert await harness.cancel(run.run_id, "eve") == 403
    assert await harness.cancel(run.run_id, "bob") == 200
    assert await harness.is_cancelled(run.run_id)


PRODUCT = {"data_product_type": "CUSTOMER_360"}


async def test_the_owner_of_an_ingestion_cancels_its_syncs(harness, own_lakehouse):
    name = f"f{uuid4().hex[:8]}"
    file = own_lakehouse.settings.home / "data" / f"{name}.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_text("a\n1\n")
    source = {"name": name, "type": "file", "config": {"url": file.name}}
    made = await harness.post("airbyte/datasource", "bob", json=source)
    sink = await harness.post("airbyte/sink", "bob", json={"name": name, "type": "s3"})
    draft = {"name": name, "sourceId": made["id"], "destinationId": sink["id"]}
    ingestion = await harness.post("airbyte/ingestion", "bob", json=draft)
    of_it = {"kind": RunKind.INGESTION, "subject_id": ingestion["connectionId"]}
    run = await harness.start(harness.caller("ann"), **of_it)
    assert await harness.cancel(run.run_id, "eve") == 403
    assert await harness.cancel(run.run_id, "bob") == 200
    assert await harness.is_cancelled(run.run_id)
    gone = await harness.start(
        harness.caller("ann"), kind=RunKind.INGESTION, subject_id=str(uuid4())
    )
    assert [await harness.cancel(gone.run_id, name) for name in ("eve", "ann")] == [403, 200]


async def test_subjects_of_an_issuer_cancel_their_own_runs(own_lakehouse):
    with issuing() as issuer:
        settings = {
            "auth_mode": AuthMode.OIDC,
            "oidc_issuer": issuer.url,
            "oidc_audience": AUDIENCE,
            "oidc_roles_claim": "roles",
        }
        async with (
            gateway_harness(own_lakehouse.settings, **settings) as closed,
            running(replica(closed)) as other,
        ):
            run = await started_by(other, "ada")
            statuses = []
            for sub in ("Ada", "ada"):
                token = issuer.token(sub=sub, roles=["runs:write"])
                path = f"/api/v1/runs/{run.run_id}/cancel"
                answer = await closed.client.post(path, headers=bearer(token))
                statuses.append(answer.status_code)
            assert statuses == [403, 200]


async def test_without_authentication_every_caller_may_cancel(own_lakehouse):
    async with (
        gateway_harness(own_lakehouse.settings, auth_mode=AuthMode.NONE) as opened,
        running(replica(opened)) as other,
    ):
        for subject in ("anonymous", "key:0123456789ab:ann"):
            run = await started_by(other, subject)
            answer = await opened.client.post(f"/api/v1/runs/{run.run_id}/cancel")
            assert answer.status_code == 200
            assert (await other.wait(run.run_id, 30)).state is RunState.CANCELLED


async def started_by(service: RunService, subject: str) -> Run:
    work = {"kind": RunKind.DBT, "spec": {"seconds": 600}, "target": f"gold.{uuid4().hex}"}
    return (await service.start(RunRequest(**work), Submission(Caller(subject)))).run
