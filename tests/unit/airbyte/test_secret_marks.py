"""Values that surely are secrets, by the field's name or by their form, at any place."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.airbyte.secrets import joined, mask_in, masked, split, sure_secrets
from app.data_products.metadata import masked_metadata, with_stored_secrets
from app.errors import InvalidBody
from app.secret_marks import MASK, is_secret_name, is_secret_text, plain_secrets, secret_pointers_of

HUNTER = "hunter2-0815"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{HUNTER}\n-----END RSA PRIVATE KEY-----"
JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    f'username="me" password="{HUNTER}";'
)
SECRET_FIELDS: list[dict[str, Any]] = [
    *(
        {name: HUNTER}
        for name in (
            *("password", "Password", "dbPassword", "db-password", "passwd", "passphrase", "pwd"),
            *("passcode", "secret", "clientSecret", "client_secret", "token", "accessToken"),
            *("api_key", "apiKey", "API-KEY", "x-api-key", "key", "private_key", "sshKey"),
            *("access_keys", "credential", "credentials", "connection_string", "connString"),
            *("dsn", "sasl_jaas_config", "Authorization", "cookie", "cookies", "sas", "bearer"),
            *("pass", "db_pass", "pw", "root_pw", "passwort", "auth", "basic_auth", "psk", "pin"),
            *("otp", "pat", "session_id", "creds", "passkey", "keystore", "pem"),
            "shared_access_signature",
            # In full width, and in a style of mathematics.
            *("ｐａｓｓｗｏｒｄ", "ｐassword", "𝐭𝐨𝐤𝐞𝐧"),
        )
    ),
    {"extra": {"token": HUNTER, "nested": [{"password": HUNTER}]}},
    {"tokens": [HUNTER, [HUNTER]]},
    {"credentials": {"auth_type": "oauth2.0", "value": HUNTER, "inner": {"anything": HUNTER}}},
    {"headers": {"Authorization": f"Bearer {HUNTER}", "Accept": "text/csv"}},
    {"headers": [{"name": "Authorization", "value": HUNTER}]},
    {"headers": [{"Name": "Authorization", "Value": HUNTER}]},
    {"headers": [{"headerName": "Authorization", "VALUE": HUNTER}]},
    {"pwd1": HUNTER},
    {"headers": [{"key": "X-Api-Key", "value": HUNTER}]},
    {"anything": f"Bearer {HUNTER}ABC"},
    {"anything": f"Basic {HUNTER}ABC="},
    {"jdbc_url": f"jdbc:postgresql://me:{HUNTER}@db.example.com/shop"},
    {"url": f"https://me:{HUNTER}@example.com/a.csv"},
    {"url": f"https://{HUNTER}@example.com/a.csv"},
    {"url": f"https://me:{HUNTER}/with@slash@example.com/a.csv"},
    {"urls": [f"https://example.com/?sv=2024&sig={HUNTER}"]},
    {"uri": f"mongodb+srv://me:{HUNTER}@cluster.example.com/?retryWrites=true"},
    {"storage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={HUNTER}=="},
    {"jdbc_url_params": f"user=me&password={HUNTER}"},
    {"options": f"-c user=me -c api_key={HUNTER}"},
    {"options": f"user: me\npassword: {HUNTER}"},
    {"anything": f"ghp_{HUNTER}"},
    {"anything": f"xoxb-{HUNTER}"},
    {"properties": JAAS},
    {"certificate": PEM},
    {"service_account": json.dumps({"type": "service_account", "private_key": HUNTER})},
    {"list": [json.dumps([{"deep": {"client_secret": HUNTER}}])]},
]
PLAIN_FIELDS: list[dict[str, Any]] = [
    {"host": "db.example.com", "port": 5432, "database": "shop", "username": "reader"},
    {"primary_key": "customer_id", "primaryKey": "id", "partition_key": "day", "sort_key": "a"},
    {"cursor_key": "at", "key_columns": ["order_id"], "monkey": "business", "keyspace": "shop"},
    {"access_key_id": "AKIAEXAMPLE", "compass": "north", "passenger": "me"},
    {"credentials": {"auth_type": "oauth2.0", "credentials_title": "OAuth"}},
    {"token_url": "https://example.com/token", "token_type": "jwt", "use_password": True},
    {"url": "s3://lake/bronze/a@b.csv", "other": "https://example.com:8080/a@b?x=y"},
    {"url": "https://example.com/a?user=me", "text": "the basic idea of a bearer bond"},
    {"format": {"format_type": "Parquet", "flattening": "No flattening"}},
    {"sql": "SELECT a = b", "formula": "x=1", "design=1": "design=2"},
    {"certificate": "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"},
    {"json": '{"a": [1, 2]}', "broken": '{"password": '},
    {"password": "", "secret": None, "token": False},
]


@pytest.mark.parametrize("config", SECRET_FIELDS, ids=lambda config: json.dumps(config)[:60])
def test_a_secret_is_masked_by_its_name_or_form_and_comes_back(config: dict[str, Any]) -> None:
    shown, secrets = split(config, set())
    assert HUNTER not in json.dumps(shown)
    assert MASK in json.dumps(shown)
    assert HUNTER in json.dumps(secrets)
    assert joined(shown, secrets) == config
    # Masked JSON stays the same when it is masked again.
    assert masked(shown) == shown


@pytest.mark.parametrize("config", PLAIN_FIELDS, ids=lambda config: json.dumps(config)[:60])
def test_what_is_no_secret_stays_as_it_is(config: dict[str, Any]) -> None:
    assert masked(config) == config
    assert split(config, set()) == (config, {})


def test_what_the_spec_marks_and_what_is_named_may_overlap() -> None:
    config = {"credentials": {"token": HUNTER, "auth_type": "x"}, "pin": 1234, "token": 5678}
    shown, secrets = split(config, {("credentials",), ("pin",), ("credentials", "token")})
    assert shown == {"credentials": MASK, "pin": MASK, "token": MASK}
    assert joined(shown, secrets) == config


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(HUNTER),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["token", "a", "value", "name", "key", "headers"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5) | st.just("secret"), json_values, max_size=4))
def test_splitting_loses_nothing(config: dict[str, Any]) -> None:
    shown, secrets = split(config, set())
    assert joined(shown, secrets) == config
    assert split(shown, set())[1] == {}


@given(json_values)
def test_whatever_stands_under_a_secret_s_name_is_masked(value: Any) -> None:
    assert HUNTER not in json.dumps(masked({"password": [value]})) or _is_described(value)


def _is_described(value: Any) -> bool:
    """The name in a pair (`{"name": …, "value": …}`) describes the value and is not a secret."""
    return any(name in json.dumps(value) for name in ("name", "key"))


def test_the_mask_is_no_value() -> None:
    assert mask_in({"a": [{"token": MASK}], "b": MASK}) == "a.0.token"
    assert mask_in({"a": "x"}) is None


def test_logs_hide_what_has_the_form_of_a_secret_too() -> None:
    assert sure_secrets({"properties": JAAS, "host": "db.example.com"}) == {JAAS}


@pytest.mark.parametrize(
    "text",
    [
        "://a:" * 13_000,
        "bearer " * 9_000,
        "password" * 8_000,
        "a" * 64_000,
        "eyJ" * 21_000,
        "[" * 60_000,
        '{"a":' * 10_000,
        "-" * 64_000,
        "sig=" * 16_000,
        "\N{COMBINING GRAVE ACCENT}\N{COMBINING GRAVE ACCENT BELOW}" * 32_000,
    ],
    ids=lambda text: text[:10],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    is_secret_text(text)
    is_secret_name(text)
    assert time.process_time() - began < 1


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def steps_of(search: Callable[[], Any]) -> int:
    """Count the calls, and how often a generator goes on."""
    steps = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal steps
        steps += event == "call"

    sys.setprofile(count)
    try:
        search()
    finally:
        sys.setprofile(None)
    return steps


def test_a_json_text_is_searched_up_to_its_first_secret() -> None:
    text = json.dumps({"password": nested([1] * 5000, 15)})
    assert steps_of(lambda: is_secret_text(text)) < 200
    assert is_secret_text(text)


def test_the_depth_of_a_value_does_not_multiply_the_search() -> None:
    values = ["a value"] * 1000
    for search in (secret_pointers_of, lambda value: list(plain_secrets(value))):
        flat, deep = ({"a": nested(values, levels)} for levels in (1, 18))
        assert steps_of(lambda: search(deep)) < 1.2 * steps_of(lambda: search(flat))  # noqa: B023


def test_a_json_text_that_is_nested_too_deep_counts_as_a_secret() -> None:
    assert not is_secret_text(json.dumps(nested("a value", 19)))
    assert is_secret_text(json.dumps(nested("a value", 21)))


def test_a_long_number_does_not_hide_a_secret_in_a_json_text() -> None:
    assert is_secret_text(f'{{"password": "{HUNTER}", "n": {"1" * 5000}}}')


def test_the_shortest_form_is_a_secret() -> None:
    assert is_secret_text("pwd=x")


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("db://me:pass/word@example.com", True),
        ("see db://me:pass/word@example.com now", True),
        ("a@example.com db://:pass/word@example.com", True),
        (f"db://me:{'pass/' * 100}@example.com", True),
        ("db://example.com:5432/a@b", False),
        ("db://me:pass/word at example.com, x@example.com", False),
        ("https://example.com/a:b@c", False),
        ("db://me:@example.com/", True),
        ("db://example.com/x:@y", False),
    ],
)
def test_a_password_with_a_slash_is_found_before_its_at_sign(text: str, is_secret: bool) -> None:
    assert is_secret_text(text) is is_secret


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"db_password": HUNTER}, ("db_password",)),
        ({"source": {"apiToken": HUNTER}}, ("source", "apiToken")),
        ({"list": [{"secret": HUNTER}]}, ("list", 0, "secret")),
        ({"credentials": [HUNTER]}, ("credentials", 0)),
        ({"api_key": HUNTER}, ("api_key",)),
        ({"jdbc": f"postgres://me:{HUNTER}@db.example.com/shop"}, ("jdbc",)),
        ({"pem": PEM}, ("pem",)),
        ({"password": {"value": HUNTER}}, ("password", "value")),
        ({"secrets": {"a": [HUNTER]}}, ("secrets", "a", 0)),
        ({"credentials": {"inner": {"value": HUNTER}}}, ("credentials", "inner", "value")),
        ({"headers": [{"name": "Authorization", "value": HUNTER}]}, ("headers", 0, "value")),
        ({"header": {"Key": "X-Api-Key", "Value": [HUNTER]}}, ("header", "Value", 0)),
    ],
)
def test_metadata_with_a_secret_is_found_and_masked(
    metadata: dict[str, Any], where: tuple[str | int, ...]
) -> None:
    assert next(plain_secrets(metadata)) == where
    assert HUNTER not in json.dumps(masked_metadata(metadata))
    assert with_stored_secrets(masked_metadata(metadata), metadata) == metadata


@pytest.mark.parametrize(
    ("metadata", "where"),
    [
        ({"PASSWORD": 123456}, ("PASSWORD",)),
        ({"db": {"pwd": [123456.5]}}, ("db", "pwd", 0)),
        ({"password": {"value": 123456}}, ("password", "value")),
        ({"headers": [{"name": "api-key", "value": 123456}]}, ("headers", 0, "value")),
    ],
)
def test_a_number_under_a_secret_s_name_is_a_secret(
    metadata: dict[str, Any], where: tuple[str | int, ...]
) -> None:
    assert list(plain_secrets(metadata)) == [where]
    assert "123456" not in json.dumps(masked_metadata(metadata))
    assert with_stored_secrets(masked_metadata(metadata), metadata) == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {"secret_name": "shop-db", "token_count": 5, "tokenization": "none", "max_tokens": "4"},
        {"business_key": "customer_id", "key": "id", "sort_key": "at", "passenger": "me"},
        {"password": "", "api_key": None, "secret": MASK},
        {"docs": "https://example.com/wiki?page=2", "contact": "me@example.com"},
        {"password_policy": "strict", "tokens": 5, "secrets": {"count": 5, "rotated": True}},
        {"credentials": {"secret_name": "shop-db", "vault": "shop", "auth_type": "oauth2.0"}},
        {"columns": [{"name": "password", "type": "varchar", "description": "a hash"}]},
        {"labels": [{"key": "sort_key", "value": "at"}, {"name": "token_count", "value": "5"}]},
        {"pass": 97, "fail": 3, "secret": True, "cookies": 2.5, "password": {"length": 12}},
        {"labels": [{"name": "tokens", "value": 5}], "credentials": {"port": 5432}},
    ],
)
def test_metadata_without_a_secret_stays(metadata: dict[str, Any]) -> None:
    assert list(plain_secrets(metadata)) == []
    assert masked_metadata(metadata) == metadata


def test_metadata_sent_back_keeps_what_was_masked_and_changes_the_rest() -> None:
    kept = {"source": {"token": HUNTER, "team": "a"}, "urls": [f"x://me:{HUNTER}@h/", "y"]}
    shown = masked_metadata(kept)
    assert shown == {"source": {"token": MASK, "team": "a"}, "urls": [MASK, "y"]}
    shown["source"]["team"] = "b"
    shown["urls"][1] = "z"
    shown["more"] = 1
    assert with_stored_secrets(shown, kept) == {
        "source": {"token": HUNTER, "team": "b"},
        "urls": [f"x://me:{HUNTER}@h/", "z"],
        "more": 1,
    }


@pytest.mark.parametrize(
    "submitted",
    [
        {"headers": [{"name": "colour", "value": MASK}]},
        {"headers": [{"title": "Authorization", "value": MASK}]},
        {"headers": [{"value": MASK}]},
    ],
)
def test_a_masked_value_comes_back_only_where_it_stays_masked(submitted: dict[str, Any]) -> None:
    stored = {"headers": [{"name": "Authorization", "value": HUNTER}]}
    assert with_stored_secrets(masked_metadata(stored), stored) == stored
    with pytest.raises(InvalidBody, match="masked value"):
        with_stored_secrets(submitted, stored)
