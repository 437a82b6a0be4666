"""Every kind of value: an invalid one is reported by name, with what is expected."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from app.config import Settings, examine_settings
from app.config.reference import SET_BY_KUBERNETES, variables
from app.config.values import Seconds

SECRET = "s3cr3t-value-nobody-may-see"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave only the test's own variables and .env."""
    monkeypatch.chdir(tmp_path)
    for name in {variable.name for variable in variables()} & {name.upper() for name in os.environ}:
        monkeypatch.delenv(name)


def message_of(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    _, faults = examine_settings()
    [fault] = [fault for fault in faults if fault.variables == (name,)]
    return f"{fault.message} {fault.advice}"


def test_every_example_and_every_default_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    settable = [variable for variable in variables() if variable.name not in SET_BY_KUBERNETES]
    assert [variable.name for variable in settable if not variable.example] == []
    for variable in settable:
        monkeypatch.setenv(variable.name, variable.example)
    _, faults = examine_settings()
    assert [fault.message for fault in faults if "is invalid" in fault.message] == []
    for variable in settable:
        monkeypatch.setenv(variable.name, variable.default or "")
    assert examine_settings()[1] == []


@pytest.mark.parametrize("name", ["TRINO_PORT", "PORT"])
@pytest.mark.parametrize("value", ["0", "65536", "-1", "80a", "8080.5", "1e4", "٣"])
def test_an_invalid_port_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    message = message_of(monkeypatch, name, value)
    assert message.startswith(f"{name}={value} is invalid.")
    assert "Expected a whole number from 1 to 65535, for example 80" in message


def test_a_port_that_kubernetes_sets_for_a_service_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = message_of(monkeypatch, "TRINO_PORT", "tcp://10.0.0.7:8080")
    assert "Kubernetes sets this value for a Service" in message
    assert "enableServiceLinks: false" in message


@pytest.mark.parametrize(
    "name", ["WAIT_SECONDS", "REQUEST_TIMEOUT", "AIRBYTE_TIMEOUT", "RUN_TIMEOUT"]
)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "soon", "1,5", "0x10"])
def test_an_invalid_duration_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    message = message_of(monkeypatch, name, value)
    assert f"{name}={value} is invalid. Expected a number of seconds" in message


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_duration_without_bounds_is_a_finite_number(value: str) -> None:
    with pytest.raises(ValidationError, match="finite"):
        TypeAdapter(Seconds).validate_python(value)


