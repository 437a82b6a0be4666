"""`asgard keys`, on a file and on a Kubernetes Secret (a stand-in of the API server on a port)."""

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app.auth.key_ring import KeyRing
from app.auth.key_store import KeysInFile, KeysInSecret
from app.auth.keys import KEY, KeyFile, make_key
from app.cli.main import main
from app.config import ConfigurationError
from tests.http_server import Asked, serving


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTH_KEYS_FILE", str(tmp_path / "kept" / "keys.json"))
    return tmp_path / "kept" / "keys.json"


def asgard(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["keys", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def shown(output: str) -> str:
    return output.strip().splitlines()[-1]


def opens(file: Path, key: str) -> bool:
    return KeyRing(file, None).caller(key) is not None


def test_a_key_is_shown_once_and_kept_as_a_hash(file: Path) -> None:
    key = shown(asgard("create", "ci", "--scope", "dbt:read", "--scope", "runs:read"))
    assert KEY.match(key)
    secret = key.rsplit("_", 1)[1] if key.count("_") == 2 else key[20:]
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = asgard("list")
    assert key not in listed
    assert "ci\tdbt:read,runs:read\t" in listed
    assert listed.strip().endswith("\t-\tlive")
    caller = KeyRing(file, None).caller(key)
    assert caller is not None
    assert caller.subject == f"key:{KEY.match(key)[1]}:ci"  # type: ignore[index]
    assert caller.scopes == {"dbt:read", "runs:read"}


def test_a_rotated_key_is_valid_for_its_grace_time_and_a_revoked_one_is_not(file: Path) -> None:
    old = shown(asgard("create", "ci", "--scope", "dbt:read"))
    new = shown(asgard("rotate", "ci", "--grace", "1h"))
    assert old != new
    assert (opens(file, old), opens(file, new)) == (True, True)
    newer = shown(asgard("rotate", "ci", "--grace", "0m"))
    assert (opens(file, new), opens(file, newer)) == (False, True)
    asgard("revoke", "ci")
    assert not any(opens(file, key) for key in (old, new, newer))
    assert "no key ci" in asgard("revoke", "ci", code=2)
    assert "no valid key ci" in asgard("rotate", "ci", code=2)


def test_a_key_expires_at_its_time(file: Path) -> None:
    key = shown(asgard("create", "short", "--scope", "admin", "--expires", "30m"))
    (known,) = KeysInFile(file).read().keys
    assert known.expires is not None
    assert known.expires - known.created == timedelta(minutes=30)
    assert opens(file, key)
    assert not known.is_live(datetime.now(UTC) + timedelta(minutes=31))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "a", "--scope", "dbt"), "unknown scope: dbt; expected one of"),
        (("create", "no spaces", "--scope", "admin"), "pattern"),
        (("create", "a", "--scope", "admin", "--expires", "soon"), "not a valid duration"),
        (("list", "--secret", "nowhere"), "NAMESPACE/NAME"),
    ],
)
def test_invalid_arguments_are_refused(file: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in asgard(*arguments, code=2)
    assert not file.exists()


def test_a_name_has_at_most_one_valid_key(file: Path) -> None:
    asgard("create", "ci", "--scope", "admin")
    assert "A key named ci already exists" in asgard("create", "ci", "--scope", "admin", code=2)


def test_a_broken_file_is_left_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("{broken")
    assert "Nothing was changed" in asgard("create", "a", "--scope", "admin", code=2)
    assert file.read_text() == "{broken"


def test_keys_created_at_once_are_all_stored(file: Path) -> None:
    def add(number: int) -> None:
        made = make_key(f"k{number}", ("admin",), None).known
        KeysInFile(file).change(lambda keys: keys.with_key(made))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    assert {key.name for key in KeysInFile(file).read().keys} == {f"k{n}" for n in range(24)}
    assert [item.name for item in file.parent.iterdir() if item.name.startswith(".keys-")] == []


def test_a_key_without_scopes_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one scope"):
        make_key("a", (), None)


class ApiServer:
    """Stores Secrets like the API server: with a resourceVersion, and 409 for a stale one."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.version = 0
        self.rivals = 0
        """Changes by other writers that come just before ours."""
        self.status: int | None = None

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any] | None]:
        status, document = self._answer(asked)
        return self.status or status, document

    def _answer(self, asked: Asked) -> tuple[int, dict[str, Any] | None]:
        if asked.method == "GET":
            return (200, self.secret) if self.secret else (404, {})
        body = asked.json()
        if asked.method == "POST":
            return (409, {}) if self.secret is not None else (201, self.store(body))
        if self.rivals:
            self.rivals -= 1
            self.store({"data": {"other": "eA=="}})
        stale = body["metadata"]["resourceVersion"] != str(self.version)
        return (409, {}) if stale else (200, self.store(body))

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        data = {**((self.secret or {}).get("data") or {}), **body["data"]}
        names = {"name": "asgard-keys", "resourceVersion": str(self.version)}
        self.secret = {"kind": "Secret", "apiVersion": "v1", "metadata": names, "data": data}
        return self.secret

    def keys(self) -> KeyFile:
        assert self.secret is not None
        return KeyFile.model_validate_json(base64.b64decode(self.secret["data"]["keys.json"]))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    api = ApiServer()
    with serving(api.answer) as port:
        write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield api


def write_kubeconfig(file: Path, server: str) -> None:
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )


SECRET = ("--secret", "asgard/asgard-keys")


def test_keys_in_a_secret_leave_its_other_entries_alone(file: Path, cluster: ApiServer) -> None:
    first = shown(asgard("create", "ci", "--scope", "dbt:read", *SECRET))
    cluster.rivals = 2
    second = shown(asgard("create", "cd", "--scope", "dbt:write", *SECRET))
    assert [key.name for key in cluster.keys().keys] == ["ci", "cd"]
    assert cluster.secret is not None
    assert cluster.secret["data"]["other"] == "eA=="
    assert not file.exists()
    mounted = file.parent
    mounted.mkdir()
    file.write_bytes(base64.b64decode(cluster.secret["data"]["keys.json"]))
    assert (opens(file, first), opens(file, second)) == (True, True)
    asgard("revoke", "ci", *SECRET)
    assert [key.revoked is None for key in cluster.keys().keys] == [True, False]


def test_an_error_of_the_api_server_is_reported(file: Path, cluster: ApiServer) -> None:
    cluster.status = 403
    assert "responded with 403" in asgard("create", "ci", "--scope", "admin", *SECRET, code=2)
    cluster.status = None
    asgard("create", "ci", "--scope", "admin", *SECRET)
    cluster.rivals = 99
    assert "Other writers keep changing" in asgard("revoke", "ci", *SECRET, code=2)


def test_a_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    from app.auth.key_store import KeyStoreError

    with pytest.raises(KeyStoreError, match="kubeconfig"):
        KeysInSecret("a", "b", tmp_path / "none")


def test_a_new_key_lives_as_long_as_the_one_that_it_replaces(file: Path) -> None:
    asgard("create", "ci", "--scope", "runs:read", "--expires", "90d")
    asgard("rotate", "ci", "--grace", "1h")
    newest = max(KeyFile.model_validate_json(file.read_bytes()).keys, key=lambda key: key.created)
    assert newest.expires is not None
    assert round((newest.expires - newest.created) / timedelta(days=1), 3) == 90


def test_a_key_file_of_another_user_is_refused(file: Path, monkeypatch) -> None:
    asgard("create", "ci", "--scope", "runs:read")
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        KeyRing(file, None)
