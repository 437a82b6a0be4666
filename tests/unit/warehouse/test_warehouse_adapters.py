"""Every SQL engine is one entry of a registry, which the settings select by technology."""

import pytest

from app.config import Settings
from app.config.settings import TECHNOLOGIES
from app.sql.dialects import DIALECTS
from app.warehouse.adapter import SqlAdapter
from app.warehouse.adapters import ADAPTERS, sql_adapter


def settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def test_each_technology_has_one_adapter_and_one_more_is_embedded() -> None:
    technologies = {technology.name for technology in TECHNOLOGIES if technology.part == "sql"}
    selected = [adapter.name for adapter in ADAPTERS if not adapter.is_embedded]
    assert sorted(selected) == sorted(technologies)
    assert [adapter.name for adapter in ADAPTERS if adapter.is_embedded] == ["duckdb"]


def test_the_settings_select_the_adapter() -> None:
    assert sql_adapter(settings()).name == "duckdb"
    assert sql_adapter(settings(trino_host="trino.example.com")).name == "trino"


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_an_adapter_names_a_known_dialect(adapter: SqlAdapter) -> None:
    target = adapter.project_target(settings(trino_host="trino.example.com"), None)  # type: ignore[arg-type]
    assert target.dialect in DIALECTS
