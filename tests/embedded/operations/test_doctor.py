"""`asgard doctor` shows a row with advice for each problem, and leaves nothing behind."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.auth.keys import make_key
from app.config import AuthMode, Settings
from app.doctor.authentication import authentication_findings
from app.doctor.lake import lake_findings
from app.doctor.report import CheckResult, show
from app.lakehouse.timeouts import READ_TIMEOUT
from tests.conftest import Lakehouse
from tests.harnesses.gateway import write_keys
from tests.http_server import mute
from tests.oidc_issuer import issuing
from tests.ports import free_port

KEPT = "S3 keeps objects"
LAKE = ("S3 put, get, list, delete", "S3 conditional PUT", "Iceberg catalog")
SECRET = "c2VjcmV0LXRoYXQtbm9ib2R5LXNlZXM"


def external(lakehouse: Lakehouse, **changes: Any) -> Settings:
    """Return the settings of the session's lake as an external one."""
    s3, catalog = lakehouse.lake.s3, lakehouse.lake.catalog
    given: dict[str, Any] = {
        "asgard_embedded": "ingestion,spark,sql",
        "s3_bucket": s3.bucket,
        "s3_endpoint": s3.endpoint,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        "iceberg_rest_uri": catalog.uri,
        "iceberg_rest_warehouse": catalog.warehouse,
        "iceberg_rest_credential": catalog.credential,
        "iceberg_rest_oauth2_uri": catalog.oauth2_server_uri,
    }
    return Settings(_env_file=None, **(given | changes))


async def examined(lakehouse: Lakehouse, **changes: Any) -> dict[str, CheckResult]:
    found = await lake_findings(external(lakehouse, **changes))
    return {finding.what: finding for finding in found}


