"""`/runs` over HTTP, on a real socket: server-sent events need one."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.auth.access import current_caller
from app.http import problems
from app.runs.router import router
from tests.harnesses.runs import ME, Idle, RunsHarness, request, running, runs_harness
from tests.patience import until


@pytest.fixture(scope="module")
async def harness(lakehouse) -> RunsHarness:
    return await runs_harness(lakehouse.lake)


@pytest.fixture(scope="module")
async def runs(harness: RunsHarness):
    async with running(harness.service(Idle(), max_running_per_engine=8)) as service:
        yield service


@asynccontextmanager
async def serving(app: FastAPI):
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
async def api(runs):
    app = FastAPI()
    problems.install(app)
    app.include_router(router)
    app.state.context = SimpleNamespace(component=lambda _: runs)
    app.dependency_overrides[current_caller] = lambda: ME
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


async def started(runs, target: str, **more) -> str:
    return (await runs.start(*request(target, **more))).run.run_id


def frames(text: str) -> list[tuple[str, str, dict]]:
    parsed = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            parsed.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return parsed


async def test_a_run_is_shown_with_the_fields_of_the_contract(api, runs):
    run_id = await started(runs, "shown", subject_id="s", request_id="req")
    await runs.wait(run_id, 30)
    answer = await api.get(f"/runs/{run_id}")
    shown = answer.json()
    assert answer.status_code == 200
    assert shown["run_id"] == run_id
    assert (shown["kind"], shown["target"], shown["state"]) == ("dbt", "shown", "succeeded")
    assert (shown["subject_id"], shown["request_id"], shown["created_by"]) == ("s", "req", "me")
    for moment in ("created_at", "started_at", "finished_at"):
        assert shown[moment].endswith("Z")
    for absent in ("failure", "output", "cancel_requested_at", "idempotency_key"):
        assert shown[absent] is None
    assert (shown["attempt"], shown["inputs"]) == (1, [])
    assert not {"spec", "owner", "epoch", "fingerprint"} & shown.keys()


async def test_lists_are_filtered_and_paged(api, runs):
    run_ids = [await started(runs, "listed") for _ in range(3)]
    for run_id in run_ids:
        await runs.wait(run_id, 30)
    first = (await api.get("/runs", params={"target": "listed", "page_size": 2})).json()
    more = {"target": "listed", "page_size": 2, "cursor": first["next_cursor"]}
    second = (await api.get("/runs", params=more)).json()
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == run_ids[::-1]
    assert (first["total_count"], second["next_cursor"]) == (3, None)
    counted = []
    for page in (1, 2, 3):
        params = {"target": "listed", "page_size": 2, "page": page}
        counted.append((await api.get("/runs", params=params)).json())
    assert [[run["run_id"] for run in page["runs"]] for page in counted] == [
        run_ids[:0:-1],
        run_ids[:1],
        [],
    ]
    assert [page["total_count"] for page in counted] == [3, 3, 3]
    assert counted[1]["next_cursor"] is None
    none = (await api.get("/runs", params={"target": "listed", "state": "failed"})).json()
    assert none == {"items": [], "runs": [], "next_cursor": None, "total_count": 0}


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/runs/0123456789abcdef", 404, "/problems/not-found"),
        ("/runs/..%2Fsecret", 404, None),  # This app has no edge, which would refuse the path.
        ("/runs/0123456789abcdef/logs", 404, "/problems/not-found"),
        ("/runs/0123456789abcdef/events", 404, "/problems/not-found"),
        ("/runs?cursor=nonsense", 400, "/problems/invalid-request"),
        ("/runs?state=flying", 422, "/problems/invalid-body"),
        ("/runs?page_size=0", 422, "/problems/invalid-body"),
        ("/runs?page=0", 422, "/problems/invalid-body"),
        ("/runs?page=2&cursor=x", 422, "/problems/invalid-body"),
    ],
)
async def test_bad_requests_get_problems(api, path, status, problem):
    answer = await api.get(path)
    assert answer.status_code == status
    assert problem in {None, answer.json().get("type")}
    assert isinstance(answer.json()["detail"], str)


async def test_cancel_shows_an_end_that_comes_at_once(api, runs):
    run_id = await started(runs, "cancelled", spec={"seconds": 30})
    shown = (await api.post(f"/runs/{run_id}/cancel")).json()
    assert shown["state"] == "cancelled"
    assert shown["failure"]["cause"] == "cancelled"
    assert shown["cancel_requested_at"].endswith("Z")
    assert (await api.post(f"/runs/{run_id}/cancel")).json() == shown
    assert (await api.post("/runs/0123456789abcdef/cancel")).status_code == 404


async def test_logs_can_be_cut_to_their_tail(api, runs):
    run_id = await started(runs, "logged", spec={"log": "one\ntwo\nthree"})
    await runs.wait(run_id, 30)
    assert (await api.get(f"/runs/{run_id}/logs")).json() == {
        "run_id": run_id,
        "logs": "one\ntwo\nthree\n",
    }
    tail = await api.get(f"/runs/{run_id}/logs", params={"tail_lines": 1})
    assert tail.json()["logs"] == "three\n"


async def test_events_are_available_as_json(api, runs):
    run_id = await started(runs, "events")
    run = await runs.wait(run_id, 30)
    shown = (await api.get(f"/runs/{run_id}/events")).json()
    assert (shown["run_id"], shown["state"]) == (run_id, "succeeded")
    assert [event["reason"] for event in shown["events"]] == ["Started", "Succeeded"]
    assert [event["id"] for event in shown["events"]] == [event.id for event in run.events]


async def test_events_stream_as_they_happen_and_resume_where_the_reader_stopped(api, runs):
    run_id = await started(runs, "streamed", spec={"seconds": 0.3})
    stream = {"Accept": "text/event-stream"}
    answer = await api.get(f"/runs/{run_id}/events", headers=stream)
    assert answer.headers["content-type"].startswith("text/event-stream")
    whole = frames(answer.text)
    assert [(name, data.get("reason")) for _, name, data in whole] == [
        ("run", "Started"),
        ("run", "Succeeded"),
        ("end", None),
    ]
    assert whole[-1][2]["state"] == "succeeded"
    resume = stream | {"Last-Event-ID": whole[0][0]}
    assert frames((await api.get(f"/runs/{run_id}/events", headers=resume)).text) == whole[1:]
    over = stream | {"Last-Event-ID": whole[-1][0]}
    assert (await api.get(f"/runs/{run_id}/events", headers=over)).status_code == 204
    strange = stream | {"Last-Event-ID": "not one of ours"}
    assert frames((await api.get(f"/runs/{run_id}/events", headers=strange)).text) == whole
