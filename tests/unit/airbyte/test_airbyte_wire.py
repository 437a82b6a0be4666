"""Airbyte's paths, schedules and messages as the gateway reads and writes them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.airbyte.cron import next_time, quartz
from app.airbyte.remote.configs import without_secrets
from app.airbyte.remote.errors import lost, message_of, retry_after
from app.airbyte.remote.s3_paths import stream_path
from app.airbyte.secrets import masked
from app.errors import InvalidRequest

LAKE = {"s3_bucket_name": "lake", "s3_bucket_path": "bronze"}


@pytest.mark.parametrize(
    ("connection", "config", "path"),
    [
        ({"namespaceDefinition": "source"}, {}, "bronze/shop/Order_Items"),
        ({"namespaceDefinition": "destination"}, {}, "bronze/Order_Items"),
        ({}, {}, "bronze/Order_Items"),
        ({"prefix": "ab prod "}, {}, "bronze/ab_prod_Order_Items"),
        (
            {"namespaceDefinition": "custom_format", "namespaceFormat": "x_${SOURCE_NAMESPACE}"},
            {},
            "bronze/x_shop/Order_Items",
        ),
        ({}, {"s3_bucket_name": "theirs"}, "s3://theirs/bronze/Order_Items"),
        ({}, {"s3_bucket_path": "/bronze/raw/"}, "bronze/raw/Order_Items"),
        ({}, {"s3_path_format": "${STREAM_NAME}/v1/${YEAR}/x_"}, "bronze/Order_Items/v1"),
    ],
)
def test_a_stream_has_the_path_of_its_destination(
    connection: dict[str, Any], config: dict[str, Any], path: str
) -> None:
    destination = {"destinationType": "s3", "configuration": {**LAKE, **config}}
    assert stream_path(connection, destination, "Order Items", "shop", "lake") == path


def test_a_stream_outside_s3_has_no_path_in_the_lake() -> None:
    snowflake = {"destinationType": "snowflake", "configuration": {}}
    assert stream_path({}, snowflake, "orders", None, "lake") == "snowflake://orders"
    assert stream_path({}, None, "orders", None, "lake") == "unknown://orders"


@pytest.mark.parametrize(
    ("cron", "expression"),
    [
        ("0 3 * * *", "0 0 3 * * ? UTC"),
        ("*/15 * 1 * *", "0 */15 * 1 * ? UTC"),
        ("30 3 * * 1-5", "0 30 3 ? * MON-FRI UTC"),
        ("0 0 * * 0,6", "0 0 0 ? * SUN,SAT UTC"),
        ("0 0 * * 7", "0 0 0 ? * SUN UTC"),
        ("0 0 12 * * ? Europe/Berlin", "0 0 12 * * ? Europe/Berlin"),
    ],
)
def test_cron_becomes_quartz(cron: str, expression: str) -> None:
    assert quartz(cron) == expression


@pytest.mark.parametrize(
    ("expression", "at"),
    [
        ("0 30 3 ? * MON-FRI UTC", "2026-11-23T03:30:00+00:00"),
        ("0 30 3 ? * 2-6 UTC", "2026-11-23T03:30:00+00:00"),
        ("0 0 12 * * ? Europe/Berlin", "2026-11-21T11:00:00+00:00"),
        ("30 3 * * *", "2026-11-22T03:30:00+00:00"),
        ("0 0 0 ? * 6L UTC", None),
        ("0 0 12 * * ? Nowhere/Land", None),
    ],
)
def test_a_schedule_has_a_next_time(expression: str, at: str | None) -> None:
    next_run = next_time(expression, datetime(2026, 11, 21, 10, tzinfo=UTC))
    assert (next_run.isoformat() if next_run else None) == at


def test_two_kinds_of_days_are_refused_for_quartz() -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        quartz("0 0 1 * 1")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"detail": "a", "title": "b"}', "a"),
        ('{"message": "a"}', "a"),
        ('{"title": "b", "data": {"message": "c"}}', "c"),
        ('{"title": "b", "detail": "of every such problem", "data": {"message": "c"}}', "c"),
        ('{"detail": "a", "data": {"resourceId": "d"}}', "a"),
        ('{"title": "b"}', "b"),
        ("<html>", "Not Found"),
        ("[1]", "Not Found"),
    ],
)
def test_an_error_has_airbytes_own_message(body: str, text: str) -> None:
    assert message_of(httpx.Response(404, text=body)) == text


def test_retry_after_is_read_in_both_forms() -> None:
    def answer(value: str) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": value})

    assert retry_after(answer("7")) == 7
    assert retry_after(answer("Wed, 21 Oct 2015 07:28:00 GMT")) == 1
    assert retry_after(answer("soon")) is None


def test_secrets_are_masked_wherever_they_appear() -> None:
    config = {"tunnel": {"ssh_key": "private", "user": "reader"}, "all": [{"password": "s3cret"}]}
    assert masked(config) == {
        "tunnel": {"ssh_key": "**********", "user": "reader"},
        "all": [{"password": "**********"}],
    }
    text = "reader with s3cret and private"
    assert without_secrets(text, config) == "reader with ********** and **********"


async def test_a_response_that_is_not_http_is_not_quoted() -> None:
    """A body after a 204 is read as the start of the next response on the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'{"message": "the password is of-the-body"}\r\n\r\n')
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, httpx.AsyncClient() as client:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(httpx.RemoteProtocolError, match="of-the-body") as raised:
            await client.get(f"http://{host}:{port}")
    error = lost(raised.value, "http://airbyte.example.com", 1).error
    assert error.detail == "Airbyte's response was cut off: RemoteProtocolError"
