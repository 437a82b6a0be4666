"""Renders the generated dbt project: pure functions from models to files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from app.lakehouse.connection import Lake
from app.sql.jinja import printed
from app.sql.model import TableName
from app.sql.quoting import quoted
from app.warehouse.engine import IncrementalStrategy, ModelSpec

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's, where PyYAML has it: Python's own takes 0.3 s for a description of 10 kB."""
PROJECT = "asgard"
VIEWS_DATABASE = "asgard"
"""DuckDB cannot create Iceberg views. By hand, they are created in the profile's own database file,
which is named after the project."""
STRATEGIES = {IncrementalStrategy.DELETE_INSERT: "delete+insert"}

README = """\
# The dbt project that Asgard keeps

Written by Asgard from its transformations and data products: changes made here are overwritten.

    dbt build --profiles-dir . --project-dir .

builds every model as Asgard does, on DuckDB (`pip install dbt-core dbt-duckdb pytz`), into the
Iceberg catalog that `profiles.yml` names. A table that is built by hand is missing for a moment;
Asgard itself replaces tables in one commit. Views that are built by hand are created in
`asgard.duckdb`; Asgard creates them in the catalog.
"""
README_TRINO = """\
# The dbt project that Asgard keeps

Written by Asgard from its transformations and data products: changes made here are overwritten.

    dbt build --profiles-dir . --project-dir .

builds every model on the Trino that `profiles.yml` names (`pip install dbt-core dbt-trino`). A
table is replaced by one statement, as in Asgard. By hand, `delete_insert` takes two statements,
between which rows are missing; Asgard uses a single MERGE.
"""
VARIABLES = """
`profiles.yml` reads these environment variables: {names}.
"""

LEFT_OUT = """
## Models that are left out

These models cannot be written for dbt on this engine. Tables that they built are sources here.

{models}
"""


class Template(str):
    """A string that dbt renders. It reads no template in any other string of the project."""

    __slots__ = ()


@dataclass(frozen=True)
class ModelText:
    """A model and the template of its SQL, in the dialect of the project's engine."""

    spec: ModelSpec
    sql: str


def allowed_refs(reads: Mapping[str, Sequence[str]], views: set[str]) -> dict[str, set[str]]:
    """Return which models each model may `ref()`, so that dbt finds an order to build them in.

    Tables may read one another in a circle, each in the other's current state. One edge of such a
    circle must be a `source()`, but never one to a view: views exist only as models.
    """
    refs: dict[str, set[str]] = {name: set() for name in reads}
    edges = [(a, b) for a in sorted(reads) for b in sorted(set(reads[a])) if b in reads and a != b]
    reachable = _Reachable(sorted({name for edge in edges for name in edge}))
    for reader, read in sorted(edges, key=lambda edge: edge[1] not in views):
        if read in views or not reachable.leads(read, reader):
            refs[reader].add(read)
            reachable.connect(reader, read)
    return refs


