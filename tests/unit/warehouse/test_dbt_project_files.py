"""dbt reads in the generated project what Asgard wrote, and no templates in names and texts."""

import json
from typing import Any

import jinja2
import pytest
import yaml
from dbt.clients.jinja import get_rendered
from dbt_common.utils.dict import deep_map_render
from hypothesis import given
from hypothesis import strategies as st

from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.sql.jinja import printed, string
from app.sql.model import TableName
from app.sql.quoting import quoted
from app.warehouse.dbt import project_files as files
from app.warehouse.engine import ExtraColumn, IncrementalStrategy, Materialization, ModelSpec
from tests.payloads import PAYLOADS

LAKE = Lake(
    S3Connection("http://127.0.0.1:1", "us-east-1", "the-key", "the-secret", "lake"),
    CatalogConnection("http://127.0.0.1:2", "warehouse", credential="the-key:the-secret"),
)


def spec(**more: object) -> ModelSpec:
    return ModelSpec.model_validate({"schema_name": "gold", "name": "m", "sql": "", **more})


def rendered(model: ModelSpec) -> str:
    """Return the SQL that dbt would read."""
    text = files.model_file(files.ModelText(model, "select 1 as id"))
    return jinja2.Environment(autoescape=False).from_string(text).render()  # noqa: S701 — as dbt


def config(model: ModelSpec) -> dict[str, object]:
    document = yaml.safe_load(
        files.properties_file(files.ModelText(model, ""), files.VIEWS_DATABASE)
    )
    (described,) = document["models"]
    settings: dict[str, object] = described["config"]
    return settings


def test_a_model_references_the_models_it_reads() -> None:
    reads = {"a": [], "b": ["a", "elsewhere"], "c": ["b", "a"]}
    assert files.allowed_refs(reads, set()) == {"a": set(), "b": {"a"}, "c": {"a", "b"}}


def test_tables_that_read_one_another_keep_one_direction_of_the_circle() -> None:
    refs = files.allowed_refs({"a": ["b"], "b": ["a"], "c": ["c"]}, set())
    assert refs == {"a": {"b"}, "b": set(), "c": set()}


def test_a_circle_is_broken_at_a_table_and_never_at_a_view() -> None:
    refs = files.allowed_refs({"t": ["v"], "v": ["t"]}, {"v"})
    assert refs == {"t": {"v"}, "v": set()}


def test_the_project_contains_what_dbt_needs_to_know_about_a_model() -> None:
    model = spec(
        materialization=Materialization.INCREMENTAL,
        incremental_strategy=IncrementalStrategy.DELETE_INSERT,
        unique_key=("id",),
        tags=("a 'b' \"c\" é }}",),
        owner="me",
    )
    assert config(model) == {
        "materialized": "incremental",
        "tags": ["a 'b' \"c\" é }}"],
        "meta": {"owner": "me"},
        "incremental_strategy": "delete+insert",
        "unique_key": ['"id"'],
    }


def test_views_are_built_by_hand_in_the_local_database() -> None:
    assert config(spec(materialization=Materialization.VIEW))["database"] == "asgard"


TEXTS = (
    st.text() | st.sampled_from(PAYLOADS) | st.text("{%#}-+ \n\r\x85\u2028'\"\\\\raw", max_size=20)
)


@given(TEXTS)
def test_dbt_prints_every_text_and_reads_no_template_in_it(text: str) -> None:
    assert get_rendered(printed(text), {}) == text
    assert get_rendered(printed(text), {}, native=True) == text
    assert get_rendered(f"{{{{ {string(text)} }}}}", {}) == text


@given(TEXTS, TEXTS)
def test_a_text_stays_the_same_beside_templates_of_asgard(before: str, after: str) -> None:
    template = f"{printed(before)}{{{{ ref({string(after)}) }}}}{printed(after)}"
    assert get_rendered(template, {"ref": lambda name: f"<{name}>"}) == f"{before}<{after}>{after}"


@given(TEXTS, st.lists(TEXTS, max_size=5))
def test_dbt_finds_every_text_in_the_properties(text: str, texts: list[str]) -> None:
    model = spec(
        description=text,
        tags=texts,
        owner=text,
        materialization=Materialization.INCREMENTAL,
        unique_key=tuple(texts),
    )
    document = read_by_dbt(files.properties_file(files.ModelText(model, ""), None))
    (described,) = document["models"]
    assert described["description"] == text
    assert described["config"]["tags"] == texts
    assert described["config"]["unique_key"] == [quoted(name) for name in texts]
    assert described["config"]["meta"] == {"owner": text}


@given(TEXTS, TEXTS)
def test_dbt_finds_every_table_among_the_sources(schema: str, table: str) -> None:
    document = read_by_dbt(files.sources_file([TableName(schema, table)], LAKE))
    [source] = document["sources"]
    [entry] = source["tables"]
    assert (source["name"], source["schema"], entry["name"]) == (schema, schema, table)
    assert entry.get("identifier", table) == table.replace('"', '""')


@given(TEXTS)
def test_dbt_reads_no_templates_in_the_settings_of_a_profile(text: str) -> None:
    values = dict.fromkeys(files.secret_values(LAKE), text)
    profile = files.rendered(files.profile(LAKE, values, text, [text]))
    output = read_by_dbt(yaml.safe_dump(profile))["outputs"]["lake"]
    assert output["secrets"][0]["secret"] == output["path"] == text
    assert output["extensions"] == [text]


def read_by_dbt(document: str) -> Any:
    loaded = yaml.load(document, Loader=yaml.CSafeLoader)
    return deep_map_render(
        lambda value, _: get_rendered(value, {}, native=True) if isinstance(value, str) else value,
        loaded,
    )


@pytest.mark.parametrize("text", PAYLOADS)
def test_the_name_and_value_of_an_added_column_are_never_templates(text: str) -> None:
    model = spec(extra_columns=(ExtraColumn(name=text, value=text),))
    value, name = text.replace("'", "''"), text.replace('"', '""')
    assert rendered(model) == (
        f"select\n    *,\n    '{value}' as \"{name}\"\nfrom (\nselect 1 as id\n) as query"
    )


def test_the_profile_of_the_archive_contains_no_secret() -> None:
    profile = files.profile(LAKE, files.variables(files.secret_values(LAKE)), "asgard.duckdb", [])
    text = json.dumps(profile)
    assert "the-key" not in text
    assert "the-secret" not in text
    assert "{{ env_var('AWS_SECRET_ACCESS_KEY') }}" in text


def test_sources_are_named_by_their_schema() -> None:
    tables = [TableName("silver", "b"), TableName("silver", "a"), TableName("gold", "x")]
    document = yaml.safe_load(files.sources_file(tables, LAKE))
    assert {s["name"]: [t["name"] for t in s["tables"]] for s in document["sources"]} == {
        "silver": ["a", "b"],
        "gold": ["x"],
    }
    assert {s["database"] for s in document["sources"]} == {"iceberg"}
