"""`/` leads to the documentation, under the same rules of access."""

import httpx

from app.config import AuthMode
from tests.harnesses.gateway import gateway_harness, key_of, write_keys

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_a_browser_is_led_to_the_documentation(client: httpx.AsyncClient) -> None:
    answer = await client.get("http://asgard/", headers=BROWSER)
    assert answer.status_code == 307
    assert answer.headers["location"] == "/docs"
    assert (await client.get("http://asgard/docs")).status_code == 200


async def test_a_program_gets_addresses_that_work(client: httpx.AsyncClient) -> None:
    answer = await client.get("http://asgard/")
    assert answer.headers["vary"] == "Accept"
    root = answer.json()
    assert (root["name"], root["api"]) == ("Asgard", "/api/v1")
    for name in ("documentation", "openapi", "problems", "health"):
        assert (await client.get(f"http://asgard{root[name]}")).status_code == 200, name
    assert (await client.get(f"http://asgard{root['api']}/runs")).status_code == 200


async def test_documentation_that_is_public_has_a_public_root(lakehouse, tmp_path):
    write_keys(tmp_path / "keys.json", key_of("runs:read")[1])
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    for is_public, status in ((True, 307), (False, 401)):
        async with gateway_harness(lakehouse.settings, **settings, docs_public=is_public) as closed:
            assert (await closed.client.get("/", headers=BROWSER)).status_code == status
