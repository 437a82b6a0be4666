"""A wrong address, wrong credentials and an Airbyte that misbehaves, as a client sees them."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from app.airbyte.engine import SourceDraft
from app.airbyte.remote.engine import RemoteIngestionEngine
from app.caller import Caller
from app.config import Settings
from app.doctor import BUDGET, airbyte_findings
from app.edge.health import FAILED, SLOW, UNREACHABLE, probe
from app.errors import AsgardError
from app.http.problems import problem_response
from app.main import create_app
from tests.conftest import Lakehouse
from tests.integration.servers.airbyte import AirbyteServer, airbyte_server

SECRET = "tr0ub4dor-and-3"
TIMEOUT = 0.5
HTML = "<!doctype html><html><body>Sign in</body></html>"
CALLER = Caller("tester")
NINE_MODES = (
    "full_refresh_overwrite",
    "full_refresh_overwrite_deduped",
    "full_refresh_append",
    "full_refresh_update",
    "full_refresh_soft_delete",
    "incremental_append",
    "incremental_deduped_history",
    "incremental_update",
    "incremental_soft_delete",
)


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[AirbyteServer]:
    with airbyte_server() as server:
        yield server


@pytest.fixture
def airbyte(server: AirbyteServer) -> Iterator[AirbyteServer]:
    yield server
    server.reset()


def settings_of(lakehouse: Lakehouse, url: str, **more: Any) -> Settings:
    own = {
        "airbyte_base_url": url,
        "asgard_embedded": frozenset({"spark", "sql", "lake"}),
        "airbyte_timeout": TIMEOUT,
        "trusted_hosts": ("asgard",),
    }
    values = {**lakehouse.settings.model_dump(exclude_unset=True), **own, **more}
    return Settings(_env_file=None, **values)


@asynccontextmanager
async def engine_of(
    lakehouse: Lakehouse, url: str, **more: Any
) -> AsyncIterator[RemoteIngestionEngine]:
    settings = settings_of(lakehouse, url, **more)
    engine = RemoteIngestionEngine(settings=settings, lake=lakehouse.lake, store=lakehouse.store)
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(scope="module")
async def gateway(lakehouse: Lakehouse, server: AirbyteServer) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings_of(lakehouse, server.url))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://asgard/api/v1", timeout=60
        ) as client,
    ):
        yield client


async def problem_of(call: Awaitable[object]) -> dict[str, Any]:
    """Return the problem document that a client gets for the error that `call` raises."""
    with pytest.raises(AsgardError) as raised:
        await call
    document: dict[str, Any] = json.loads(problem_response(raised.value, "/x").body)
    assert SECRET not in str(document)
    return document


async def toy(gateway: httpx.AsyncClient, **config: Any) -> str:
    """Create an ingestion of a toy source, and return its id."""
    name = f"toy_{uuid4().hex[:12]}"
    body = {"name": name, "type": "toy", "config": {"rows": 25, "stream": name, **config}}
    source = await gateway.post("/airbyte/datasource", json=body)
    assert source.status_code == 201, source.text
    sink = await gateway.post("/airbyte/sink", json={"name": "lake", "type": "s3"})
    created = await gateway.post(
        "/airbyte/ingestion",
        json={
            "name": name,
            "sourceId": source.json()["id"],
            "destinationId": sink.json()["id"],
            "streams": [{"name": name}],
        },
    )
    assert created.status_code == 201, created.text
    id_: str = created.json()["connectionId"]
    return id_


async def test_a_wrong_host_a_closed_port_and_a_wrong_path_say_what_to_check(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        closed_port = f"http://127.0.0.1:{closed.getsockname()[1]}/api/public/v1"
        for url, status, says in (
            ("http://no-such-host.invalid:8001/api/public/v1", 503, "cannot be reached at"),
            (closed_port, 503, "cannot be reached at"),
            (airbyte.host_url + "/api/v1", 424, "There is no such path"),
            (airbyte.host_url + "/api/public/v1/sources", 424, "There is no GET"),
            (airbyte.url.replace("http:", "https:"), 503, "SSL"),
            (closed_port.replace("//", f"//airbyte:{SECRET}@"), 503, "cannot be reached"),
        ):
            async with engine_of(lakehouse, url) as engine:
                problem = await problem_of(engine.sources())
                assert (problem["status"], says in problem["detail"]) == (status, True), problem
                assert "AIRBYTE_BASE_URL" in problem["hint"]
                health = await probe(engine.client.probe, budget=1)
                assert health.status == "unreachable"
                assert health.cause in {UNREACHABLE, SLOW, FAILED, "no response within 1 s"}


@pytest.mark.parametrize("forbidden", [False, True])
async def test_refused_credentials_are_permission_denied(
    lakehouse: Lakehouse, airbyte: AirbyteServer, forbidden: bool
) -> None:
    airbyte.auth.username, airbyte.auth.password = "airbyte", SECRET
    airbyte.auth.forbidden = forbidden
    login = {"airbyte_username": "airbyte", "airbyte_password": SECRET if forbidden else "no"}
    async with engine_of(lakehouse, airbyte.url, **login) as engine:
        with pytest.raises(AsgardError) as raised:
            await engine.sources()
        assert raised.value.cause == "permission_denied"
        problem = await problem_of(engine.sources())
        assert problem["status"] == 424
        assert ("workspace" if forbidden else "AIRBYTE_PASSWORD") in problem["hint"]
        says = "may not see that workspace" if forbidden else "missing, wrong or expired"
        assert says in problem["detail"]


async def test_a_wrong_client_secret_has_its_own_error(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    airbyte.auth.client_id, airbyte.auth.client_secret = "id", "right"
    login = {"airbyte_client_id": "id", "airbyte_client_secret": SECRET}
    async with engine_of(lakehouse, airbyte.url, **login) as engine:
        problem = await problem_of(engine.sources())
        assert "The client id or the client secret is wrong." in problem["detail"]
        assert "AIRBYTE_CLIENT_SECRET" in problem["hint"]


Spoil = Callable[[AirbyteServer], object]
SPOILS: dict[str, tuple[Spoil, int, str]] = {
    "html": (
        lambda a: a.fail("GET /sources", status=200, body=HTML, content_type="text/html"),
        424,
        "is not Airbyte's API: 200, text/html",
    ),
    "html 404": (
        lambda a: a.fail("GET /sources", status=404, body=HTML, content_type="text/html"),
        424,
        "is not Airbyte's API: 404, text/html",
    ),
    "redirect": (
        lambda a: a.fail("GET /sources", status=302, headers={"Location": "/login"}),
        424,
        "is not Airbyte's API: 302",
    ),
    "500": (
        lambda a: a.fail("GET /sources", times=9, status=500, body='{"message": "it broke"}'),
        424,
        "Airbyte responded with 500: it broke",
    ),
    "503": (
        lambda a: a.fail("GET /sources", times=9, status=503, body="busy"),
        503,
        "Airbyte responded with 503",
    ),
    "cut": (lambda a: a.fail("GET /sources", times=9, cut=True, done=True), 503, "was cut off"),
    "mute": (
        lambda a: a.fail("GET /sources", times=9, mute=True),
        504,
        "did not respond within 0.5 s",
    ),
    "no list": (
        lambda a: a.fail("GET /sources", status=200, body='{"items": []}'),
        424,
        "is not a list",
    ),
}


@pytest.mark.parametrize("name", SPOILS)
async def test_a_broken_response_is_a_problem_with_its_cause(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, name: str
) -> None:
    spoil, status, says = SPOILS[name]
    spoil(airbyte)
    answer = await gateway.get("/airbyte/datasource")
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    assert says in answer.json()["detail"]
    airbyte.reset()
    assert (await gateway.get("/airbyte/datasource")).status_code == 200


@pytest.mark.parametrize("how", [{"status": 503}, {"cut": True, "done": True}, {"status": 500}])
async def test_a_temporary_fault_is_not_visible(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, how: dict[str, Any]
) -> None:
    airbyte.fail("GET /sources", times=2, **how)
    assert (await gateway.get("/airbyte/datasource")).status_code == 200
    assert airbyte.calls("GET /sources") == 3


async def test_a_429_is_waited_for_or_passed_on_with_its_retry_after(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    airbyte.fail("GET /sources", status=429, headers={"Retry-After": "30"})
    answer = await gateway.get("/airbyte/datasource")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "Airbyte responded with 429" in answer.json()["detail"]
    assert airbyte.calls("GET /sources") == 1


async def test_an_empty_workspace_lists_nothing(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    airbyte.state.add_workspace("empty")
    async with engine_of(lakehouse, airbyte.url, airbyte_workspace="empty") as engine:
        assert await engine.sources() == []
        assert await engine.destinations() == []
        assert await engine.ingestions() == []
        assert "toy" in {connector.type for connector in await engine.connectors()}


async def test_of_two_workspaces_one_has_to_be_named(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    second = airbyte.state.add_workspace("second")
    try:
        draft = SourceDraft(name="two", type="toy", config={"rows": 1, "stream": "two"})
        async with engine_of(lakehouse, airbyte.url) as engine:
            problem = await problem_of(engine.validate_source(draft))
            assert problem["status"] == 400
            assert "AIRBYTE_WORKSPACE" in problem["hint"]
            assert {"id": second, "name": "second"} in problem["workspaces"]
            named = draft.model_copy(update={"workspace": "second"})
            assert (await engine.create_source("two-1", named, CALLER)).workspace == second
        async with engine_of(lakehouse, airbyte.url, airbyte_workspace=second) as engine:
            created = await engine.create_source("two-2", draft, CALLER)
            assert created.workspace == second
            assert {s.workspace for s in await engine.sources()} == {second}
        async with engine_of(lakehouse, airbyte.url, airbyte_workspace="third") as engine:
            problem = await problem_of(engine.validate_source(draft))
            assert "no workspace third" in problem["detail"]
    finally:
        for name in ("second", "empty"):
            spaces = airbyte.state.workspaces
            for id_ in [i for i, w in spaces.items() if w["name"] == name]:
                del spaces[id_]


async def test_a_missing_workspace_is_reported(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    spaces = dict(airbyte.state.workspaces)
    airbyte.state.workspaces.clear()
    try:
        async with engine_of(lakehouse, airbyte.url) as engine:
            draft = SourceDraft(name="none", type="toy", config={"rows": 1, "stream": "none"})
            problem = await problem_of(engine.validate_source(draft))
            assert "no workspace" in problem["detail"]
    finally:
        airbyte.state.workspaces.update(spaces)


async def test_a_token_is_renewed_before_it_expires_and_when_it_is_refused(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    airbyte.auth.client_id, airbyte.auth.client_secret = "id", SECRET
    login = {"airbyte_client_id": "id", "airbyte_client_secret": SECRET}
    async with engine_of(lakehouse, airbyte.url, **login) as engine:
        for _ in range(3):
            await engine.sources()
        assert airbyte.calls("POST /applications/token") == 1
        airbyte.auth.tokens.clear()
        await engine.sources()
        assert airbyte.calls("POST /applications/token") == 2
        airbyte.auth.token_seconds = 0
        airbyte.auth.tokens.clear()
        problem = await problem_of(engine.sources())
        assert problem["detail"].startswith("Airbyte responded with 401")


async def test_a_token_that_expires_in_the_middle_of_a_list_is_renewed(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    airbyte.auth.client_id, airbyte.auth.client_secret = "id", SECRET
    login = {"airbyte_client_id": "id", "airbyte_client_secret": SECRET}
    template = {
        "name": "many",
        "sourceType": "toy",
        "definitionId": "x",
        "workspaceId": airbyte.state.workspace,
        "configuration": {},
        "createdAt": 0,
    }
    many = {f"many-{n}": {**template, "sourceId": f"many-{n}"} for n in range(250)}
    airbyte.state.sources.update(many)
    try:
        async with engine_of(lakehouse, airbyte.url, **login) as engine:
            airbyte.fail(
                "GET /sources",
                after=1,
                status=401,
                body='{"detail": "The token has expired."}',
            )
            listed = [source.id for source in await engine.sources()]
            assert [id_ for id_ in listed if id_.startswith("many-")] == list(many)
            assert airbyte.calls("POST /applications/token") == 2
    finally:
        for id_ in many:
            del airbyte.state.sources[id_]


@pytest.mark.parametrize(
    "how", [{"cut": True}, {"mute": True}, {"status": 502}, {"status": 500}], ids=str
)
async def test_a_resource_whose_response_was_lost_is_found_and_not_created_twice(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, how: dict[str, Any]
) -> None:
    airbyte.fail("POST /sources", done=True, **how)
    name = f"once {how}"
    body = {"name": name, "type": "toy", "config": {"rows": 1, "stream": "once"}}
    answer = await gateway.post("/airbyte/datasource", json=body)
    assert answer.status_code == 201, answer.text
    created = [s["sourceId"] for s in airbyte.state.sources.values() if s["name"] == name]
    assert created == [answer.json()["id"]]
    assert airbyte.calls("POST /sources") == 1


async def test_a_pending_creation_is_not_sent_again_but_found_by_its_key(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    airbyte.fail("POST /sources", mute=True, done=True)
    airbyte.fail("GET /sources", times=9, status=503)
    body = {"name": "keyed", "type": "toy", "config": {"rows": 1, "stream": "keyed"}}
    key = {"Idempotency-Key": "keyed-1"}
    lost = await gateway.post("/airbyte/datasource", json=body, headers=key)
    assert lost.status_code == 504, lost.text
    assert "same Idempotency-Key" in lost.json()["hint"]
    airbyte.faults.clear()
    again = await gateway.post("/airbyte/datasource", json=body, headers=key)
    assert again.status_code == 201, again.text
    created = [s["sourceId"] for s in airbyte.state.sources.values() if s["name"] == "keyed"]
    assert created == [again.json()["id"]]
    assert airbyte.calls("POST /sources") == 1


async def test_the_reason_is_reported_and_not_the_text_of_the_problems_type(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    body = {"name": "why", "type": "toy", "config": {"rows": "many", "stream": "why"}}
    refused = await gateway.post("/airbyte/datasource", json=body)
    assert refused.status_code == 422
    assert "$.rows: str found, integer expected" in refused.json()["detail"]
    unlucky = {**body, "config": {"rows": 13, "stream": "why"}}
    source = (await gateway.post("/airbyte/datasource", json=unlucky)).json()["id"]
    check = await gateway.post(f"/airbyte/datasource/{source}/check")
    assert check.json() == {
        "succeeded": False,
        "message": "Airbyte responded with 500: Discovery failed: 13 is bad luck",
    }
    streams = await gateway.get(f"/airbyte/datasource/{source}/streams")
    assert streams.status_code == 424
    assert streams.json()["detail"].endswith("13 is bad luck")
    ingestion = await toy(gateway)
    yearly = {"scheduleType": "cron", "cronExpression": "0 0 12 ? * MON-FRI 1999"}
    schedule = await gateway.patch(f"/airbyte/ingestion/{ingestion}", json={"schedule": yearly})
    assert schedule.status_code == 400
    assert "The cron expression 0 0 12 ? * MON-FRI 1999" in schedule.json()["detail"]


async def test_a_refused_creation_takes_over_nothing_when_it_is_repeated(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    """Whoever creates a connection may end other callers' runs of it."""
    ingestion = await toy(gateway)
    shown = (await gateway.get(f"/airbyte/ingestion/{ingestion}")).json()
    assert (await gateway.delete(f"/airbyte/ingestion/{ingestion}")).status_code == 204
    ends = {"sourceId": shown["sourceId"], "destinationId": shown["destinationId"]}
    refused = {"scheduleType": "cron", "cronExpression": "0 0 12 ? * MON-FRI 1999"}
    body = {"name": "planted", **ends, "schedule": refused}

    async def create() -> httpx.Response:
        headers = {"Idempotency-Key": "planted"}
        return await gateway.post("/airbyte/ingestion", json=body, headers=headers)

    first = await create()
    assert "The cron expression 0 0 12 ? * MON-FRI 1999" in first.json()["detail"]
    connection = {"name": "planted", **ends, "schedule": {"scheduleType": "manual"}}
    space = {"namespaceDefinition": "custom_format", "namespaceFormat": "elsewhere"}
    _, made = airbyte.state.answer("POST", "/connections", {}, {**connection, **space})
    again = await create()
    assert again.status_code in {400, 409}, again.text
    found = (await gateway.get(f"/airbyte/ingestion/{made['connectionId']}")).json()
    assert found["created_by"] == "airbyte"


