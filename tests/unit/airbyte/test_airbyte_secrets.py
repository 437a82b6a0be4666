"""Secrets leave a config before it becomes a record, and come back when it is used."""

import json
import multiprocessing
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.airbyte.local.secret_store import SecretStore
from app.airbyte.remote.configs import without_secrets
from app.airbyte.secrets import (
    every_pointer,
    joined,
    secret_pointers,
    secret_values,
    split,
    sure_secrets,
)
from app.secret_marks import MASK

SCHEMA = {
    "properties": {
        "password": {"type": "string", "airbyte_secret": True},
        "host": {"type": "string"},
        "tunnel": {
            "oneOf": [
                {"properties": {"method": {"const": "none"}}},
                {"properties": {"key/with~odd": {"type": "string", "airbyte_secret": True}}},
            ]
        },
        "tokens": {"type": "array", "items": {"properties": {"value": {"airbyte_secret": True}}}},
    }
}
CONFIG = {
    "password": "p4ssword",
    "host": "db.example.com",
    "tunnel": {"method": "key", "key/with~odd": "k3y-k3y"},
    "tokens": [{"value": "t0ken-1", "name": "a"}, {"value": "t0ken-2"}],
}


SECRET: dict[str, Any] = {"type": "string", "airbyte_secret": True}
OBJECT: dict[str, Any] = {"properties": {"hush": SECRET, "said": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/definitions/a~1b%20c"},
        {"allOf": [{"$ref": "#/definitions/loop"}]},
        {"patternProperties": {"^hu": SECRET}},
        {"patternProperties": {"[broken": SECRET}, "properties": {"said": {}}},
        {"additionalProperties": SECRET, "properties": {"said": {}}},
        {"additionalProperties": SECRET, "patternProperties": {"^s": {}}},
        {"unevaluatedProperties": SECRET, "properties": {"said": {}}},
        {"if": {"required": ["said"]}, "then": OBJECT},
        {"if": False, "else": OBJECT},
        {"dependentSchemas": {"said": OBJECT}},
        {"dependencies": {"said": OBJECT, "hush": ["said"]}},
    ],
    ids=str,
)
def test_a_schema_is_followed_to_its_marks(schema: dict[str, Any]) -> None:
    definitions = {
        "a/b c": OBJECT,
        "loop": {"anyOf": [{"$ref": "#/definitions/loop"}, {"$ref": "#/definitions/back"}]},
        "back": {"allOf": [{"$ref": "#/definitions/loop"}, OBJECT]},
    }
    root = {"properties": {"inner": schema, "host": {}}, "definitions": definitions}
    pointers = secret_pointers(root, {"inner": {"hush": "h", "said": "s"}, "host": "h"})
    broken = "[broken" in str(schema)
    assert pointers == {("inner", "hush"), *([("inner", "said")] if broken else [])}


@pytest.mark.parametrize(
    ("schema", "marked"),
    [
        ({"items": [SECRET]}, {0}),
        ({"items": [{}], "additionalItems": SECRET}, {1}),
        ({"prefixItems": [{}, SECRET], "items": {}}, {1}),
        ({"items": {"$ref": "#/definitions/secret"}}, {0, 1}),
        ({"contains": SECRET}, {0, 1}),
    ],
    ids=str,
)
def test_items_are_followed_to_their_marks(schema: dict[str, Any], marked: set[int]) -> None:
    root = {"properties": {"list": schema}, "definitions": {"secret": SECRET}}
    assert secret_pointers(root, {"list": ["a", "b"]}) == {("list", at) for at in marked}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/other.json"},
        {"$ref": "#anchor"},
        {"$ref": "#/definitions/missing"},
        {"ofTheFuture": [{"hush": SECRET}]},
        {"propertyNames": {"$ref": "#/definitions/any"}},
    ],
    ids=str,
)
def test_every_value_under_an_unreadable_schema_may_be_a_secret(schema: dict[str, Any]) -> None:
    root = {"properties": {"inner": schema, "host": {"type": "string"}}}
    config = {"inner": {"hush": "h", "list": ["s"]}, "host": "example.com"}
    assert secret_pointers(root, config) == {("inner", "hush"), ("inner", "list", 0)}


def test_values_in_a_schema_are_no_marks() -> None:
    schema = {"const": {"airbyte_secret": True}, "examples": [{"$ref": "x"}], "group": {"id": 1}}
    assert secret_pointers({"properties": {"a": schema}}, {"a": {"b": "c"}}) == set()


def test_a_reference_to_the_whole_is_followed_as_deep_as_the_config() -> None:
    schema = {"properties": {"hush": SECRET, "below": {"$ref": "#"}}}
    config = {"hush": "a", "below": {"hush": "b", "below": {"hush": "c", "said": "d"}}}
    assert secret_pointers(schema, config) == {
        ("hush",),
        ("below", "hush"),
        ("below", "below", "hush"),
    }


