"""The edge: rates, time limits, headers, browsers, proxies, and a caller's limit of runs."""

import asyncio
import json
import tracemalloc
from uuid import uuid4

import httpx
import pytest
from fastapi import Request

from app.audit.record import AuditOutcome
from app.caller import ANONYMOUS, RUNS_ADMIN, Caller
from app.config import AuthMode
from app.edge.proxies import Proxies
from app.edge.rate_limit import MOST_BUCKETS, RateLimit
from app.edge.response import ResponseGuard
from app.errors import EngineUnreachable, TooManyRequests
from app.runs.model import Run
from app.runs.reader import RunReader
from app.runs.submission import Submission
from app.runs.waiting import WaitDep
from tests.harnesses.gateway import bearer, gateway_harness, key_of, served, write_keys
from tests.harnesses.runs import Idle, request, running, runs_harness
from tests.patience import until

HERE = {"host": "asgard"}


async def test_a_caller_above_the_rate_limit_gets_a_retry_after(lakehouse, tmp_path):
    one, two = key_of("runs:read", name="one"), key_of("runs:read", name="two")
    write_keys(tmp_path / "keys.json", one[1], two[1])
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    async with gateway_harness(lakehouse.settings, **settings, rate_limit=3) as closed:

        async def ask(key: str) -> httpx.Response:
            return await closed.client.get("/api/v1/runs", headers=bearer(key))

        assert [(await ask(one[0])).status_code for _ in range(3)] == [200] * 3
        refused = await ask(one[0])
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert "RATE_LIMIT" in refused.json()["detail"]
        assert (await ask(two[0])).status_code == 200
        # Requests with invalid keys share a bucket by address, never that of a caller with a key.
        assert [(await ask("wrong")).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert (await ask(two[0])).status_code == 200
        assert (await closed.client.get("/health")).status_code == 200


async def test_a_rotated_key_shares_the_bucket_of_the_old_one(lakehouse, tmp_path):
    old, new = key_of("runs:read", name="one"), key_of("runs:read", name="one")
    write_keys(tmp_path / "keys.json", old[1], new[1])
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    async with gateway_harness(lakehouse.settings, **settings, rate_limit=2) as closed:
        asked = [
            await closed.client.get("/api/v1/runs", headers=bearer(key))
            for key in (old[0], new[0], new[0], old[0])
        ]
    assert [answer.status_code for answer in asked] == [200, 200, 429, 429]


HOSTILE = [
    *(b"", b" ", b"[", b"]", b"http://[", b"http://]", b"http://[::1", b"http://[v1.x]", b"//["),
    *(b"http://a:b:c", b"http://asgard:99999999", b"http://\xff", b"null", b"\xb2", b"\xff\xfe"),
    *(b"9" * 5000, b"-1", b"1e9", b"0x10", b"%00", b"%ff", b"\xe2\x84\xaa", b'"', b'W/"', b"*"),
    *(b"Bearer", b"Bearer ", b"Bearer \xff", b"Bearer a.b.c", b"Bearer ....", b"Basic \xff"),
    *(b"Bearer eyJhbGciOiJub25lIn0.e30.", b"Bearer W10.W10.W10", b"for=[::1;by=", b"a" * 8000),
    *(b"bytes=", b"bytes=-", b"bytes=9-1", b"bytes=0-0,-1", b"bytes=" + b"9" * 5000 + b"-"),
    *(b"bytes=\xb2-", b"application/json; charset=\xff", b"application/json; charset=nonsense"),
    *(b"application/json; charset*=x", b"application/json; charset*1*=utf-7''%ff", b"/", b";;=;"),
    *(b"application/json; charset*\xb2=a", b"multipart/form-data", b"text/event-stream;q=x"),
    *(b"Sat, 99 Xyz 99999 99:99:99 GMT", b"Mon, 01 Jan 0000 00:00:00 +9999999999", b"1" * 13),
    *(b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00", b"ff-" + b"f" * 32 + b"-" + b"f" * 16),
    *(b"fe80::1%\xff", b"::ffff:1.2.3.4%1", b"10.0.0.1, [", b"respond-async;=;,,", b"a=b; a"),
]
PARSED = [
    *("Host", "Origin", "Referer", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto"),
    *("X-Forwarded-Host", "Content-Type", "Content-Length", "Accept", "Range", "If-Range"),
    *("If-Match", "If-None-Match", "If-Modified-Since", "Last-Event-ID", "traceparent"),
    *("tracestate", "Authorization", "X-API-Key", "Prefer", "X-Request-Id", "Sec-Fetch-Site"),
    *("Idempotency-Key", "Cookie", "Expect", "Access-Control-Request-Method"),
]


async def test_no_value_of_a_header_is_a_500(lakehouse, tmp_path):
    given, known = key_of("admin")
    write_keys(tmp_path / "keys.json", known)
    settings = {
        "auth_mode": AuthMode.API_KEY,
        "auth_keys_file": tmp_path / "keys.json",
        "rate_limit": 0,
    }
    settings |= {"cors_origins": ("https://app.example.com",), "trusted_proxies": ("127.0.0.0/8",)}
    of_files = ("Range", "If-Range", "If-None-Match", "If-Modified-Since", "Accept")
    asked = [
        ("GET", "/static/favicon.png", None, of_files),
        ("POST", "/api/v1/dbt/validate-sql", b"{}", PARSED),
    ]
    async with gateway_harness(lakehouse.settings, **settings) as closed:
        for method, path, body, names in asked:
            for name in names:
                for value in HOSTILE:
                    own = {"Authorization": f"Bearer {given}", "Content-Type": "application/json"}
                    own = {key: result for key, result in own.items() if key != name}
                    headers = [*own.items(), (name, value)]
                    answer = await closed.client.request(
                        method, path, headers=headers, content=body
                    )
                    assert answer.status_code < 500, (method, path, name, value, answer.text)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://[v1.x]", "null", "[", ""])
async def test_an_invalid_origin_counts_as_another_site(lakehouse, origin):
    async with gateway_harness(lakehouse.settings) as opened:
        answer = await opened.client.post(
            f"/api/v1/runs/{'0' * 16}/cancel", headers={"Origin": origin}
        )
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-site")
        refused = [
            item for item in await opened.audit.all() if item.outcome is AuditOutcome.REFUSED
        ]
        assert any(item.status == 403 for item in refused)


async def test_a_missing_scope_is_reported_before_a_wrong_parameter(lakehouse, tmp_path):
    plain, known = key_of("runs:read")
    write_keys(tmp_path / "keys.json", known)
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    async with gateway_harness(lakehouse.settings, **settings) as closed:

        async def status(path: str) -> int:
            return (await closed.client.get(f"/api/v1/{path}", headers=bearer(plain))).status_code

        assert await status("dbt/transformations?limit=2") == 403
        assert await status("runs?limit=2") == 422


async def test_an_encoded_separator_in_a_path_is_refused(lakehouse):
    async with gateway_harness(lakehouse.settings) as gateway:
        for path in ("/api%2fv1%2Fruns", "/api/v1/data-products/a%5Cb", "/docs%2F"):
            refused = await gateway.client.get(path)
            assert refused.status_code == 400
            assert "an encoded slash or backslash" in refused.json()["detail"]
        allowed = await gateway.client.get("/api/v1/runs?target=a%2Fb%5Cc")
        assert allowed.status_code == 200


def test_a_bucket_fills_evenly_and_callers_are_forgotten():
    now = 0.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.take("a") for _ in range(60)] == [None] * 60
    assert limit.take("a") == 1
    now = 1.0
    assert (limit.take("a"), limit.take("a")) == (None, 1)
    for number in range(MOST_BUCKETS + 10):
        limit.take(f"address {number}")
    assert len(limit._buckets) <= MOST_BUCKETS
    assert limit.take("a") == 1
    assert RateLimit(0).take("a") is None


async def test_a_slow_handler_is_a_504_and_still_completes(lakehouse):
    may_end, ended = asyncio.Event(), asyncio.Event()
    async with gateway_harness(lakehouse.settings, request_timeout=0.2) as gateway:

        @gateway.app.post("/slow")
        async def slow(_: WaitDep) -> None:
            await may_end.wait()
            ended.set()

        @gateway.app.post("/waiting")
        async def waiting(wait: WaitDep) -> str:
            await asyncio.sleep(0.4)
            return f"waited {wait.seconds:g}"

        async with (
            served(gateway.app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HERE) as client,
        ):
            late = await client.post("/slow?wait_seconds=0", json={})
            assert not ended.is_set()
            may_end.set()
            async with asyncio.timeout(10):
                await ended.wait()
            whole = await client.post("/waiting?wait_seconds=60", json={})
    assert (late.status_code, late.json()["type"]) == (504, "/problems/answer-too-slow")
    assert "REQUEST_TIMEOUT" in late.json()["detail"]
    assert (whole.status_code, whole.json()) == (200, "waited 60")


async def test_a_body_that_arrives_too_slowly_is_a_408(lakehouse):
    async with gateway_harness(lakehouse.settings, request_timeout=0.2) as gateway:

        @gateway.app.post("/body")
        async def take(request: Request) -> int:
            return len(await request.body())

        async with served(gateway.app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /body HTTP/1.1\r\nHost: asgard\r\nContent-Length: 100\r\n\r\nab")
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"/problems/request-too-slow" in answer
            async with httpx.AsyncClient(headers=HERE) as client:
                whole = await client.post(f"http://127.0.0.1:{port}/body", content=b"x" * 100)
            assert whole.json() == 100


async def test_every_answer_tells_browsers_what_to_refuse(lakehouse):
    proxied = {"X-Forwarded-Proto": "https"}
    async with gateway_harness(lakehouse.settings, trusted_proxies=("127.0.0.1",)) as gateway:
        for path in ("/health", "/api/v1/nothing", "/api/v1/runs"):
            headers = (await gateway.client.get(path)).headers
            assert headers["Content-Security-Policy"] == (
                "default-src 'none'; frame-ancestors 'none'"
            )
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "Strict-Transport-Security" not in headers
            secure = (await gateway.client.get(path, headers=proxied)).headers
            assert secure["Strict-Transport-Security"] == "max-age=31536000"
        docs = (await gateway.client.get("/docs")).headers["Content-Security-Policy"]
        script = docs.split("script-src ")[1].split(";")[0]
        assert script.startswith("'self' 'sha256-")
        assert "unsafe" not in script
    async with gateway_harness(lakehouse.settings) as untrusting:
        headers = (await untrusting.client.get("/health", headers=proxied)).headers
        assert "Strict-Transport-Security" not in headers


async def test_browsers_may_call_only_from_configured_origins(lakehouse):
    ours, theirs = "https://app.example.com", "https://evil.example.com"
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,idempotency-key",
    }

    async def seen(client: httpx.AsyncClient, origin: str) -> tuple[int, str | None, int]:
        asked = await client.options("/api/v1/runs", headers={"Origin": origin, **preflight})
        changed = await client.post(
            "/api/v1/runs/0123456789abcdef/cancel",
            headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"},
        )
        return (
            asked.status_code,
            asked.headers.get("Access-Control-Allow-Origin"),
            changed.status_code,
        )

    async with gateway_harness(lakehouse.settings) as none:
        assert await seen(none.client, ours) == (405, None, 403)
    async with gateway_harness(lakehouse.settings, cors_origins=(ours,)) as some:
        assert await seen(some.client, ours) == (200, ours, 404)
        assert await seen(some.client, theirs) == (400, None, 403)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_forwarded_headers_count_only_from_a_trusted_proxy(peer, forwarded_for, address):
    from starlette.datastructures import Headers

    proxies = Proxies(("10.0.0.0/8", "fd00::/8"))
    scope = {"type": "http", "client": (peer, 1), "scheme": "http"}
    assert proxies.origin(scope, Headers({"x-forwarded-for": forwarded_for})).address == address


async def test_a_caller_has_a_limit_of_open_runs(lakehouse):
    harness = await runs_harness(lakehouse.lake)
    long = {"seconds": 30}
    async with running(harness.service(Idle(), max_runs_per_caller=2)) as runs:

        async def start(subject: str, number: int) -> str:
            work, _ = request(f"share-{subject}-{number}", spec=long)
            return (await runs.start(work, Submission(Caller(subject)))).run.run_id

        # All at once: runs that are still being created count as well.
        tried = await asyncio.gather(
            *(start("eager", number) for number in range(6)), return_exceptions=True
        )
        begun = [item for item in tried if isinstance(item, str)]
        refused = [item for item in tried if isinstance(item, TooManyRequests)]
        assert (len(begun), len(refused)) == (2, 4)
        assert "MAX_RUNS_PER_CALLER" in refused[0].detail
        assert refused[0].retry_after
        others = [await start("other", 1), await start(ANONYMOUS.subject, 1)]
        others += [await start(ANONYMOUS.subject, 2), await start(ANONYMOUS.subject, 3)]
        await runs.cancel(begun[0], Caller("eager"))
        await runs.wait(begun[0], 30)
        begun.append(await start("eager", 7))
        for run_id in begun + others:
            await runs.cancel(run_id, Caller("operator", frozenset({RUNS_ADMIN})))


async def test_a_run_counts_towards_the_limit_of_the_callers_that_still_want_it(lakehouse):
    harness = await runs_harness(lakehouse.lake)
    async with running(harness.service(Idle(), max_runs_per_caller=1)) as runs:

        async def start(subject: str, target: str) -> str:
            work, _ = request(target, spec={"seconds": 30}, fingerprint="same")
            return (await runs.start(work, Submission(Caller(subject)))).run.run_id

        shared = await start("first", "shared")
        assert await start("second", "shared") == shared
        with pytest.raises(TooManyRequests):
            await start("first", "another")
        await runs.cancel(shared, Caller("first"))
        another = await start("first", "another")
        with pytest.raises(TooManyRequests):
            await start("second", "third")
        for run_id in (shared, another):
            await runs.cancel(run_id, Caller("operator", frozenset({RUNS_ADMIN})))


async def test_a_run_that_is_refused_has_prepared_nothing(lakehouse):
    harness = await runs_harness(lakehouse.lake)
    prepared: list[str] = []
    async with running(harness.service(Idle(), max_runs_per_caller=1)) as runs:

        async def start(target: str, name: str) -> str:
            async def prepare() -> None:
                prepared.append(name)

            work, _ = request(target, spec={"seconds": 30}, fingerprint="same")
            return (await runs.start(work, Submission(Caller("me")), prepare=prepare)).run.run_id

        first = await start("prepared", "started")
        with pytest.raises(TooManyRequests):
            await start("another", "refused")
        assert await start("prepared", "joined") == first
        assert prepared == ["started", "joined"]
        await runs.cancel(first, Caller("me"))
        await runs.wait(first, 30)
        runs.drain()
        with pytest.raises(EngineUnreachable):
            await start("prepared", "stopping")
        assert prepared == ["started", "joined"]


async def test_the_late_answer_of_a_handler_is_recorded_and_not_sent():
    sent: list[int] = []
    recorded: list[tuple[int, bytes]] = []

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    async def record(status: int, body: bytes) -> None:
        recorded.append((status, body))

    response = ResponseGuard(send, "id", is_https=False)
    response.record = record
    response.is_late = True
    await response.send({"type": "http.response.start", "status": 504, "headers": []})
    await response.send({"type": "http.response.body", "body": b"late"})
    await response({"type": "http.response.start", "status": 201, "headers": []})
    await response({"type": "http.response.body", "body": b"crea", "more_body": True})
    await response({"type": "http.response.body", "body": b"ted"})
    assert sent == [504]
    assert recorded == [(504, b"late"), (201, b"created")]


async def test_nothing_follows_the_answer_of_the_deadline():
    sent: list[str] = []

    async def send(message) -> None:
        sent.append(message["type"])

    answer = ResponseGuard(send, "id", is_https=False)
    answer.is_late = True
    await answer.send({"type": "http.response.start", "status": 504, "headers": []})
    await answer({"type": "http.response.start", "status": 200, "headers": []})
    assert (sent, answer.status) == (["http.response.start"], 504)


async def test_a_request_that_waits_for_its_run_does_not_hold_its_raw_body(lakehouse, monkeypatch):
    waits, may_end, wait = asyncio.Event(), asyncio.Event(), RunReader.wait

    async def held_wait(self: RunReader, run_id: str, seconds: float) -> Run:
        waits.set()
        await may_end.wait()
        return await wait(self, run_id, seconds)

    def is_freed(size: int) -> bool:
        return all(trace.size < size for trace in tracemalloc.take_snapshot().traces)

    monkeypatch.setattr(RunReader, "wait", held_wait)
    model = {"name": f"m{uuid4().hex[:8]}", "sql_query": "SELECT 1 AS a"}
    content = json.dumps(model).encode().ljust(3 * 1024 * 1024)
    headers = {**HERE, "content-type": "application/json", "idempotency-key": uuid4().hex}
    async with gateway_harness(lakehouse.settings) as opened, served(opened.app) as port:
        url = f"http://127.0.0.1:{port}/api/v1/dbt/transform"
        async with httpx.AsyncClient(timeout=120, headers=headers) as client:
            tracemalloc.start()
            try:
                posted = asyncio.create_task(client.post(url, content=content))
                await asyncio.wait_for(waits.wait(), 60)
                await until(lambda: is_freed(len(content)), 10)
            finally:
                tracemalloc.stop()
                may_end.set()
            first = await posted
            again = await client.post(url, content=content)
            other = await client.post(url, content=content + b" ")
    assert first.status_code == 200, first.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.json()["type"] == "/problems/idempotency-key-reused"
