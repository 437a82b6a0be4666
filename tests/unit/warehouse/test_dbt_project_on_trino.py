"""Macros of the exported project on Trino keep any name of a column whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sqlglot import exp, parse

from app.warehouse.trino.dbt_project import TrinoTarget

pytestmark = pytest.mark.thorough

NAMES = ["id", 'say "hi"', 'x" = 1, "id', "a, b", '"', "it's", 'b"), (select 1) --']
QUOTED = ['"' + name.replace('"', '""') + '"' for name in NAMES]
INLINE = """
{%- if execute -%}
{%- set columns = [] -%}
{%- for name in NAMES -%}
  {%- do columns.append(api.Column.create(name, "varchar")) -%}
{%- endfor -%}
{%- set macro = adapter.get_incremental_strategy_macro(context, "STRATEGY") -%}
{{ macro({
  "target_relation": api.Relation.create(database="lake", schema="gold", identifier="t"),
  "temp_relation": api.Relation.create(database="lake", schema="gold", identifier="t__tmp"),
  "unique_key": KEYS,
  "dest_columns": columns,
  "incremental_predicates": none,
}) }}
{%- endif -%}
"""


def compiled(folder: Path, strategy: str, keys: list[str]) -> str:
    """Return the SQL that dbt-trino generates for a strategy. Nothing is sent to Trino."""
    output = {
        "type": "trino",
        "method": "none",
        "host": "trino.example.com",
        "port": 8080,
        "user": "dbt",
        "database": "lake",
        "schema": "gold",
        "threads": 1,
    }
    project = {"name": "asgard", "version": "1.0.0", "profile": "asgard"}
    profile = {"asgard": {"target": "lake", "outputs": {"lake": output}}}
    (folder / "macros").mkdir()
    (folder / "macros/lake.sql").write_text(TrinoTarget.macros)
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (folder / "profiles.yml").write_text(yaml.safe_dump(profile))
    inline = INLINE.replace("NAMES", json.dumps(NAMES)).replace("KEYS", json.dumps(keys))
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("dbt"), "--no-send-anonymous-usage-stats", "compile"),
            *("--no-introspect", "--no-populate-cache", "--output", "json", "--quiet"),
            *("--inline", inline.replace("STRATEGY", strategy)),
        ],
        cwd=folder,
        env={"HOME": str(folder), "DBT_PROFILES_DIR": str(folder), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text: str = json.loads(done.stdout)["compiled"]
    return text


def names(nodes: list[exp.Expression]) -> list[str]:
    return [node.name for node in nodes]


def statements(sql: str) -> list[exp.Expression]:
    return [statement for statement in parse(sql, dialect="trino") if statement is not None]


@pytest.mark.parametrize("strategy", ["append", "delete+insert"])
def test_an_insert_names_each_column_and_nothing_else(tmp_path: Path, strategy: str) -> None:
    keys = [QUOTED[1]] if strategy == "delete+insert" else []
    *before, insert = statements(compiled(tmp_path, strategy, keys))
    assert isinstance(insert, exp.Insert)
    assert names(insert.this.expressions) == NAMES
    assert names(insert.find(exp.Select).expressions) == NAMES
    assert [type(statement) for statement in before] == [exp.Delete] * bool(keys)
    for delete in before:
        assert {column.name for column in delete.find_all(exp.Column)} == {NAMES[1]}


def test_a_merge_names_each_column_and_nothing_else(tmp_path: Path) -> None:
    [merge] = statements(compiled(tmp_path, "merge", [QUOTED[1], QUOTED[3]]))
    assert isinstance(merge, exp.Merge)
    on = [(eq.this.name, eq.expression.name) for eq in merge.args["on"].find_all(exp.EQ)]
    assert sorted(on) == sorted([(NAMES[1], NAMES[1]), (NAMES[3], NAMES[3])])
    update, insert = (when.args["then"] for when in merge.find_all(exp.When))
    assert [(eq.this.name, eq.expression.name) for eq in update.expressions] == [
        (name, name) for name in NAMES
    ]
    assert names(insert.this.expressions) == NAMES
    assert names(insert.expression.expressions) == NAMES
    assert {column.table for column in merge.find_all(exp.Column)} <= {
        *("DBT_INTERNAL_SOURCE", "DBT_INTERNAL_DEST", ""),
    }
