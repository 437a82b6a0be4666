"""script/api-examples.sh and script/production-test-dbt-api.sh against real gateways."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from app.config import AuthMode
from tests.harnesses.gateway import gateway_harness, key_of, served, write_keys
from tests.harnesses.scripts import Bin, ScriptResult, run

EXAMPLES, SMOKE = "api-examples.sh", "production-test-dbt-api.sh"
SMOKE_SCOPES = ("dbt:read", "dbt:write", "data-products:read", "data-products:write", "runs:read")
CALL = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) (/\S*)", re.MULTILINE)
LISTS = {
    "/data-products?search=api-examples": "data_products",
    "/airbyte/ingestion": "ingestions",
    "/airbyte/datasource": "sources",
    "/airbyte/sink": "destinations",
    "/dbt/transformations?page_size=100": "transformations",
}


@pytest.fixture(scope="module")
async def url(client: httpx.AsyncClient) -> AsyncIterator[str]:
    """Return the URL of the session's gateway."""
    async with served(client._transport.app) as port:  # type: ignore[attr-defined]
        yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Closed:
    url: str
    port: int
    key: str
    dbt_key: str


@pytest.fixture(scope="module")
async def closed(lakehouse, tmp_path_factory) -> AsyncIterator[Closed]:
    key, known = key_of(*SMOKE_SCOPES)
    dbt_key, known_dbt = key_of("dbt:read", "dbt:write", "runs:read", name="dbt")
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(keys, known, known_dbt)
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": keys}
    # A separate home: two gateways of one process would share the names of their workers.
    home = {"trusted_hosts": ("127.0.0.1",), "asgard_home": tmp_path_factory.mktemp("closed")}
    async with (
        gateway_harness(lakehouse.settings, **settings, **home) as door,
        served(door.app) as port,
    ):
        yield Closed(f"http://127.0.0.1:{port}", port, key, dbt_key)


