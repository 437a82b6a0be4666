"""The whole log of a gateway and its children, after a run that met a secret at every turn."""

import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from tests.harnesses.gateway import bearer, key_of, write_keys
from tests.http_server import Asked, serving
from tests.live_gateway import live_gateway

pytestmark = pytest.mark.timeout(300)

OWN_STATE = {"keys.json", "plain-key", "lakehouse.json"}
NO_LOGS = {"seaweedfs", "secrets", "dbt"}
"""The lake's own data, what keeps the secrets, and the project: clients' SQL and its profile."""


def chatterbox(asked: Asked) -> tuple[int, object]:
    """An Airbyte whose errors repeat all that it was sent."""
    if asked.method == "GET":
        found = {"data": [{"workspaceId": "w", "name": "main"}]}
        return 200, found if "workspaces" in asked.path else {"data": []}
    given = f"{asked.headers['Authorization']} {asked.body.decode()}"
    return 400, {"detail": given, "message": given, "title": given}


@dataclass
class Secrets:
    """Every one that is used, by where."""

    values: dict[str, str]

    def new(self, where: str) -> str:
        return self.values.setdefault(where, f"zz-{where.replace('_', '-')}-0815")


def secret_variables(secrets: Secrets) -> dict[str, str]:
    """Every setting that is a secret."""
    names = [
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in repr(field.annotation)
    ]
    assert {"airbyte_password", "trino_password", "aws_secret_access_key"} <= set(names)
    # Two ways in at once are refused.
    left_out = {"iceberg_rest_credential", "trino_jwt_token"}
    return {name.upper(): secrets.new(name) for name in names if name not in left_out}


def files_of(home: Path) -> dict[Path, str]:
    """All that was written, but what is no log."""
    return {
        path: path.read_text(errors="replace")
        for path in home.rglob("*")
        if path.is_file()
        and path.name not in OWN_STATE
        and not NO_LOGS & set(path.relative_to(home).parts)
    }


def test_no_secret_of_a_whole_run_is_in_any_log(tmp_path: Path) -> None:
    secrets, home = Secrets({}), tmp_path / "home"
    home.mkdir()
    plain, known = key_of("admin")
    secrets.values["key"] = plain
    write_keys(home / "keys.json", known)
    (home / "plain-key").write_text(secrets.new("plain-key-of-a-mounted-secret"))
    (home / "plain-key").chmod(0o600)
    with serving(chatterbox) as port:
        variables = {
            **secret_variables(secrets),
            "AIRBYTE_BASE_URL": f"http://me:{secrets.new('in_url')}@127.0.0.1:{port}/api/public/v1",
            "AIRBYTE_USERNAME": "me",
            "AIRBYTE_CLIENT_SECRET": "",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "ASGARD_EMBEDDED": "spark,sql,lake",
            "AUTH_MODE": "api_key",
            "AUTH_API_KEY_FILE": str(home / "plain-key"),
            "LOG_LEVEL": "DEBUG",
        }
        secrets.values.pop("airbyte_client_secret", None)
        with live_gateway(home, **variables) as gateway:
            run_logs = use(gateway.url, plain, secrets)
            shared = json.loads((home / "lakehouse.json").read_text())
            secrets.values["seaweedfs"] = shared["secret_key"]
    files = files_of(home)
    everything = {**files, Path("run logs"): run_logs}
    names = {path.name for path in files}
    assert {"live-gateway.log", "seaweedfs.log", "dbt-worker.log", "duckdb-worker.log"} <= names
    # What was to be logged was logged: the search looks in the right place.
    gateway_log = files[home / "live-gateway.log"]
    assert '"status": 401' in gateway_log
    assert "run_ended" in gateway_log
    assert "***" in files[home / "logs" / "dbt-worker.log"]
    assert "***" in run_logs
    assert len(secrets.values) >= 10
    found = {
        (where, str(path))
        for path, text in everything.items()
        for where, secret in secrets.values.items()
        if secret in text
    }
    assert found == set()


def use(url: str, key: str, secrets: Secrets) -> str:
    """Returns the logs of the runs."""
    with httpx.Client(base_url=f"{url}/api/v1", headers=bearer(key), timeout=120) as api:
        wrong = bearer(secrets.new("wrong_key"))
        assert api.get("/runs", headers=wrong).status_code == 401
        other = {"Authorization": "", "X-API-Key": secrets.new("other_key")}
        assert api.get("/runs", headers=other).status_code == 401
        mounted = bearer(secrets.values["plain-key-of-a-mounted-secret"])
        assert api.get("/runs", headers=mounted).status_code == 200
        assert api.get(f"/runs?password={secrets.new('query')}").status_code in {200, 422}
        for number, config in enumerate(sources(secrets)):
            refused = api.post("/airbyte/sources", json={"name": f"s{number}", **config})
            assert refused.status_code >= 400, refused.text
            assert not [value for value in secrets.values.values() if value in refused.text]
        runs = []
        for number, literal in enumerate((secrets.values["trino_password"], key)):
            product = {
                "name": f"Fails {number}",
                "description": "It quotes a secret in what cannot be computed",
                "data_product_type": "CUSTOM",
                "owner": "me",
                "consumers": ["me"],
                "update_frequency": "daily",
                "sql_query": f"SELECT cast(x AS integer) AS n FROM (VALUES ('{literal}')) AS t(x)",
            }
            made = api.post("/data-products", json=product)
            assert made.status_code == 201, made.text
            run = api.post(f"/data-products/{made.json()['id']}/run").json()["run"]
            assert run["state"] == "failed"
            assert "***" in run["failure"]["message"]
            told = api.get(f"/runs/{run['run_id']}").text
            assert run["failure"]["message"] in json.loads(told)["failure"]["message"]
            assert literal not in told
            runs.append(api.get(f"/runs/{run['run_id']}/logs").text)
        return "\n".join(runs)


def sources(secrets: Secrets) -> list[dict[str, object]]:
    postgres = {
        "host": "db.example.com",
        "port": 5432,
        "database": "shop",
        "username": "reader",
        "password": secrets.new("postgres"),
    }
    return [
        {"type": "postgres", "config": postgres},
        {"type": "shopify", "config": {"credentials": {"api_token": secrets.new("shopify")}}},
    ]
