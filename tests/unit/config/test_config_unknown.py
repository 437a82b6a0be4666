"""An unknown variable that begins with ASGARD_ is probably mistyped."""

import pytest

from app.config.unknown import UnknownVariable, unknown_among


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ASGARD_HOEM", "ASGARD_HOME"),
        ("asgard_home_dir", "ASGARD_HOME"),
        ("ASGARD_EMBEDED", "ASGARD_EMBEDDED"),
        ("ASGARD_LOG_LEVEL", "LOG_LEVEL"),
        ("ASGARD_S3_BUCKET", "S3_BUCKET"),
        ("ASGARD_TRINO_HOSTS", "TRINO_HOST"),
        ("ASGARD_XYZZY", None),
    ],
)
def test_the_most_similar_variable_is_named(name: str, nearest: str | None) -> None:
    found = unknown_among({name: "x", "PATH": "/bin", "TRINO_HSOT": "t"})
    assert found == [UnknownVariable(name.upper(), nearest)]


def test_known_variables_and_those_of_asgards_own_processes_are_not_reported() -> None:
    known = ("ASGARD_HOME", "asgard_home", "ASGARD_EMBEDDED", "ASGARD_PROTOCOL_FD")
    assert unknown_among(dict.fromkeys(known, "x")) == []


def test_variables_that_kubernetes_sets_for_services_are_not_reported() -> None:
    of_service = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP_ADDR")
    environment = {f"ASGARD_SERVICE_{name}": "x" for name in of_service}
    assert unknown_among(environment) == []
    assert unknown_among({"ASGARD_SERVICE_PORT": "x"}) != []
