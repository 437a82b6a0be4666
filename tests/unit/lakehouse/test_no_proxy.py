"""What is meant for the embedded lake does not go to a proxy that the environment names."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from app.lakehouse.connection import S3Connection
from app.lakehouse.storage import open_client
from tests.http_server import Asked, Reply, replying

S3 = S3Connection("http://127.0.0.1:9", "us-east-1", "key", "secret", "lake")


@pytest.mark.parametrize("own_user", [True, False])
def test_s3_of_the_embedded_lake_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, own_user: bool
) -> None:
    by_proxy: list[Asked] = []

    def proxy(asked: Asked) -> Reply:
        by_proxy.append(asked)
        return Reply(403)

    with replying(proxy) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = open_client(replace(S3, own_user=own_user))
        with pytest.raises(ClientError if not own_user else EndpointConnectionError):
            client.get_object(Bucket="lake", Key="a")
    assert bool(by_proxy) is not own_user