def test_marked_fields_are_found_at_any_depth() -> None:
    masked, secrets = split(CONFIG, secret_pointers(SCHEMA, CONFIG))
    assert masked == {
        "password": MASK,
        "host": "db.example.com",
        "tunnel": {"method": "key", "key/with~odd": MASK},
        "tokens": [{"value": MASK, "name": "a"}, {"value": MASK}],
    }
    assert secrets == {
        "password": "p4ssword",
        "tunnel": {"key/with~odd": "k3y-k3y"},
        "tokens": {"0": {"value": "t0ken-1"}, "1": {"value": "t0ken-2"}},
    }
    assert joined(masked, secrets) == CONFIG


def test_long_secrets_are_hidden_before_short_ones_that_they_contain() -> None:
    assert secret_values({"a": "1234", "b": {"c": "12345678", "d": "x"}}, {}) == (
        "12345678",
        "1234",
    )


names = st.text(string.ascii_letters + "/~", min_size=1, max_size=5)
configs = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(names, inner, min_size=1, max_size=3),
    ),
    max_leaves=10,
)


@given(st.dictionaries(names, configs, max_size=4))
def test_masking_everything_and_joining_gives_the_config_back(config: dict[str, Any]) -> None:
    masked, secrets = split(config, every_pointer(config))
    assert joined(masked, secrets) == config
    assert set(_leaves(masked)) <= {MASK}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def test_secrets_take_no_more_room_than_the_config_whatever_its_names() -> None:
    config = {"/~" * 10_000 + "password": {str(number): "x" for number in range(3_000)}}
    shown, secrets = split(config, every_pointer(config))
    assert len(json.dumps(secrets)) <= len(json.dumps(config))
    assert joined(shown, secrets) == config


def test_a_secret_that_was_not_there_before_is_added() -> None:
    shown = {"password": MASK, "tunnel": {"method": "key"}}
    renewed = {"password": "new", "tunnel": {"ssh_key": "k3y"}, "token": "t0ken"}
    assert joined(shown, renewed) == {
        "password": "new",
        "tunnel": {"method": "key", "ssh_key": "k3y"},
        "token": "t0ken",
    }


def test_the_files_are_private_and_forget(tmp_path: Path) -> None:
    folder = tmp_path / "secrets" / "sources"
    store = SecretStore(folder)
    store.put("a", {"password": "p4ssword"})
    store.put("b", {})
    assert store.get("a") == {"password": "p4ssword"}
    assert store.get("b") == {}
    modes = [path.stat().st_mode & 0o777 for path in (folder / "a.json", folder, folder.parent)]
    assert modes == [0o600, 0o700, 0o700]
    store.delete("a")
    assert store.get("a") == {}
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_the_one_file_of_earlier_versions_is_converted(tmp_path: Path) -> None:
    legacy = tmp_path / "sources.json"
    pointers = {"/password": "p4ssword", "/tunnel/key~1with~0odd": "k3y", "/tokens/0/value": "t"}
    legacy.write_text(json.dumps({"a": pointers, "b": {"/token": "other"}}))
    store = SecretStore(tmp_path / "sources")
    assert store.get("a") == {
        "password": "p4ssword",
        "tunnel": {"key/with~odd": "k3y"},
        "tokens": {"0": {"value": "t"}},
    }
    assert store.get("b") == {"token": "other"}
    assert not legacy.exists()


def _put_many(path: Path, writer: int) -> None:
    store = SecretStore(path)
    for number in range(20):
        store.put("shared", {"writer": writer, "number": number})
        store.put(f"{writer}-{number}", {"n": number})


def test_two_gateways_do_not_lose_each_others_secrets(tmp_path: Path) -> None:
    path = tmp_path / "sources"
    spawning = multiprocessing.get_context("spawn")
    writers = [spawning.Process(target=_put_many, args=(path, writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    store = SecretStore(path)
    stored = [store.get(f"{writer}-{number}") for writer in range(2) for number in range(20)]
    assert stored == [{"n": number} for _ in range(2) for number in range(20)]
    assert store.get("shared")["number"] == 19


def test_only_sure_secrets_are_hidden_in_every_log() -> None:
    config = {
        "password": "first-one",
        "credentials": {"auth_type": "oauth2.0", "api_token": "second-one", "account_key": "third"},
        "tunnel": {"ssh_key": "fourth-one", "tunnel_user": "me-and-you"},
        "tokens": ["fifth-one", "abc"],
        "primary_key": "customer_id",
        "key_columns": ["order_id"],
        "host": "db.example.com",
    }
    assert sure_secrets(config) == {"first-one", "second-one", "third", "fourth-one", "fifth-one"}


def test_what_clients_see_masked_is_hidden_in_every_log() -> None:
    config = {
        "my_pin": 123456789,
        "headers": [
            {"name": "X-Auth", "value": "in a pair"},
            {"name": "X-Color", "value": "green"},
        ],
        "credentials": {"user": "someone", "valid": True},
        "password": {"v": "below a name"},
        "use_token": True,
    }
    assert sure_secrets(config) == {"123456789", "in a pair", "someone", "below a name"}
    assert (
        without_secrets("pin 123456789, header in a pair", config) == f"pin {MASK}, header {MASK}"
    )
