"""script/create-schemas.sh against a stand-in on a real port. The integration stage uses the real
Trino."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harnesses.scripts import Bin, run
from tests.trino_standin import Trino

pytestmark = pytest.mark.thorough

SCRIPT = "create-schemas.sh"
NAMES = ("silver", "gold")
PASSWORD, TOKEN = 'pass"word\\', "token.of.letters"


@pytest.fixture
def trino() -> Iterator[Trino]:
    server = Trino()
    yield server
    server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file with a certificate, for a Service's name and localhost, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = "subjectAltName=DNS:localhost,DNS:trino.data-platform.svc.cluster.local"
    command += ["-subj", "/CN=localhost", "-addext", names]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[Trino]:
    server = Trino(certificate)
    yield server
    server.close()


def here(trino: Trino, host: str = "localhost") -> dict[str, str]:
    return {"TRINO_HOST": host, "TRINO_PORT": str(trino.port)}


async def test_both_schemas_are_created_with_the_configured_names(trino: Trino) -> None:
    names = {"TRINO_CATALOG": "lake", "SILVER_SCHEMA": "s1", "GOLD_SCHEMA": "g-1"}

    result = await run(SCRIPT, **here(trino), **names, S3_BUCKET="bucket", TRINO_USER="me")

    assert result == (0, "lake.s1 exists\nlake.g-1 exists\n", "")
    assert trino.made == [
        f'CREATE SCHEMA IF NOT EXISTS "lake"."{name}" WITH (location = \'s3://bucket/{name}/\')'
        for name in ("s1", "g-1")
    ]
    assert trino.users == {"me"}


async def test_a_gateway_error_in_between_is_retried(trino: Trino) -> None:
    trino.failing = [502, 503, 504]
    assert (await run(SCRIPT, **here(trino))).code == 0
    assert trino.made == [f'CREATE SCHEMA IF NOT EXISTS "iceberg"."{name}"' for name in NAMES]


async def test_an_error_of_trino_is_shown_completely(trino: Trino) -> None:
    trino.refusal = 'Access Denied: Cannot create schema "iceberg"."silver"'
    code, out, err = await run(SCRIPT, **here(trino))
    assert (code, out) == (1, "")
    assert err == f'CREATE SCHEMA IF NOT EXISTS "iceberg"."silver": {trino.refusal}\n'


async def test_a_persistent_error_is_a_failure(trino: Trino) -> None:
    trino.failing = [404]
    code, _, err = await run(SCRIPT, **here(trino))
    assert code == 1
    assert f"http://localhost:{trino.port} responded with 404" in err


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("TRINO_PASSWORD", "Basic " + base64.b64encode(f"dbt:{PASSWORD}".encode()).decode()),
        ("TRINO_JWT_TOKEN", f"Bearer {TOKEN}"),
    ],
)
async def test_a_secret_goes_over_tls_and_never_by_argv(
    secure: Trino, certificate: Path, tmp_path: Path, secret: str, expected: str
) -> None:
    secure.authorization = expected
    watched = Bin(tmp_path / "bin")
    watched.watch("curl")
    given = {secret: PASSWORD if secret == "TRINO_PASSWORD" else TOKEN}

    result = await run(SCRIPT, bin_=watched, **here(secure), **given, TRINO_VERIFY=str(certificate))

    assert result.code == 0, result
    assert len(secure.made) == 2
    seen = "".join(watched.called) + result.out + result.err
    assert "v1/statement" in seen
    assert PASSWORD not in seen
    assert TOKEN not in seen


async def test_a_wrong_secret_is_reported_without_its_value(secure: Trino) -> None:
    secure.authorization = "Bearer another"
    code, out, err = await run(SCRIPT, **here(secure), TRINO_JWT_TOKEN=TOKEN, TRINO_VERIFY="False")
    assert (code, out) == (1, "")
    assert "Trino refuses dbt (401). Check TRINO_USER and" in err
    assert TOKEN not in err


async def test_an_untrusted_certificate_is_refused(secure: Trino) -> None:
    code, _, err = await run(SCRIPT, **here(secure), TRINO_HTTP_SCHEME="https")
    assert code == 1
    assert "Check TRINO_HTTP_SCHEME and TRINO_VERIFY." in err
    assert secure.users == set()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"TRINO_PASSWORD": "a", "TRINO_JWT_TOKEN": "b"}, "alternative credentials"),
        ({"TRINO_PASSWORD": "a", "TRINO_HTTP_SCHEME": "http"}, "unencrypted"),
        ({"TRINO_HTTP_SCHEME": "ftp"}, "http or https"),
        ({"TRINO_VERIFY": "/none"}, "TRINO_VERIFY=/none is neither"),
        ({"SILVER_SCHEMA": 'x"; DROP SCHEMA y'}, "is not a valid catalog or schema name"),
        ({"S3_BUCKET": "a'b"}, "is not a valid bucket name"),
    ],
)
async def test_invalid_settings_are_refused_before_any_call(
    settings: dict[str, str], told: str
) -> None:
    code, out, err = await run(SCRIPT, **settings)
    assert (code, out) == (2, "")
    assert told in err


async def test_a_service_that_does_not_resolve_is_reached_through_kubectl(
    secure: Trino, certificate: Path, tmp_path: Path
) -> None:
    """The Service's own name is used, so its certificate is verified."""
    standin = Bin(tmp_path / "bin")
    standin.add(
        "kubectl",
        f'echo "Forwarding from 127.0.0.1:{secure.port} -> 8443"\n'
        f"echo $$ >{tmp_path / 'pid'}; exec sleep 600",
    )

    result = await run(
        SCRIPT,
        bin_=standin,
        TRINO_HOST="trino.data-platform.svc.cluster.local",
        TRINO_PORT="8443",
        TRINO_HTTP_SCHEME="https",
        TRINO_VERIFY=str(certificate),
    )

    assert result.code == 0, result
    assert standin.called == ["kubectl port-forward -n data-platform svc/trino :8443"]
    assert len(secure.made) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_failed_port_forward_is_reported(tmp_path: Path) -> None:
    standin = Bin(tmp_path / "bin")
    standin.add("kubectl", 'echo "error: no such service" >&2; exit 1')
    code, out, err = await run(SCRIPT, bin_=standin)
    assert (code, out) == (1, "")
    assert "error: no such service" in err
    assert "Configure kubectl for the cluster of Trino" in err


async def test_an_external_name_that_does_not_resolve_is_reported() -> None:
    code, _, err = await run(SCRIPT, TRINO_HOST="trino.invalid")
    assert code == 1
    assert err == "trino.invalid does not resolve. Check TRINO_HOST.\n"


async def test_an_unreachable_trino_is_reported(unused_tcp_port: int) -> None:
    code, _, err = await run(SCRIPT, TRINO_HOST="127.0.0.1", TRINO_PORT=str(unused_tcp_port))
    assert code == 1
    assert f"Trino cannot be reached at http://127.0.0.1:{unused_tcp_port}" in err


async def test_help_names_the_settings_and_the_exit_codes() -> None:
    code, out, err = await run(SCRIPT, "--help")
    assert (code, err) == (0, "")
    assert "TRINO_JWT_TOKEN" in out
    assert out.splitlines()[-1].startswith("Exit: ")
