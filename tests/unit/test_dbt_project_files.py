"""The text of the generated dbt project."""

import json

import jinja2
import pytest
import yaml

from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.sql.model import TableName
from app.warehouse.dbt import project_files as files
from app.warehouse.engine import ExtraColumn, IncrementalStrategy, Materialization, ModelSpec

LAKE = Lake(
    S3Connection("http://127.0.0.1:1", "us-east-1", "the-key", "the-secret", "lake"),
    CatalogConnection("http://127.0.0.1:2", "warehouse", credential="the-key:the-secret"),
)


def spec(**more: object) -> ModelSpec:
    return ModelSpec.model_validate({"schema_name": "gold", "name": "m", "sql": "", **more})


def rendered(model: ModelSpec) -> str:
    """The SQL that dbt would read."""
    text = files.model_file(files.ModelText(model, "select 1 as id"))
    return jinja2.Environment(autoescape=False).from_string(text).render()  # noqa: S701 — as dbt


def config(model: ModelSpec) -> dict[str, object]:
    document = yaml.safe_load(
        files.properties_file([files.ModelText(model, "")], files.VIEWS_DATABASE)
    )
    (described,) = document["models"]
    found: dict[str, object] = described["config"]
    return found


def test_a_model_refers_to_the_models_it_reads() -> None:
    reads = {"a": [], "b": ["a", "elsewhere"], "c": ["b", "a"]}
    assert files.allowed_refs(reads, set()) == {"a": set(), "b": {"a"}, "c": {"a", "b"}}


def test_tables_that_read_one_another_keep_one_direction_of_the_circle() -> None:
    refs = files.allowed_refs({"a": ["b"], "b": ["a"], "c": ["c"]}, set())
    assert refs == {"a": {"b"}, "b": set(), "c": set()}


def test_a_circle_is_broken_at_a_table_and_never_at_a_view() -> None:
    refs = files.allowed_refs({"t": ["v"], "v": ["t"]}, {"v"})
    assert refs == {"t": {"v"}, "v": set()}


def test_the_project_carries_what_dbt_has_to_know_of_a_model() -> None:
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
        "unique_key": ["id"],
    }


def test_views_are_made_in_the_local_database_by_hand() -> None:
    assert config(spec(materialization=Materialization.VIEW))["database"] == "asgard"


@pytest.mark.parametrize("text", ["{{ 1 + 1 }}", "{% raw %}", "{# gone #}", "it's {{{"])
def test_the_value_of_an_added_column_is_never_a_template(text: str) -> None:
    model = spec(extra_columns=(ExtraColumn(name="owner", value=text),))
    literal = rendered(model).split("*,\n")[1].split(" as ")[0].strip()
    parts = [part.strip()[1:-1].replace("''", "'") for part in literal.split(" || ")]
    assert "".join(parts) == text


def test_the_profile_of_the_archive_holds_no_secret() -> None:
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
