"""A hostile template in a worker's dbt reaches only values and SQL."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from app.errors import AsgardError
from app.warehouse.dbt.invocation import Backend, Model, Workspace
from app.warehouse.duckdb.dbt_backend import BACKEND, use_connection

pytestmark = pytest.mark.thorough

HOSTILE = """
{% materialization table, adapter='duckdb' %}
  {% call statement('main', auto_begin=False) %}
    create or replace table {{ this }} as {{ compiled_code }}
  {% endcall %}
  {% if config.get('python') %}
    {% call statement('python', language='python') %}{{ config.get('python') }}{% endcall %}
  {% endif %}
  {{ render(config.get('attempt', '')) }}
  {{ return({'relations': []}) }}
{% endmaterialization %}
"""
PYTHON = "open('CANARY', 'w').write('x')"
FORMATTED = (
    "namespace(identifier='i', name='n', schema='s', database='d', resource_type='source', "
    "tags=[], config=namespace(extra={}), quoting_dict={}, quoting={}, catalog_name=none, "
    "meta={'external_location': '{o.model.unique_id}', 'o': ref})"
)
"""A source whose location is a format string over dbt's own objects."""
LOOK = [
    "{{ TELL(env_var('PATH')) }}",
    "{{ TELL(env_var('NOTHING', 'default')) }}",
    "{{ TELL(builtins.env_var('PATH')) }}",
    "{{ TELL(adapter.config.credentials) }}",
    "{{ TELL(adapter.config.project_root) }}",
    "{{ TELL(ref.manifest.nodes) }}",
    "{{ TELL(source.config.args) }}",
    "{{ TELL(ref.model.raw_code) }}",
    "{{ TELL(config.model.raw_code) }}",
    "{{ TELL(var.get_rendered_var) }}",
    "{{ TELL(ref['model']) }}",
    "{{ TELL(ref | attr('model')) }}",
    "{{ TELL([ref] | map(attribute='model') | list | join) }}",
    "{{ TELL('{0.model}'.format(ref)) }}",
    "{{ TELL(run_query.macro) }}",
    "{{ TELL(dbt.run_query.context) }}",
    "{{ TELL(run_query.__globals__) }}",
    "{{ TELL(''.__class__.__mro__) }}",
    "{{ TELL(cycler.__init__.__globals__) }}",
    "{{ TELL(modules.re.enum) }}",
    "{{ TELL(modules.datetime.sys) }}",
    "{{ TELL(exceptions.warn.__closure__) }}",
    "{{ TELL(load_agate_table()) }}",
    "{{ TELL(this['__class__']) }}",
    "{{ TELL(this['__dict__']) }}",
    "{{ TELL(this['path']['__class__']) }}",
    "{{ TELL(this['create_from_source']) }}",
    "{{ TELL(this.create_from_source) }}",
    "{{ TELL(api.Relation.create_from_source(namespace(quoting={}), FORMATTED).external) }}",
    "{{ TELL(api.Relation.create_from(namespace(quoting={}), FORMATTED).external) }}",
]
WRITE = [
    "{{ ref.model.write_node('/', 'CANARY', 'x') }}",
    "{{ config.model.write_node('/', 'CANARY', 'x') }}",
    "{{ ref.manifest.write('CANARY') }}",
    "{{ run_query('select 1 as a').to_csv('CANARY') }}",
    "{{ run_query('select 1 as a').to_json('CANARY') }}",
    "{{ run_query('select 1 as a').rows[0].table.to_csv('CANARY') }}",
    "{{ try_or_compiler_error('no', run_query('select 1 as a').to_csv, 'CANARY') }}",
    "{{ adapter.store_relation('excel', this, [], 'CANARY', 'xlsx', {}) }}",
    f"{{% do submit_python_job(model, {PYTHON!r}) %}}",
    f"{{% do model.update({{'language': 'python'}}) %}}"
    f"{{% do context.update({{'compiled_code': {PYTHON!r}, 'language': 'python'}}) %}}"
    "{{ dbt.materialization_table_duckdb() }}",
    f"{{% call statement('other', language='python') %}}{PYTHON}{{% endcall %}}",
    f"{{% do adapter.submit_python_job(model, {PYTHON!r}) %}}",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("hostile")
    macros = folder / "hostile.sql"
    macros.write_text(HOSTILE + BACKEND.macros.read_text().partition("{% endmaterialization %}")[2])
    workspace = Workspace(folder, Backend(macros, **_but_macros()))
    workspace.run(Model("warm_up", "select 1 as a", "view", "", [], {}), lambda _: None)
    with duckdb.connect() as connection:
        use_connection(connection)
        yield workspace


def _but_macros() -> dict[str, object]:
    return {name: getattr(BACKEND, name) for name in ("output", "database", "schema", "error")}


def attempt(workspace: Workspace, template: str) -> str:
    """Return the text of dbt's error."""
    model = Model("m", "select 1 as a", "table", "", [], {}, {"attempt": template})
    with pytest.raises(AsgardError) as caught:
        workspace.run(model, lambda _: None)
    return str(caught.value)


def test_a_template_of_asgard_is_rendered(workspace: Workspace) -> None:
    error = attempt(workspace, "{{ exceptions.raise_compiler_error('told: ' ~ this.identifier) }}")
    assert "told: m" in error


@pytest.mark.parametrize("template", LOOK)
def test_a_template_sees_no_environment_and_no_python(workspace: Workspace, template: str) -> None:
    tell = "exceptions.raise_compiler_error('told: <' ~ "
    template = template.replace("FORMATTED", FORMATTED)
    error = attempt(workspace, template.replace("TELL(", tell).replace(") }}", " ~ '>') }}"))
    assert "told: <>" in error or "told" not in error, error


@pytest.mark.parametrize("template", WRITE)
def test_a_template_writes_no_file_and_runs_no_python(
    workspace: Workspace, template: str, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    error = attempt(
        workspace,
        template.replace("CANARY", str(canary))
        + "{{ exceptions.raise_compiler_error('the end') }}",
    )
    assert not canary.exists()
    assert error


def test_a_materialization_runs_no_python(workspace: Workspace, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = PYTHON.replace("CANARY", str(canary))
    model = Model("m", "select 1 as a", "table", "", [], {}, {"python": code})
    with pytest.raises(AsgardError, match="submit_python_job is not available"):
        workspace.run(model, lambda _: None)
    assert not canary.exists()