def doctor(cwd: Path, **environment: str) -> tuple[int, dict[str, list[str]], str]:
    """Run the real command. Return its status, the cells of each row, and its output."""
    done = subprocess.run(
        [Path(sys.executable).with_name("asgard"), "doctor"],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "COLUMNS": "1000", **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    return done.returncode, {row[0]: row[1:] for row in rows}, done.stdout + done.stderr


async def test_the_checks_leave_nothing_in_a_working_lake(lakehouse: Lakehouse) -> None:
    found = await examined(lakehouse)
    assert [finding.message for finding in found.values() if not finding.ok] == []
    assert set(found) == {*LAKE, KEPT, "Iceberg catalog, writing"}
    assert await lakehouse.store.list("asgard/doctor/") == []
    staged = await lakehouse.catalog.list_tables(lakehouse.lake.staging_schema)
    assert [table for table in staged if "doctor" in table] == []


@pytest.mark.parametrize(
    ("changes", "message", "advice"),
    [
        ({"aws_secret_access_key": SECRET}, "SignatureDoesNotMatch", "Correct AWS_SECRET_ACCESS"),
        ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId", "Correct AWS_ACCESS_KEY_ID"),
        (
            {"s3_bucket": "no-such-bucket"},
            "NoSuchBucket",
            "Create the bucket, or correct",
        ),
        ({"s3_endpoint": "http://127.0.0.1:9"}, "cannot be reached", "Check S3_ENDPOINT"),
    ],
)
async def test_a_problem_of_s3_is_reported_with_advice(
    lakehouse: Lakehouse, changes: dict[str, str], message: str, advice: str
) -> None:
    found = await examined(lakehouse, **changes)
    for what in LAKE[:2]:
        assert not found[what].ok
        assert message in found[what].message
        assert found[what].advice.startswith(advice)
    assert found["Iceberg catalog"].ok


async def test_a_catalog_that_refuses_is_reported_separately_from_s3(lakehouse: Lakehouse) -> None:
    found = await examined(lakehouse, iceberg_rest_credential=f"nobody:{SECRET}")
    assert [found[what].ok for what in LAKE] == [True, True, False]
    assert "ICEBERG_REST_URI and its credential" in found["Iceberg catalog"].advice
    assert "Iceberg catalog, writing" not in found
    assert SECRET not in str(found)


async def test_a_dependency_that_does_not_answer_delays_no_other(lakehouse: Lakehouse) -> None:
    with mute() as port:
        address = f"http://127.0.0.1:{port}"
        for setting, silent, fine in (
            ("iceberg_rest_uri", LAKE[2], LAKE[1]),
            ("s3_endpoint", LAKE[1], LAKE[2]),
        ):
            started = time.monotonic()
            found = await examined(lakehouse, **{setting: address})
            assert not found[silent].ok
            assert found[silent].message.startswith(
                ("no response within 5 s", "S3 cannot be reached")
            )
            assert found[fine].ok
            # With the usual timeouts, a thread would still be waited for now.
            assert time.monotonic() - started < READ_TIMEOUT


async def test_keys_are_counted_and_file_modes_are_shown(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    file, plain = tmp_path / "keys.json", tmp_path / "api-key"
    key = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": file}
    [none] = await authentication_findings(lakehouse.settings.model_copy(update=key))
    assert (none.ok, none.advice.startswith("asgard keys create")) == (False, True)
    write_keys(file, make_key("ci", ["dbt:read"], None).known)
    [one] = await authentication_findings(lakehouse.settings.model_copy(update=key))
    assert one.ok
    assert f"1 valid in {file} (0600)" in one.message
    plain.write_text(SECRET)
    key["auth_api_key_file"] = plain
    for mode, is_pod, ok in ((0o600, False, True), (0o644, False, False), (0o644, True, True)):
        plain.chmod(mode)
        key["kubernetes_service_host"] = "10.0.0.1" if is_pod else None
        _, found = await authentication_findings(lakehouse.settings.model_copy(update=key))
        assert (found.ok, f"({mode:04o})" in found.message) == (ok, True)
        assert found.advice == ("" if ok else f"chmod 600 {plain}")


async def test_the_keys_of_an_issuer_are_checked(lakehouse: Lakehouse) -> None:
    with issuing() as issuer:
        oidc = {"auth_mode": AuthMode.OIDC, "oidc_issuer": issuer.url, "oidc_audience": "asgard"}
        settings = lakehouse.settings.model_copy(update=oidc)
        [good] = await authentication_findings(settings)
        assert good.ok
        assert f"{issuer.url}, 1 keys, audience asgard" in good.message
        others = settings.model_copy(update={"oidc_algorithms": ("ES256",)})
        [unfit] = await authentication_findings(others)
        assert (unfit.ok, "no key of the issuer (RSA) signs with" in unfit.message) == (False, True)
        other = settings.model_copy(update={"oidc_issuer": f"{issuer.url}/"})
        [another] = await authentication_findings(other)
        assert (another.ok, "an issuer other than" in another.message) == (False, True)
        issuer.is_broken = True
        [broken] = await authentication_findings(settings)
    assert not broken.ok
    assert "/.well-known/openid-configuration must return" in broken.advice


async def test_the_command_shows_invalid_settings_and_checks_the_rest(
    lakehouse: Lakehouse, tmp_path: Path
) -> None:
    s3 = lakehouse.lake.s3
    code, rows, output = doctor(
        tmp_path,
        S3_BUCKET=s3.bucket,
        S3_ENDPOINT=s3.endpoint or "",
        AWS_ACCESS_KEY_ID=s3.access_key or "",
        AWS_SECRET_ACCESS_KEY=SECRET,
        ICEBERG_REST_URI=lakehouse.lake.catalog.uri,
        ICEBERG_REST_TOKEN=SECRET,
        TRINO_HOST="127.0.0.1",
        TRINO_PORT=str(free_port()),
        ASGARD_EMBEDDED="ingestion",
        AUTH_MODE="oidc",
        OIDC_ISSUER="https://login.example.com",
        RUN_TIMEOUT="1h",
        ASGARD_HOEM="x",
    )
    assert code == 1
    assert {what: row[0] for what, row in rows.items() if what != "check"} == {
        "RUN_TIMEOUT": "failed",
        "SPARK_IMAGE": "failed",
        "OIDC_AUDIENCE": "failed",
        "builder sandbox": "ok",
        "ASGARD_HOEM": "warning",
        "S3 put, get, list, delete": "failed",
        "S3 conditional PUT": "failed",
        KEPT: "failed",
        "Iceberg catalog": "failed",
        "Trino": "failed",
    }
    assert "Correct AWS_SECRET_ACCESS_KEY" in rows["S3 conditional PUT"][2]
    assert SECRET not in output
    assert "Traceback" not in output


async def test_on_a_laptop_every_check_passes(tmp_path: Path) -> None:
    code, rows, _ = doctor(tmp_path)
    assert code == 0
    assert {what: row[0] for what, row in rows.items()} == {
        "settings": "ok",
        "callers": "ok",
        "builder sandbox": "ok",
        **dict.fromkeys((*LAKE, KEPT, "Iceberg catalog, writing"), "ok"),
    }


def test_a_secret_in_an_engines_answer_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [CheckResult("Trino", False, f"no user [bold]{SECRET}[/bold]", f"not {SECRET}")]
    assert show(findings, [SECRET, "no"]) == 1
    output = capsys.readouterr().out
    assert SECRET not in output
    assert output.count("**********") == 2