@pytest.mark.parametrize(
    ("value", "written"), [("90s", "90"), ("10m", "600"), ("1.5h", "5400"), ("250 ms", "0.25")]
)
def test_a_duration_with_a_unit_is_answered_with_the_number(
    monkeypatch: pytest.MonkeyPatch, value: str, written: str
) -> None:
    message = message_of(monkeypatch, "RUN_TIMEOUT", value)
    assert f"Give it in seconds, without the unit: {written}." in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4MB", "without the unit: 4000000."),
        ("4MiB", "without the unit: 4194304."),
        ("64k", "without the unit: 65536."),
        ("-1", "a whole number of bytes from 1024 to 1073741824, for example 4194304"),
        ("99999999999999999999", "a whole number of bytes from 1024 to 1073741824"),
        ("4_0 00", "a whole number of bytes"),
        ("9" * 5000, "a whole number of bytes"),
    ],
)
def test_an_invalid_size_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    message = message_of(monkeypatch, "MAX_BODY_BYTES", value)
    assert expected in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "name",
    ["AIRBYTE_BASE_URL", "NESSIE_URI", "ICEBERG_REST_URI", "S3_ENDPOINT", "OIDC_ISSUER"],
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("airbyte:8001/api", "does not begin with http:// or https://"),
        ("ftp://a.example.com", "does not begin with http:// or https://"),
        ("http://", "does not begin with http:// or https://"),
        ("http:///path", "does not begin with http:// or https://"),
        ("file:///etc/passwd", "does not begin with http:// or https://"),
        ("http://a.example.com:port", "Its port is not valid"),
        ("http://a.example.com:99999", "Its port is not valid"),
        ("http://a.example.com:0", "Its port is not valid"),
        ("http://a b.example.com", "spaces or control characters"),
        ("http://a.example.com\nX-Evil: 1", "spaces or control characters"),
        ("http://[::1", "Expected an http:// or https:// URL"),
        ("http://-a-.example.com", "Its host is not valid"),
        ("http://a.example.com/v1?token=1", "It has a query or a fragment"),
        (f"http://me:{SECRET}@a.example.com:x", "//…@a.example.com:x"),
        (f"http://me:{SECRET}/@a.example.com", "//…@a.example.com"),
        (f"http:/me:{SECRET}@a.example.com", "=http:/…@a.example.com"),
        (f"htp:me:{SECRET}@a.example.com", "=…@a.example.com"),
        (f"me:{SECRET}@a.example.com", "=…@a.example.com"),
    ],
)
def test_an_invalid_url_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    message = message_of(monkeypatch, name, value)
    assert message.startswith(f"{name}=")
    assert expected in message
    assert "Expected an http:// or https:// URL" in message
    assert "for example http" in message
    assert SECRET not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("S3_ENDPOINT", "https://s3.example.com/bucket", "It has a path"),
        ("S3_ENDPOINT", "https://me:you@s3.example.com", "=https://…@s3.example.com is invalid"),
        ("NESSIE_URI", "http://me@nessie.example.com/api/v1", "have their own variables"),
        ("TRINO_HOST", "http://trino.example.com", "It is a URL. The port has its own variable"),
        ("TRINO_HOST", "trino.example.com:8080", "It contains a port, which has its own variable"),
        ("TRINO_HOST", "trino/example", "for example trino.data-platform.svc.cluster.local"),
        ("S3_BUCKET", "s3://lake", "a bucket name only"),
        ("S3_BUCKET", "lake/bronze", "a bucket name only"),
        ("S3_BUCKET", "My_Bucket", "lower-case letters"),
        ("SPARK_NAMESPACE", "Spark Operator", "a Kubernetes namespace"),
        ("S3_SECRET_NAME", "../secret", "a Kubernetes name"),
        ("SPARK_IMAGE", "registry.example.com/spark custom", "a container image"),
        ("SILVER_SCHEMA", 'silver"; DROP', "a schema name"),
        ("GOLD_SCHEMA", "Gold", "lower-case letters"),
        ("TRINO_CATALOG", "ice.berg", "a catalog name"),
        ("TRINO_USER", "d b t", "text without spaces"),
        ("API_VERSION", "../v1", "one segment of a path"),
        ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("ENVIRONMENT", "staging", "one of development, production"),
        ("AUTH_MODE", "basic", "one of none, api_key, oidc"),
        ("SPARK_PROMETHEUS", "maybe", "true or false"),
        ("SPARK_TTL_SECONDS", "1d", "without the unit: 86400."),
        ("SPARK_TTL_SECONDS", "59", "a whole number of seconds from 60 to 2592000"),
        ("SPARK_RETRIES", "11", "a whole number from 0 to 10"),
        ("DBT_WORKERS", "two", "a whole number from 1 to 16"),
        ("SPARK_VERSION", "latest", "a Spark 3.5 version, at least 3.5.9"),
        ("SPARK_VERSION", "3.5.8", "a Spark 3.5 version, at least 3.5.9"),
        ("SPARK_VERSION", "4.0.1", "a Spark 3.5 version, at least 3.5.9"),
        ("TRUSTED_HOSTS", "http://a.example.com", "each a host name"),
        ("TRUSTED_PROXIES", "proxy.example.com", "each an IP address or network"),
        ("CORS_ORIGINS", "*", "for example https://app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/", "It has a path"),
        ("OIDC_ALGORITHMS", "RS256,HS256", "OIDC_ALGORITHMS=HS256 is invalid"),
        ("OIDC_ALGORITHMS", "none", "OIDC_ALGORITHMS=none is invalid"),
        ("OIDC_ALGORITHMS", ",", "each one of RS256"),
        ("OIDC_ROLE_SCOPES", "{", "It is not valid JSON"),
        ("OIDC_ROLE_SCOPES", "[1]", "a JSON object of role names"),
        ("OIDC_ROLE_SCOPES", '{"a": ["dbt:all"]}', "It contains unknown scopes: dbt:all"),
        ("ASGARD_EMBEDDED", "spork", "each one of ingestion, spark, sql, lake"),
        ("CONNECTORS_ALLOWED", "airbyte-source-x", "for example airbyte-source-github==1.8.0"),
        ("INGESTION_ALLOWED_DIRS", "data", "each an absolute directory"),
        *(
            ("S3_ALLOWED_PREFIXES", value, "without bucket, leading slash, .. or wildcard")
            for value in (
                "landing/../asgard/",
                "s3://lake/landing/",
                "landing/..",
                "a*",
                "a?/",
                "/a",
            )
        ),
        ("NESSIE_REF", "main branch", "a branch or tag name"),
    ],
)
def test_other_invalid_values_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    message = message_of(monkeypatch, name, value)
    assert expected in message
    assert "Expected" in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_SECRET_ACCESS_KEY", f"{SECRET}\n", "perhaps the line break that `echo` adds"),
        ("TRINO_JWT_TOKEN", f"{SECRET}\x07{SECRET}", "It contains control characters"),
        ("ICEBERG_REST_CREDENTIAL", SECRET, "Expected CLIENT_ID:CLIENT_SECRET."),
    ],
)
def test_an_invalid_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    message = message_of(monkeypatch, name, value)
    assert message.startswith(f"{name} is invalid.")
    assert expected in message
    assert SECRET not in message


def test_a_file_of_variables_is_read_like_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("DBT_WORKERS=many\n")
    assert [fault.variables for fault in examine_settings()[1]] == [("DBT_WORKERS",)]
    monkeypatch.setenv("DBT_WORKERS", "3")
    assert examine_settings()[0].dbt_workers == 3


def test_hosts_are_read_as_kubernetes_and_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = ("fd00::12", "::1", "[fd00::12]", "10.1.2.3", "*.example.com", "*")
    monkeypatch.setenv("TRUSTED_HOSTS", ",".join(hosts))
    assert Settings(_env_file=None).trusted_hosts == hosts  # type: ignore[call-arg]


def test_values_that_cannot_be_read_hide_no_other_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("TRINO_PORT", "0")
    monkeypatch.setenv("S3_BUCKET", "s3://lake")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only-half-of-it")
    names = [fault.variables[0] for fault in examine_settings()[1]]
    assert names == [
        *("TRINO_PORT", "S3_BUCKET", "AIRBYTE_BASE_URL", "SPARK_IMAGE", "TRINO_HOST"),
        *("NESSIE_URI", "AWS_ACCESS_KEY_ID", "AUTH_MODE"),
    ]
