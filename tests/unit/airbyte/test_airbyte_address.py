import pytest

from app.airbyte.remote.client import AirbyteClient
from app.config import Settings
from tests.http_server import serving


@pytest.mark.parametrize("login", ["user:secret", "user:se@secret"])
async def test_the_address_of_airbyte_is_shown_without_its_login(login: str) -> None:
    with serving(lambda _: (200, {"data": []})) as port:
        host = f"127.0.0.1:{port}"
        settings = Settings(_env_file=None, airbyte_base_url=f"http://{login}@{host}")  # type: ignore[call-arg]
        client = AirbyteClient(settings)
        shown = await client.probe()
        await client.close()
    assert "secret" not in shown
    assert f"http://{host} as" in shown
