"""AUTH_MODE=api_key, over HTTP: every route requires a key with the right scope."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from app.auth.key_ring import REFRESH_SECONDS
from app.caller import SCOPES
from app.config import AuthMode, ConfigurationError
from tests.harnesses.gateway import GatewayHarness, bearer, gateway_harness, key_of, write_keys

PLAIN = "a-plain-key-that-an-operator-chose"
OPEN = {"/health", "/health/ready"}
ANY_KEY = {"/problems"}


@pytest.fixture(scope="module")
async def keys():
    keys = {scope: key_of(scope, name=scope.replace(":", ".")) for scope in SCOPES}
    ended = key_of("admin", name="ended")
    past = datetime.now(UTC) - timedelta(seconds=1)
    keys["expired"] = (ended[0], ended[1].model_copy(update={"expires": past}))
    revoked = key_of("admin", name="revoked")
    keys["revoked"] = (revoked[0], revoked[1].model_copy(update={"revoked": past}))
    return keys


@pytest.fixture(scope="module")
async def closed(lakehouse, keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder / "keys.json", *(known for _, known in keys.values()))
    (folder / "api-key").write_text(PLAIN + "\n")
    async with gateway_harness(
        lakehouse.settings,
        auth_mode=AuthMode.API_KEY,
        auth_keys_file=folder / "keys.json",
        auth_api_key_file=folder / "api-key",
        docs_public=False,
        rate_limit=0,
    ) as closed:
        yield closed


def operations(closed: GatewayHarness):
    for path, operations in closed.app.openapi()["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, re.sub(r"\{[^}]+\}", "0123456789abcdef", path), operation


def expected_scope(method: str, path: str) -> str:
    if path == "/metrics":
        return "metrics:read"
    domain = path.split("/")[3]
    if domain == "audit":
        return "admin"
    reads = method == "GET" or path.endswith("/dbt/validate-sql")
    return f"{domain}:{'read' if reads else 'write'}"


async def test_every_route_is_closed_without_a_key(closed):
    seen = 0
    for method, path, url, _ in operations(closed):
        answer = await closed.client.request(method, url)
        if path in OPEN:
            assert answer.status_code == 200, path
            continue
        seen += 1
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="asgard"'
        assert answer.json()["type"] == "/problems/unauthorized"
    assert seen >= 45


async def test_every_route_names_the_missing_scope(closed, keys):
    for method, path, url, operation in operations(closed):
        if path in OPEN | ANY_KEY:
            assert "security" not in operation
            continue
        needed = expected_scope(method, path)
        assert operation["security"] == [{"bearer": [needed]}, {"apiKey": [needed]}], path
        for other in SCOPES - {needed, "admin"}:
            answer = await closed.client.request(method, url, headers=bearer(keys[other][0]))
            assert answer.status_code == 403, (method, path, other, answer.text)
            assert answer.json()["missing"] == needed
            assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]


async def test_a_key_with_the_scope_is_accepted_in_either_header(closed, keys):
    for scope, path in (
        ("dbt:read", "/api/v1/dbt/transformations"),
        ("runs:read", "/api/v1/runs"),
        ("metrics:read", "/metrics"),
        ("admin", "/api/v1/audit"),
    ):
        key = keys[scope][0]
        for headers in (bearer(key), {"X-API-Key": key}, bearer(PLAIN)):
            answer = await closed.client.get(path, headers=headers)
            assert answer.status_code == 200, (path, answer.text)
    sql = {"sql_query": "SELECT 1 AS x"}
    key = bearer(keys["dbt:read"][0])
    answer = await closed.client.post("/api/v1/dbt/validate-sql", json=sql, headers=key)
    assert answer.json()["is_valid"] is True


async def test_two_different_keys_are_refused(closed, keys):
    one, other = keys["runs:read"][0], keys["admin"][0]
    for first, second in ((one, other), (other, one), (one, "unknown")):
        headers = {**bearer(first), "X-API-Key": second}
        answer = await closed.client.get("/api/v1/runs", headers=headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["detail"] == (
            "The headers Authorization and X-API-Key differ; expected one credential."
        )
    same = {**bearer(one), "X-API-Key": one}
    assert (await closed.client.get("/api/v1/runs", headers=same)).status_code == 200


async def test_invalid_keys_are_refused(closed, keys):
    good = keys["admin"][0]
    changed = good[:-1] + ("A" if good[-1] != "A" else "B")
    wrong = [changed, good + "x", good.upper(), "asgard_0123456789ab_" + "x" * 43, "ä", "x" * 5000]
    wrong += [keys["expired"][0], keys["revoked"][0]]
    for key in wrong:
        answer = await closed.client.get("/api/v1/runs", headers={"X-API-Key": key.encode()})
        assert answer.status_code == 401, key
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert key not in answer.text
    for header in ("Basic YTpi", "Bearer", f"Bearer {good} {good}", good):
        answer = await closed.client.get("/api/v1/runs", headers={"Authorization": header})
        assert answer.status_code == 401, header


async def test_unknown_paths_require_a_key_too(closed, keys):
    assert (await closed.client.get("/api/v1/nothing")).status_code == 401
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/problems", "/static/swagger-ui.css"):
        assert (await closed.client.get(path)).status_code == 401, path
        answer = await closed.client.get(path, headers=bearer(keys["runs:read"][0]))
        assert answer.status_code == 200, path


async def test_the_creator_of_a_resource_is_recorded(closed, keys):
    plain, known = keys["data-products:write"]
    body = {
        "name": "Made by a key",
        "description": "d",
        "data_product_type": "CUSTOM",
        "owner": "o",
        "update_frequency": "daily",
        "sql_query": "SELECT 1 AS x",
    }
    again = {**bearer(plain), "Idempotency-Key": "auth-keys"}
    created = await closed.client.post("/api/v1/data-products", json=body, headers=again)
    assert created.status_code == 201, created.text
    replayed = await closed.client.post("/api/v1/data-products", json=body, headers=again)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    # The same idempotency key of another caller is a different key.
    other = {**bearer(PLAIN), "Idempotency-Key": "auth-keys"}
    conflict = await closed.client.post("/api/v1/data-products", json=body, headers=other)
    assert conflict.status_code == 409
    url = f"/api/v1/audit?resource_id={created.json()['id']}&outcome=done"
    records = (await closed.client.get(url, headers=bearer(PLAIN))).json()["records"]
    assert {record["subject"] for record in records} == {f"key:{known.id}:{known.name}"}


async def test_a_changed_key_file_takes_effect_within_a_second_and_a_broken_one_has_none(
    lakehouse, tmp_path
):
    (first, first_known), (second, second_known) = key_of("admin"), key_of("admin", name="b")
    file = tmp_path / "keys.json"
    write_keys(file, first_known)
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": file}
    async with gateway_harness(lakehouse.settings, **settings) as closed:

        async def status_of_runs(key: str) -> int:
            return (await closed.client.get("/api/v1/runs", headers=bearer(key))).status_code

        assert (await status_of_runs(first), await status_of_runs(second)) == (200, 401)
        write_keys(file, second_known)
        async with asyncio.timeout(REFRESH_SECONDS * 10):
            while await status_of_runs(second) != 200:  # noqa: ASYNC110 — asked over HTTP
                await asyncio.sleep(0.05)
        assert await status_of_runs(first) == 401
        file.write_text("{broken")
        ends = asyncio.get_running_loop().time() + REFRESH_SECONDS * 1.5
        while asyncio.get_running_loop().time() < ends:
            assert await status_of_runs(second) == 200
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("{broken", 0o600, "not a valid key file"),
        ('{"keys": []}', 0o666, "writable by other users"),
    ],
)
async def test_an_unusable_key_file_is_an_error_at_startup(
    lakehouse, tmp_path, content, mode, message
):
    file = tmp_path / "keys.json"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=message):
        async with gateway_harness(
            lakehouse.settings, auth_mode=AuthMode.API_KEY, auth_keys_file=file
        ):
            raise AssertionError("it started")


async def test_a_guessable_plain_key_is_an_error_at_startup(lakehouse, tmp_path):
    file = tmp_path / "api-key"
    file.write_text("ci-key-of-2026")
    with pytest.raises(ConfigurationError, match="can be guessed"):
        async with gateway_harness(
            lakehouse.settings, auth_mode=AuthMode.API_KEY, auth_api_key_file=file
        ):
            raise AssertionError("it started")