def routes_called(result: ScriptResult, document: dict) -> set[tuple[str, str]]:
    """Return the paths as the OpenAPI document names them, or the path itself."""
    patterns = [
        (path, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"))
        # A path without parameters takes precedence: /transform/jobs is not a {run_id}.
        for path in sorted(document["paths"], key=lambda path: path.count("{"))
    ]
    called = {(method, target.partition("?")[0]) for method, target in CALL.findall(result.out)}
    return {
        (method, next((path for path, known in patterns if known.match(target)), target))
        for method, target in called
    }


async def left_behind(client: httpx.AsyncClient) -> list[str]:
    left: list[str] = []
    for path, items in LISTS.items():
        found = (await client.get(path)).json()[items]
        left += [item["name"] for item in found if re.fullmatch("api.examples", item["name"])]
    return left


@pytest.mark.timeout(300)
async def test_the_examples_call_every_route_and_leave_nothing_even_when_repeated(
    client, url, lakehouse, tmp_path
):
    environment = {"ASGARD_URL": url, "ASGARD_HOME": str(lakehouse.home)}
    leftover = {"name": "api-examples", "type": "s3"}
    assert (await client.post("/airbyte/sink", json=leftover)).status_code == 201

    first = await run(EXAMPLES, **environment)

    assert first.code == 0, first.out[-3000:] + first.err
    document = client._transport.app.openapi()
    routes = {(m.upper(), path) for path, ops in document["paths"].items() for m in ops}
    assert routes_called(first, document) == routes
    assert await left_behind(client) == []
    again = await run(EXAMPLES, **environment)
    assert again.code == 0, again.out[-3000:] + again.err
    assert await left_behind(client) == []


async def test_the_examples_stop_at_the_first_failure_and_delete_what_they_created(
    client, url, lakehouse, tmp_path
):
    """Another ingestion writes the same files, which is detected after source and sink exist."""
    (lakehouse.home / "data").mkdir(exist_ok=True)
    (lakehouse.home / "data" / "taken.csv").write_text("a\n1\n")
    body = {"name": "mine", "type": "file", "config": {"url": "taken.csv"}}
    source = (await client.post("/airbyte/datasource", json=body)).json()["id"]
    sink = (await client.post("/airbyte/sink", json={"name": "mine", "type": "s3"})).json()["id"]
    mine = {"name": "mine", "sourceId": source, "destinationId": sink}
    assert (await client.post("/airbyte/ingestion", json=mine)).status_code == 201
    (tmp_path / "source.json").write_text(json.dumps(body))

    result = await run(EXAMPLES, "--source", str(tmp_path / "source.json"), ASGARD_URL=url)

    assert result.code == 1
    assert "POST /api/v1/airbyte/ingestion should return 201: " in result.err
    assert "/sync" not in result.out
    assert result.out.count("DELETE /api/v1/airbyte/") == 2
    assert await left_behind(client) == []


async def test_the_examples_explain_how_to_name_a_readable_source(client, url, tmp_path):
    source = tmp_path / "source.json"
    source.write_text('{"type": "file", "config": {"url": "is-not-there.csv"}}')

    result = await run(EXAMPLES, "--source", str(source), ASGARD_URL=url)

    assert result.code == 1
    assert "There is no file is-not-there.csv." in result.err
    assert "Name a source that the gateway can read with --source" in result.err


async def test_the_examples_name_the_missing_scope_and_never_the_key(closed, tmp_path):
    watched = Bin(tmp_path / "bin")
    watched.watch("curl")

    result = await run(EXAMPLES, ASGARD_URL=closed.url, ASGARD_API_KEY=closed.key, bin_=watched)

    assert result.code == 1
    assert "metrics:read" in result.err
    assert "asgard keys create" in result.err
    assert len(watched.called) == 3
    assert closed.key not in result.out + result.err + "".join(watched.called)


@pytest.mark.parametrize("script", [EXAMPLES, SMOKE])
async def test_wrong_usage_is_reported_before_any_call(script, tmp_path):
    watched = Bin(tmp_path / "bin")
    watched.watch("curl")
    for arguments, environment, expected in (
        (["--nonsense"], {}, "--help"),
        ([], {"ASGARD_API_KEY_FILE": str(tmp_path / "none")}, "cannot be read"),
        ([], {"ASGARD_API_KEY": 'a"b'}, "an invalid character"),
    ):
        result = await run(script, *arguments, bin_=watched, **environment)
        assert (result.code, result.out) == (2, "")
        assert expected in result.err
    helped = await run(script, "--help", bin_=watched)
    assert (helped.code, helped.err) == (0, "")
    assert "ASGARD_URL" in helped.out
    assert helped.out.rstrip().endswith("2 wrong usage.")
    assert watched.called == []


@pytest.mark.parametrize("script", [EXAMPLES, SMOKE])
async def test_an_unreachable_gateway_is_reported(script, unused_tcp_port):
    result = await run(script, ASGARD_URL=f"http://127.0.0.1:{unused_tcp_port}")
    assert result.code == 1
    assert f"No gateway responds at http://127.0.0.1:{unused_tcp_port}." in result.err


async def test_the_smoke_test_reaches_a_release_through_kubectl_and_leaves_nothing(
    closed, tmp_path
):
    standin = Bin(tmp_path / "bin")
    standin.watch("curl")
    standin.add(
        "kubectl",
        f"""case "$1" in
          port-forward) echo "Forwarding from 127.0.0.1:{closed.port} -> 8000"; exec sleep 600 ;;
          get) [[ $2 == secret ]] && printf %s '{closed.key}' || printf 80 ;;
        esac""",
    )

    result = await run(SMOKE, "--namespace", "asgard", bin_=standin)

    assert result.code == 0, result.out + result.err
    assert result.out.count(" ok ") == 9
    assert result.out.endswith("It works.\n")
    assert [call for call in standin.called if call.startswith("kubectl")] == [
        "kubectl get service asgard-service -n asgard -o jsonpath={.spec.ports[0].port}",
        "kubectl port-forward -n asgard svc/asgard-service :80",
        "kubectl get secret api-secrets -n asgard --ignore-not-found "
        '-o go-template={{index .data "api-key" | base64decode}}',
    ]
    assert closed.key not in result.out + result.err + "".join(standin.called)
    assert await smoke_left_behind(closed) == []


async def test_the_smoke_test_deletes_what_it_created_after_a_later_failure(closed, tmp_path):
    file = tmp_path / "key"
    file.write_text(closed.dbt_key + "\n")

    result = await run(SMOKE, ASGARD_URL=closed.url, ASGARD_API_KEY_FILE=str(file))

    assert result.code == 1
    assert result.out.endswith(" FAILED\n")
    assert result.err.startswith("\nA data product is built from it: ")
    assert "data-products:write" in result.err
    assert closed.dbt_key not in result.out + result.err
    assert await smoke_left_behind(closed) == []


async def smoke_left_behind(closed: Closed) -> list[str]:
    left: list[str] = []
    async with httpx.AsyncClient(headers={"X-API-Key": closed.key}) as http:
        for path in ("dbt/transformations", "dbt/tables/gold", "data-products"):
            listed = (await http.get(f"{closed.url}/api/v1/{path}")).json()
            left += re.findall(r"asgard_smoke_\d+_\d+", json.dumps(listed))
    return left


async def test_the_smoke_test_names_the_failure_and_the_remedy(closed, url):
    without = await run(SMOKE, ASGARD_URL=closed.url)
    assert without.code == 1
    assert "SQL is planned" in without.out.splitlines()[-1]
    assert without.out.endswith(" FAILED\n")
    assert "Set ASGARD_API_KEY" in without.err

    open_api = await run(SMOKE, ASGARD_URL=url)
    assert open_api.code == 0, open_api.err
    assert "AUTH_MODE is none" in open_api.out