async def test_of_two_creations_at_once_only_one_takes_a_path(gateway: httpx.AsyncClient) -> None:
    ingestion = await toy(gateway)
    shown = (await gateway.get(f"/airbyte/ingestion/{ingestion}")).json()
    assert (await gateway.delete(f"/airbyte/ingestion/{ingestion}")).status_code == 204
    ends = {"sourceId": shown["sourceId"], "destinationId": shown["destinationId"]}
    answers = await asyncio.gather(
        *(
            gateway.post("/airbyte/ingestion", json={"name": f"twin {number}", **ends})
            for number in range(3)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


@pytest.mark.parametrize("status", [200, 500])
async def test_a_delete_is_final(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, status: int
) -> None:
    """Airbyte keeps the rows: a connection as deprecated, the others without their config."""
    airbyte.state.broken_tombstones = status == 500
    ingestion = await toy(gateway)
    shown = (await gateway.get(f"/airbyte/ingestion/{ingestion}")).json()
    paths = (
        f"/airbyte/ingestion/{ingestion}",
        f"/airbyte/datasource/{shown['sourceId']}",
        f"/airbyte/sink/{shown['destinationId']}",
    )
    for path in paths:
        assert (await gateway.delete(path)).status_code == 204
    for path in paths:
        assert (await gateway.get(path)).status_code == 404
        assert (await gateway.delete(path)).status_code == 404
    for gone in (
        await gateway.patch(paths[0], json={"status": "active"}),
        await gateway.post(f"{paths[0]}/sync"),
        await gateway.get(f"{paths[0]}/status"),
        await gateway.post(f"{paths[1]}/check"),
        await gateway.get(f"{paths[1]}/streams"),
    ):
        assert gone.status_code == 404, gone.text
    assert airbyte.state.connections[ingestion]["status"] == "deprecated"
    assert airbyte.calls("POST /jobs") == airbyte.calls("PATCH .+") == 0


async def test_credentials_without_the_instance_get_404_and_replays(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    """For them Airbyte answers 403 to every unknown id."""
    airbyte.state.is_admin = False
    for kind in ("datasource", "sink", "ingestion"):
        answer = await gateway.get(f"/airbyte/{kind}/{uuid4()}")
        assert answer.status_code == 404, answer.text
    name = f"replayed_{uuid4().hex[:8]}"

    async def twice(kind: str, id_name: str, body: dict[str, Any]) -> str:
        key = {"Idempotency-Key": f"{kind}-{name}"}
        answers = [await gateway.post(f"/airbyte/{kind}", json=body, headers=key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201], answers[1].text
        ids = {str(answer.json()[id_name]) for answer in answers}
        assert len(ids) == 1
        return ids.pop()

    config = {"rows": 1, "stream": name}
    source = await twice("datasource", "id", {"name": name, "type": "toy", "config": config})
    sink = await twice("sink", "id", {"name": name, "type": "s3"})
    created = {"name": name, "sourceId": source, "destinationId": sink}
    await twice("ingestion", "connectionId", created)


async def test_a_forbidden_but_existing_resource_is_not_taken_for_unknown(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    id_ = await toy(gateway)
    airbyte.fail("GET /connections/.+", times=9, status=403, body='{"detail": "not yours"}')
    answer = await gateway.get(f"/airbyte/ingestion/{id_}")
    assert answer.status_code == 424
    assert "Give these credentials access" in answer.json()["hint"]


async def test_every_mode_of_airbyte_is_shown_unchanged(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    path = f"/airbyte/ingestion/{await toy(gateway)}"
    [stream] = airbyte.state.connections[path.rsplit("/", 1)[1]]["configurations"]["streams"]
    for mode in (*NINE_MODES, "incremental_of_tomorrow"):
        stream["syncMode"] = mode
        streams = (await gateway.get(path)).json()["streams"]
        assert [each["sync_mode"] for each in streams] == [mode]


async def test_the_modes_that_the_destination_has_are_shown_and_accepted(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    path = f"/airbyte/ingestion/{await toy(gateway)}"
    ingestion = (await gateway.get(path)).json()
    source = f"/airbyte/datasource/{ingestion['sourceId']}/streams"
    s3 = [stream["sync_modes"] for stream in (await gateway.get(source)).json()["streams"]]
    assert s3 == 2 * [["full_refresh_overwrite", "full_refresh_append", "incremental_append"]]
    airbyte.state.modes = (*NINE_MODES, "incremental_of_tomorrow")
    all_ = (await gateway.get(source)).json()["streams"][0]["sync_modes"]
    assert all_ == [*NINE_MODES, "incremental_of_tomorrow"]
    for mode in NINE_MODES:
        requested = {"name": ingestion["name"], "sync_mode": mode}
        changed = await gateway.patch(path, json={"streams": [requested]})
        assert changed.status_code == 200, changed.text
        assert changed.json()["streams"][0]["sync_mode"] == mode


async def test_without_a_destination_the_modes_are_not_known(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    space = airbyte.state.add_workspace("no sinks")
    try:
        draft = SourceDraft(name="alone", type="toy", config={"rows": 1, "stream": "alone"})
        async with engine_of(lakehouse, airbyte.url, airbyte_workspace=space) as engine:
            created = await engine.create_source(uuid4().hex, draft, CALLER)
            streams = await engine.discover(created.id)
            assert [stream.sync_modes for stream in streams] == [None, None]
    finally:
        del airbyte.state.workspaces[space]


async def test_changed_streams_keep_airbytes_hashed_and_omitted_fields(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    path = f"/airbyte/ingestion/{await toy(gateway)}"
    connection = airbyte.state.connections[path.rsplit("/", 1)[1]]
    [stream] = connection["configurations"]["streams"]
    retained = {
        "mappers": [
            {
                "id": str(uuid4()),
                "type": "hashing",
                "mapperConfiguration": {"targetField": "odd", "method": "SHA-256"},
            }
        ],
        "selectedFields": [{"fieldPath": ["n"]}, {"fieldPath": ["odd"]}],
        "destinationObjectName": "ticks",
    }
    stream.update(retained)
    name = stream["name"]
    more = {"name": f"{name}_more"}
    requested = [{"name": name, "sync_mode": "incremental_append"}, more]
    for streams in (requested, None):
        changed = await gateway.patch(path, json={"streams": streams})
        assert changed.status_code == 200, changed.text
        first, second = connection["configurations"]["streams"]
        assert {field: first[field] for field in retained} == retained
        assert first["syncMode"] == ("incremental_append" if streams else "full_refresh_overwrite")
        assert second.get("selectedFields") is None
        assert second["mappers"] == []


async def test_a_basic_schedule_is_shown(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    path = f"/airbyte/ingestion/{await toy(gateway)}"
    schedule = {"scheduleType": "basic", "basicTiming": "Every 24 HOURS"}
    airbyte.state.connections[path.rsplit("/", 1)[1]]["schedule"] = schedule
    shown = {**schedule, "cronExpression": None}
    assert (await gateway.get(path)).json()["schedule"] == shown
    assert (await gateway.get(f"{path}/status")).json()["schedule"] == shown
    assert (await gateway.patch(path, json={"schedule": shown})).status_code == 501
    wrong = {"scheduleType": "manual", "basicTiming": "Every 24 HOURS"}
    assert (await gateway.patch(path, json={"schedule": wrong})).status_code == 422


async def test_an_existing_resource_that_breaks_airbyte_is_not_taken_for_deleted(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    id_ = await toy(gateway)
    airbyte.fail("GET /connections/.+", times=9, status=500, body='{"message": "it broke"}')
    answer = await gateway.get(f"/airbyte/ingestion/{id_}")
    assert (answer.status_code, answer.json()["detail"]) == (
        424,
        "Airbyte responded with 500: it broke",
    )


async def test_a_locked_connection_is_shown_as_such(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    path = f"/airbyte/ingestion/{await toy(gateway)}"
    airbyte.state.connections[path.rsplit("/", 1)[1]]["status"] = "locked"
    assert (await gateway.get(path)).json()["status"] == "locked"
    refused = await gateway.post(f"{path}/sync")
    assert refused.status_code == 409
    assert "only Airbyte can unlock it" in refused.json()["hint"]
    assert "PATCH" not in refused.json()["hint"]
    patched = await gateway.patch(path, json={"status": "locked"})
    assert patched.status_code == 422
    assert (await gateway.patch(path, json={"status": "active"})).status_code == 409


async def test_kafka_with_sasl_fits_its_connector_and_hides_its_jaas_text(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    jaas = f'a.b.PlainLoginModule required username="reader" password="{SECRET}";'
    sasl = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_jaas_config": jaas}
    config = {"bootstrap_servers": ["a:9092"], "topic": "clicks", "group_id": "g"}
    secured = {**config, **sasl}
    body = {"name": "kafka", "type": "kafka", "config": secured}
    created = await gateway.post("/airbyte/datasource", json=body)
    assert created.status_code == 201, created.text
    id_ = created.json()["id"]
    stored = airbyte.state.sources[id_]["configuration"]
    assert stored["protocol"] == sasl
    assert sasl.keys().isdisjoint(stored)
    shown = await gateway.get(f"/airbyte/datasource/{id_}")
    assert shown.json()["config"]["protocol"]["sasl_jaas_config"] == "**********"
    assert SECRET not in created.text + shown.text
    for field in ("sasl_mechanism", "sasl_jaas_config"):
        less = {name: value for name, value in secured.items() if name != field}
        refused = await gateway.post("/airbyte/datasource", json={**body, "config": less})
        assert refused.status_code == 422
        assert f"{field}: Value error, is required with SASL_SSL" in refused.json()["detail"]
        plain = {**config, field: sasl[field]}
        refused = await gateway.post("/airbyte/datasource", json={**body, "config": plain})
        assert refused.status_code == 422
        assert "is only for SASL_PLAINTEXT and SASL_SSL" in refused.json()["detail"]


async def test_a_run_waits_out_an_outage_of_airbyte_and_ends(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    id_ = await toy(gateway)
    airbyte.fail("POST /jobs", cut=True, done=True)
    airbyte.fail(r"GET /jobs/\d+", times=3, status=500, after=1)
    airbyte.fail(r"GET /jobs/\d+", times=3, status=503)
    airbyte.fail(r"GET /jobs/\d+", times=1, mute=True)
    run = (await gateway.post(f"/airbyte/ingestion/{id_}/sync")).json()
    assert run["state"] == "succeeded", run
    assert run["output"]["rows"] == 25
    assert airbyte.calls("POST /jobs") == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        ({"match": "POST /jobs", "status": 403, "body": '{"detail": "no"}'}, "permission_denied"),
        ({"match": "GET /connections/.+", "after": 1, "status": 503}, "engine_unreachable"),
        ({"match": "POST /jobs", "status": 400, "body": '{"detail": "no"}'}, "internal"),
        ({"match": r"GET /jobs/\d+", "status": 404, "body": '{"detail": "no"}'}, "internal"),
        ({"match": "GET /jobs", "status": 200, "body": HTML, "content_type": "text/html"},
         "internal"),
    ],
)  # fmt: skip
async def test_a_run_that_cannot_be_followed_ends_and_says_why(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, spoil: dict[str, Any], cause: str
) -> None:
    id_ = await toy(gateway)
    airbyte.fail(spoil.pop("match"), times=9, **spoil)
    run = (await gateway.post(f"/airbyte/ingestion/{id_}/sync")).json()
    assert (run["state"], run["failure"]["cause"]) == ("failed", cause), run
    assert run["failure"]["message"]


async def test_the_doctor_shows_the_address_the_identity_and_the_fix(
    lakehouse: Lakehouse, airbyte: AirbyteServer
) -> None:
    airbyte.auth.username, airbyte.auth.password = "airbyte", SECRET
    login = {"airbyte_username": "airbyte", "airbyte_password": SECRET}
    reached, workspace = await airbyte_findings(settings_of(lakehouse, airbyte.url, **login))
    assert (reached.ok, workspace.ok) == (True, True)
    assert f"{airbyte.url} as the user airbyte, workspaces: main" in reached.message
    assert airbyte.state.workspace in workspace.message
    refused, _ = await airbyte_findings(settings_of(lakehouse, airbyte.url))
    assert (refused.ok, "AIRBYTE_PASSWORD" in refused.advice) == (False, True)
    other = settings_of(lakehouse, airbyte.url, airbyte_workspace="other", **login)
    _, missing = await airbyte_findings(other)
    assert (missing.ok, "no workspace other" in missing.message) == (False, True)
    airbyte.fail("GET /workspaces", times=9, mute=True)
    started = time.monotonic()
    mute = await airbyte_findings(settings_of(lakehouse, airbyte.url, airbyte_timeout=30, **login))
    assert not any(finding.ok for finding in mute)
    assert time.monotonic() - started < BUDGET + 1


@pytest.mark.parametrize(
    "schedule",
    [
        {"scheduleType": "cron", "cronExpression": "0 0 12 LW * ?"},
        {"scheduleType": "cron", "cronExpression": "0 0 12 ? * 6L"},
        {"scheduleType": "cron", "cronExpression": "0 0 12 ? * FRIL UTC"},
        {"scheduleType": "manual", "cronExpression": "0 0 12 * * ?"},
        {"scheduleType": "manual", "basicTiming": "Every 24 HOURS"},
    ],
)
async def test_a_schedule_that_asgard_would_not_accept_is_shown(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, schedule: dict[str, str]
) -> None:
    id_ = await toy(gateway)
    airbyte.state.connections[id_]["schedule"] = schedule
    shown = {"cronExpression": None, "basicTiming": None, **schedule}
    path = f"/airbyte/ingestion/{id_}"
    assert (await gateway.get(path)).json()["schedule"] == shown
    status = (await gateway.get(f"{path}/status")).json()
    assert status["schedule"] == shown
    if schedule["scheduleType"] == "manual":
        assert status["nextSync"] is None
    listed = (await gateway.get("/airbyte/ingestion")).json()["items"]
    assert [item["schedule"] for item in listed if item["id"] == id_] == [shown]
    airbyte.state.connections[id_]["schedule"] = {"scheduleType": "manual"}


ODD_ROWS = {
    "configuration": None,
    "name": None,
    "sourceType": 7,
    "createdAt": 1e300,
    "workspaceId": ["x"],
}


@pytest.mark.parametrize("field", ODD_ROWS)
async def test_a_source_of_another_form_is_the_fault_of_airbyte(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, field: str
) -> None:
    id_ = await toy(gateway)
    source = (await gateway.get(f"/airbyte/ingestion/{id_}")).json()["sourceId"]
    row = {**airbyte.state.sources[source], field: ODD_ROWS[field]}
    airbyte.fail("GET /sources.*", times=9, status=200, body=json.dumps({"data": [row], **row}))
    for path in ("/airbyte/datasource", f"/airbyte/datasource/{source}"):
        answer = await gateway.get(path)
        assert answer.status_code in {200, 404, 424}, answer.text
        if answer.status_code == 424:
            assert "does not have the form of its API" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    ["[" * 200_000, '{"data": "x"}', '{"data": [null]}', '{"data": ["x"]}', '{"data": [{}]}', "7"],
    ids=["deep", "a text", "null", "texts", "no id", "a number"],
)
async def test_a_list_of_another_form_is_the_fault_of_airbyte(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, body: str
) -> None:
    airbyte.fail("GET /sources.*", times=9, status=200, body=body)
    answer = await gateway.get("/airbyte/datasource")
    assert answer.status_code == 424, answer.text
    airbyte.reset()
    airbyte.fail("GET /sources.*", times=9, status=500, body=body)
    assert (await gateway.get("/airbyte/datasource")).status_code == 424


async def test_half_of_a_surrogate_pair_in_a_name_is_replaced(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    id_ = await toy(gateway)
    row = airbyte.state.sources[(await gateway.get(f"/airbyte/ingestion/{id_}")).json()["sourceId"]]
    body = json.dumps({"data": [{**row, "name": "half \ud800"}]})
    airbyte.fail("GET /sources.*", times=1, status=200, body=body)
    [item] = (await gateway.get("/airbyte/datasource")).json()["items"]
    assert item["name"] == "half ?"


@pytest.mark.parametrize("value", ["²", "9" * 5000, "Mon, 01 Jan 0001 00:00:00 -0000"])
async def test_an_odd_retry_after_or_date_does_no_harm(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer, value: str
) -> None:
    headers = {"Retry-After": value, "Date": "Mon, 01 Jan 0001 00:00:00 -0000"}
    airbyte.fail("GET /sources.*", times=9, status=429, body="{}", headers=headers)
    assert (await gateway.get("/airbyte/datasource")).status_code == 503


@pytest.mark.parametrize(
    "grant", ["[]", "{}", '{"access_token": "a\\r\\nb"}', '{"access_token": 1}']
)
async def test_a_grant_without_a_token_is_the_fault_of_airbyte(
    lakehouse: Lakehouse, airbyte: AirbyteServer, grant: str
) -> None:
    airbyte.fail("POST .*token.*", times=9, status=200, body=grant)
    credentials = {"airbyte_client_id": "id", "airbyte_client_secret": SECRET}
    async with engine_of(lakehouse, airbyte.url, **credentials) as engine:
        problem = await problem_of(engine.sources())
    assert problem["status"] == 424


async def test_what_clients_see_masked_is_hidden_in_failures(
    gateway: httpx.AsyncClient, airbyte: AirbyteServer
) -> None:
    config = {"headers": [{"name": "X-Auth", "value": "hvSECRET6"}], "my_pin": 123456789}
    airbyte.fail(
        "POST /sources", times=1, status=422, body='{"message": "no hvSECRET6 for 123456789"}'
    )
    body = {"name": "quoting", "type": "toy", "config": {"rows": 1, "stream": "s", **config}}
    refused = await gateway.post("/airbyte/datasource", json=body)
    assert refused.status_code == 422
    assert "hvSECRET6" not in refused.text
    assert "123456789" not in refused.text


@pytest.mark.parametrize("status", [403, 409, 500])
async def test_no_route_shows_a_secret_that_an_error_of_airbyte_quotes(
    gateway: httpx.AsyncClient,
    airbyte: AirbyteServer,
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    """No route has asked for the other resource, whose secret the error may quote, too."""
    secrets = [f"source/{status} {uuid4().hex}", f"sink/{status} {uuid4().hex}"]
    ingestion = await toy(gateway, password=secrets[0])
    got = (await gateway.get(f"/airbyte/ingestion/{ingestion}")).json()
    sink_config = {
        "s3_bucket_name": "theirs",
        "s3_bucket_region": "us-east-1",
        "s3_bucket_path": "in",
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": secrets[1],
        "format": {"format_type": "Parquet"},
    }
    body = {"name": f"sink {status}", "type": "s3", "config": sink_config}
    created = await gateway.post("/airbyte/sink", json=body)
    assert created.status_code == 201, created.text
    source, sink = got["sourceId"], created.json()["id"]
    quoted = " ".join(spelling for secret in secrets for spelling in (secret, quote(secret)))
    airbyte.fail(".*", times=10_000, status=status, body=json.dumps({"message": f"<{quoted}>"}))
    calls = [
        ("GET", "datasource", None),
        ("GET", f"datasource/{source}", None),
        ("GET", f"datasource/{source}/streams", None),
        ("POST", f"datasource/{source}/check", None),
        ("DELETE", f"datasource/{source}", None),
        ("GET", "sink", None),
        ("GET", f"sink/{sink}", None),
        ("DELETE", f"sink/{sink}", None),
        ("GET", "ingestion", None),
        ("GET", f"ingestion/{ingestion}", None),
        ("GET", f"ingestion/{ingestion}/status", None),
        ("PATCH", f"ingestion/{ingestion}", {"name": "other"}),
        ("POST", f"ingestion/{ingestion}/sync", None),
        ("DELETE", f"ingestion/{ingestion}", None),
        ("POST", "ingestion", {"name": "more", "sourceId": source, "destinationId": sink}),
    ]
    texts = []
    for method, path, sent in calls:
        answer = await gateway.request(method, f"/airbyte/{path}", json=sent)
        texts.append(f"{method} {path} {answer.status_code} {answer.text}")
    assert sum("<*** *** *** ***>" in text for text in texts) >= len(calls) - 3, texts
    runs = await gateway.get("/runs", params={"limit": 5})
    captured = capsys.readouterr()
    texts += [runs.text, captured.out, captured.err]
    for secret in secrets:
        assert not [text for text in texts if secret in text or quote(secret) in text]
