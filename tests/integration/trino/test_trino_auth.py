"""Asgard works with a Trino that requires a token and TLS with its own certificate."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from trino.auth import JWTAuthentication

from app.config import Settings
from app.errors import EngineFailed, EngineUnreachable
from app.warehouse.trino.adapter import trino_connection
from app.warehouse.trino.client import TrinoClient
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import unique, warehouse_harness
from tests.integration.servers.nessie import Nessie
from tests.integration.servers.seaweedfs import SeaweedFs
from tests.integration.servers.trino import start_trino
from tests.ports import free_port

USER = "dbt"
SCRIPT = Path(__file__).parents[3] / "script" / "create-schemas.sh"


@pytest.fixture(scope="module")
def locked(
    servers_folder: Path, seaweedfs: SeaweedFs, nessie: Nessie, production: Settings
) -> Iterator[Settings]:
    """Return the settings of a user who has access."""
    folder = servers_folder / "trino-locked"
    folder.mkdir()
    key, port = secrets.token_bytes(32), free_port()
    (folder / "jwt.key").write_text(base64.b64encode(key).decode())
    certificate = _certificate(folder)
    token = _token(key, USER)
    server = start_trino(
        folder,
        seaweedfs.s3,
        nessie.rest_uri(),
        config={
            "http-server.https.enabled": "true",
            "http-server.https.port": str(port),
            "http-server.https.keystore.path": str(folder / "both.pem"),
            "http-server.authentication.type": "JWT",
            "http-server.authentication.jwt.key-file": str(folder / "jwt.key"),
            "internal-communication.shared-secret": secrets.token_hex(32),
        },
        login={
            "port": port,
            "user": USER,
            "http_scheme": "https",
            "http_session": _trusting(certificate),
            "auth": JWTAuthentication(token),
        },
    )
    yield production.model_copy(
        update={
            "trino_port": port,
            "trino_host": "localhost",
            "trino_jwt_token": SecretStr(token),
            "trino_verify": str(certificate),
        }
    )
    server.stop()


async def test_models_are_built_with_a_token_over_tls(
    lakehouse: Lakehouse, locked: Settings, tmp_path: Path
) -> None:
    there = replace(lakehouse, settings=locked, home=tmp_path)
    async with warehouse_harness(there, tmp_path) as harness:
        name = unique("locked")
        await harness.built(name, "SELECT 1 AS a")
        assert await harness.rows(name) == [{"a": 1}]
        token = locked.trino_jwt_token
        assert token is not None
        assert not _files_with(token.get_secret_value(), tmp_path)


def test_the_script_creates_the_schemas_with_a_token_over_tls(locked: Settings) -> None:
    token = locked.trino_jwt_token
    assert token is not None
    settings = {
        "TRINO_HOST": "localhost",
        "TRINO_PORT": str(locked.trino_port),
        "TRINO_JWT_TOKEN": token.get_secret_value(),
        "TRINO_VERIFY": locked.trino_verify,
        "SILVER_SCHEMA": "locked_silver",
        "GOLD_SCHEMA": "locked_gold",
        "S3_BUCKET": str(locked.s3_bucket),
    }

    done = subprocess.run([SCRIPT], env={**os.environ, **settings}, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    statement = "SHOW SCHEMAS FROM iceberg LIKE 'locked%'"
    schemas = TrinoClient(trino_connection(locked)).ask(statement, 30)
    assert sorted(row[0] for row in schemas.rows) == ["locked_gold", "locked_silver"]


def test_a_wrong_token_is_refused_and_not_shown(locked: Settings) -> None:
    token = _token(b"another key of the same length.", USER)
    wrong = locked.model_copy(update={"trino_jwt_token": SecretStr(token)})
    with pytest.raises(EngineFailed) as refused:
        TrinoClient(trino_connection(wrong)).ask("SELECT 1", 10)
    assert refused.value.cause == "permission_denied"
    assert "TRINO_JWT_TOKEN" in str(refused.value.hint)
    assert token not in refused.value.detail


def test_a_missing_token_is_refused(locked: Settings) -> None:
    without_token = locked.model_copy(
        update={"trino_jwt_token": None, "trino_http_scheme": "https"}
    )
    with pytest.raises(EngineFailed) as refused:
        TrinoClient(trino_connection(without_token)).ask("SELECT 1", 10)
    assert refused.value.cause == "permission_denied"


def test_an_untrusted_certificate_is_refused(locked: Settings) -> None:
    strict = locked.model_copy(update={"trino_verify": "true"})
    with pytest.raises(EngineUnreachable, match="TRINO_VERIFY"):
        TrinoClient(trino_connection(strict)).ask("SELECT 1", 10)


def test_plain_http_to_a_tls_port_is_reported(locked: Settings) -> None:
    plain = locked.model_copy(update={"trino_jwt_token": None, "trino_http_scheme": "http"})
    with pytest.raises((EngineFailed, EngineUnreachable)) as refused:
        TrinoClient(trino_connection(plain)).ask("SELECT 1", 10)
    assert "Trino" in refused.value.detail


def _files_with(secret: str, folder: Path) -> list[Path]:
    """Return the files of the workers that contain the secret: projects, logs, artifacts."""
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    return [path for path in written if secret.encode() in path.read_bytes()]


def _trusting(certificate: Path) -> requests.Session:
    session = requests.Session()
    session.verify, session.trust_env = str(certificate), False
    return session


def _certificate(folder: Path) -> Path:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    both = (folder / "key.pem").read_text() + (folder / "cert.pem").read_text()
    (folder / "both.pem").write_text(both)
    ssl.create_default_context(cafile=str(folder / "cert.pem"))
    return folder / "cert.pem"


def _token(key: bytes, user: str) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    text = f"{part({'alg': 'HS256'})}.{part({'sub': user, 'exp': int(time.time()) + 3600})}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
