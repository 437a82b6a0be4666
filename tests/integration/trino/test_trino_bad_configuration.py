"""A wrong setting is reported to the operator by its name, without secrets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from app.config import ConfigurationError, Settings
from app.errors import AsgardError, EngineFailed, EngineTimeout, EngineUnreachable
from app.lakehouse import external
from app.lakehouse.external import external_lakehouse
from app.warehouse.trino.adapter import trino_connection
from app.warehouse.trino.client import TrinoClient
from tests.http_server import answering, mute
from tests.ports import free_port

SECRET = f"secret-{uuid4().hex}"
HTML = b"<html><body>Welcome to the load balancer</body></html>"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "PATIENCE", 0.0)


async def refused(production: Settings, **changes: Any) -> str:
    """Return the message of the start, which must contain no secret."""
    settings = production.model_copy(update=changes)
    with pytest.raises(ConfigurationError) as refusal:
        async with external_lakehouse(settings):
            pass
    message = str(refusal.value)
    assert SECRET not in message
    secret = production.aws_secret_access_key
    assert secret is not None
    assert secret.get_secret_value() not in message
    return message


async def test_a_bucket_that_is_missing_is_named(production: Settings) -> None:
    message = await refused(production, s3_bucket="no-such-bucket")
    assert "S3_BUCKET" in message
    assert "no-such-bucket" in message


async def test_wrong_keys_are_distinguished_from_a_missing_bucket(production: Settings) -> None:
    message = await refused(production, aws_access_key_id="nobody")
    assert "S3_BUCKET" in message
    assert "refused" in message


async def test_an_s3_endpoint_without_a_server_is_reported(production: Settings) -> None:
    message = await refused(production, s3_endpoint=f"http://127.0.0.1:{free_port()}")
    assert "S3 cannot be reached" in message


async def test_an_s3_host_that_does_not_exist_is_named(production: Settings) -> None:
    message = await refused(production, s3_endpoint="http://no-such-host.invalid:8333")
    assert "no-such-host.invalid" in message


async def test_a_branch_that_is_missing_is_named(production: Settings) -> None:
    message = await refused(production, nessie_ref="nowhere")
    assert "NESSIE_REF" in message
    assert "nowhere" in message


async def test_a_branch_of_records_that_is_missing_is_named(production: Settings) -> None:
    message = await refused(production, nessie_records_ref="norecords")
    assert "NESSIE_RECORDS_REF" in message
    assert "norecords" in message


async def test_a_nessie_port_without_a_server_is_reported(production: Settings) -> None:
    message = await refused(production, nessie_uri=f"http://127.0.0.1:{free_port()}/api/v1")
    assert "NESSIE_URI" in message
    assert "cannot be reached" in message


async def test_a_nessie_host_that_does_not_exist_is_named(production: Settings) -> None:
    message = await refused(production, nessie_uri="http://no-such-host.invalid:19120/api/v1")
    assert "NESSIE_URI" in message
    assert "no-such-host.invalid" in message


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "not"), (401, "refused"), (403, "refused"), (503, "reached")]
)
async def test_a_server_that_is_not_a_catalog_is_reported(
    production: Settings, status: int, reason: str
) -> None:
    with answering(status, HTML) as port:
        message = await refused(production, nessie_uri=f"http://127.0.0.1:{port}/api/v1")
    assert "NESSIE_URI" in message
    assert reason in message


async def test_a_credential_that_the_catalog_refuses_is_reported(production: Settings) -> None:
    with answering(401, b'{"error":"invalid_client"}', "application/json") as port:
        settings = Settings(
            _env_file=None,
            **{
                **production.model_dump(exclude={"nessie_uri", "nessie_records_ref"}),
                "iceberg_rest_uri": f"http://127.0.0.1:{port}",
                "iceberg_rest_credential": f"me:{SECRET}",
            },
        )
        message = await refused(settings)
    assert "ICEBERG_REST_URI" in message
    assert "credential" in message


@contextmanager
def trino_error(production: Settings, **changes: Any) -> Iterator[Any]:
    settings = production.model_copy(update=changes)
    client = TrinoClient(trino_connection(settings))
    with pytest.raises(AsgardError) as raised:
        client.ask("SELECT 1", 3)
    yield raised.value
    assert SECRET not in f"{raised.value.detail} {raised.value.hint}"


def test_a_trino_port_without_a_server_is_reported(production: Settings) -> None:
    with trino_error(production, trino_port=free_port()) as error:
        assert isinstance(error, EngineUnreachable)
        assert "Trino cannot be reached" in error.detail


def test_a_trino_host_that_does_not_exist_is_reported(production: Settings) -> None:
    with trino_error(production, trino_host="no-such-host.invalid") as error:
        assert isinstance(error, EngineUnreachable)
        assert "TRINO_HOST" in error.detail


def test_a_web_page_instead_of_trino_is_reported(production: Settings) -> None:
    with answering(200, HTML) as port, trino_error(production, trino_port=port) as error:
        assert isinstance(error, EngineFailed)
        assert "is not Trino" in error.detail
        assert "TRINO_PORT" in str(error.hint)


def test_a_wrong_path_instead_of_trino_is_reported(production: Settings) -> None:
    with answering(404, HTML) as port, trino_error(production, trino_port=port) as error:
        assert isinstance(error, EngineFailed)
        assert "HTTP 404" in error.detail


@pytest.mark.parametrize("status", [401, 403])
def test_a_trino_that_refuses_its_user_is_reported(production: Settings, status: int) -> None:
    with answering(status, HTML) as port, trino_error(production, trino_port=port) as error:
        assert error.cause == "permission_denied"
        assert "TRINO_PASSWORD" in str(error.hint)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_unavailable_trino_is_reported(production: Settings, status: int) -> None:
    with (
        answering(status, HTML, Retry_After="0") as port,
        trino_error(production, trino_port=port) as error,
    ):
        assert isinstance(error, EngineUnreachable)
        assert error.retryable


def test_a_truncated_reply_is_reported(production: Settings) -> None:
    with (
        answering(200, b'{"id": "2026', "application/json") as port,
        trino_error(production, trino_port=port) as error,
    ):
        assert isinstance(error, EngineFailed)
        assert "cannot be read" in error.detail


def test_a_trino_that_does_not_answer_is_reported(production: Settings) -> None:
    with mute() as port, trino_error(production, trino_port=port) as error:
        assert isinstance(error, (EngineUnreachable, EngineTimeout))


def test_tls_on_a_port_without_tls_is_reported(production: Settings) -> None:
    with trino_error(production, trino_http_scheme="https") as error:
        assert isinstance(error, EngineUnreachable)
        assert "TRINO_HTTP_SCHEME" in error.detail


def test_a_password_is_sent_only_over_tls(production: Settings) -> None:
    with trino_error(production, trino_password=_secret()) as error:
        assert "TLS" in error.detail


def test_a_catalog_that_trino_does_not_have_is_named(production: Settings) -> None:
    client = TrinoClient(trino_connection(production.model_copy(update={"trino_catalog": "nope"})))
    with pytest.raises(EngineFailed) as raised:
        client.ask('SELECT * FROM "silver"."t"', 10)
    assert "TRINO_CATALOG" in str(raised.value.hint)


def test_a_schema_that_trino_does_not_have_is_reported(production: Settings) -> None:
    client = TrinoClient(trino_connection(production))
    with pytest.raises(EngineFailed) as raised:
        client.ask('SELECT * FROM "platinum"."t"', 10)
    assert "create-schemas.sh" in str(raised.value.hint)


def _secret() -> Any:
    from pydantic import SecretStr

    return SecretStr(SECRET)