class _Reachable:
    """Knows which models lead to which, as edges are added. Each pair is noted once, so the time
    does not depend on the number of paths. A set of models is an integer, with a bit for each."""

    def __init__(self, names: Iterable[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._below = [1 << number for number in self._numbers.values()]
        self._above = list(self._below)

    def leads(self, start: str, goal: str) -> bool:
        return bool(self._below[self._numbers[start]] >> self._numbers[goal] & 1)

    def connect(self, start: str, end: str) -> None:
        if self.leads(start, end):
            return
        first, last = self._numbers[start], self._numbers[end]
        above, below = self._above[first], self._below[last]
        starts, ends = above & ~self._above[last], below & ~self._below[first]
        for number in _bits(starts):
            self._below[number] |= below
        for number in _bits(ends):
            self._above[number] |= above


def _bits(numbers: int) -> Iterator[int]:
    while numbers:
        lowest = numbers & -numbers
        yield lowest.bit_length() - 1
        numbers ^= lowest


def model_files(model: ModelText, views_database: str | None) -> dict[str, str]:
    """Return the model's files by their names in the project."""
    name = f"models/gold/{model.spec.name}"
    return {
        f"{name}.sql": model_file(model),
        f"{name}.yml": properties_file(model, views_database),
    }


def model_file(model: ModelText) -> str:
    return f"{with_extra_columns(model)}\n"


def with_extra_columns(model: ModelText) -> str:
    if not model.spec.extra_columns:
        return model.sql
    added = ",\n    ".join(
        f"{extra.expression} as {quoted(extra.name)}" for extra in model.spec.extra_columns
    )
    return f"select\n    *,\n    {printed(added)}\nfrom (\n{model.sql}\n) as query"


def properties_file(model: ModelText, views_database: str | None) -> str:
    described = {
        "name": model.spec.name,
        "description": model.spec.description,
        "config": _config(model.spec, views_database),
    }
    return _yaml({"version": 2, "models": [described]})


def _config(spec: ModelSpec, views_database: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "materialized": spec.materialization.value,
        "tags": list(spec.tags),
        "meta": {"owner": spec.owner},
    }
    if spec.materialization.is_view and views_database:
        config["database"] = views_database
    if spec.strategy:
        config["incremental_strategy"] = STRATEGIES.get(spec.strategy, spec.strategy.value)
        # dbt puts a key into SQL unchanged.
        config["unique_key"] = [quoted(key) for key in spec.unique_key]
    return config


def left_out_text(reasons: Mapping[str, Exception]) -> str:
    """Return the part of the README that names the models that are left out, and why."""
    lines = [f"- `{name}`: {' '.join(str(reasons[name]).split())}" for name in sorted(reasons)]
    return LEFT_OUT.format(models="\n".join(lines)) if lines else ""


def sources_file(tables: Iterable[TableName], lake: Lake) -> str:
    schemas: dict[str, list[str]] = {}
    for table in sorted(set(tables), key=lambda t: t.qualified):
        schemas.setdefault(table.schema, []).append(table.name)
    sources = [
        {
            "name": schema,
            "database": lake.catalog_name,
            "schema": schema,
            "quoting": {"database": True, "schema": True, "identifier": True},
            "tables": [_source(name) for name in names],
        }
        for schema, names in schemas.items()
    ]
    return _yaml({"version": 2, "sources": sources})


def _source(name: str) -> dict[str, str]:
    # dbt puts quotes around an identifier and does not escape quotes in it.
    return {"name": name} | ({"identifier": quoted(name)[1:-1]} if '"' in name else {})


def project_file(lake: Lake, settings: Mapping[str, Any]) -> str:
    return _yaml(
        {
            "name": PROJECT,
            "version": "1.0.0",
            "profile": PROJECT,
            "model-paths": ["models"],
            "macro-paths": ["macros"],
            "models": {
                PROJECT: {"+database": lake.catalog_name, "+schema": lake.gold_schema, **settings},
            },
            # dbt's static parser does not unescape the strings in `source()`.
            "flags": {"send_anonymous_usage_stats": False, "static_parser": False},
        }
    )


def profile(
    lake: Lake, values: Mapping[str, str], database: str, extensions: list[str], more: Any = None
) -> dict[str, Any]:
    """Return the profile. `values` has the names of `secret_values`, and secrets or references."""
    return {
        "target": "lake",
        "outputs": {
            "lake": {
                "type": "duckdb",
                "path": database,
                "schema": lake.gold_schema,
                "threads": 1,
                "extensions": extensions,
                "settings": {"TimeZone": "UTC"},
                "secrets": [
                    {
                        "type": "s3",
                        "name": "lake_s3",
                        "key_id": values["AWS_ACCESS_KEY_ID"],
                        "secret": values["AWS_SECRET_ACCESS_KEY"],
                        "region": values["AWS_REGION"],
                        **_endpoint(lake, values),
                    },
                    {
                        "type": "iceberg",
                        "name": "lake_catalog",
                        "client_id": values["ICEBERG_CLIENT_ID"],
                        "client_secret": values["ICEBERG_CLIENT_SECRET"],
                        "oauth2_server_uri": values["ICEBERG_OAUTH2_URI"],
                    },
                ],
                "attach": [
                    {
                        "path": lake.catalog.warehouse,
                        "alias": lake.catalog_name,
                        "type": "iceberg",
                        "options": {
                            "endpoint": values["ICEBERG_REST_URI"],
                            "secret": "lake_catalog",
                            # dbt-duckdb drops the lower-case option when it is false.
                            "READ_ONLY": "false",
                        },
                    }
                ],
                **(more or {}),
            }
        },
    }


def secret_values(lake: Lake) -> dict[str, str]:
    client, _, secret = (lake.catalog.credential or "").partition(":")
    uri = lake.catalog.uri.rstrip("/")
    values = {
        "AWS_ACCESS_KEY_ID": lake.s3.access_key or "",
        "AWS_SECRET_ACCESS_KEY": lake.s3.secret_key or "",
        "AWS_REGION": lake.s3.region,
        "ICEBERG_CLIENT_ID": client,
        "ICEBERG_CLIENT_SECRET": secret,
        "ICEBERG_REST_URI": uri,
        "ICEBERG_OAUTH2_URI": lake.catalog.token_url,
    }
    if lake.s3.endpoint:
        values["S3_ENDPOINT"] = urlsplit(lake.s3.endpoint).netloc
    return values


def variables(names: Iterable[str]) -> dict[str, str]:
    """Return a reference to an environment variable in place of each value."""
    return {name: Template(f"{{{{ env_var('{name}') }}}}") for name in names}


def _endpoint(lake: Lake, values: Mapping[str, str]) -> dict[str, str]:
    if not lake.s3.endpoint:
        return {}
    tls = urlsplit(lake.s3.endpoint).scheme == "https"
    return {
        "endpoint": values["S3_ENDPOINT"],
        "url_style": "path",
        "use_ssl": "true" if tls else "false",
    }


def rendered(value: Any) -> Any:
    """Return the document that dbt renders to this one. dbt reads YAML strings as templates."""
    if isinstance(value, str):
        return str(value) if isinstance(value, Template) else printed(value)
    if isinstance(value, Mapping):
        return {key: rendered(item) for key, item in value.items()}
    return [rendered(item) for item in value] if isinstance(value, list) else value


def _yaml(value: Any) -> str:
    text: str = yaml.dump(rendered(value), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
    return text
