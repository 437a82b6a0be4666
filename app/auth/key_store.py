"""Stores keys for `asgard keys`: in a file with mode 0600, or in a Kubernetes Secret."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from app.auth.keys import KeyFile
from app.files import locked, replace_atomically

SECRET_KEY = "keys.json"  # noqa: S105 — the name of an entry, not a secret
CONFLICT, MISSING = 409, 404
ATTEMPTS = 5
TIMEOUTS = (5.0, 15.0)
Change = Callable[[KeyFile], KeyFile]


class KeyStoreError(Exception):
    """States the problem and its remedy. Contains no key."""


class KeyStore(Protocol):
    def read(self) -> KeyFile: ...

    def change(self, change: Change) -> None:
        """Apply `change`, and apply it again to newer keys if another writer was faster."""


class KeysInFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> KeyFile:
        if not self._path.exists():
            return KeyFile()
        return _parse(self._path.read_bytes(), str(self._path))

    def change(self, change: Change) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path.with_name(f".{self._path.name}.lock")):
            replace_atomically(self._path, _dump(change(self.read())))


class KeysInSecret:
    """Uses the operator's kubeconfig, since the gateway has no permissions on Secrets."""

    def __init__(self, namespace: str, name: str, kubeconfig: Path | None) -> None:
        from kubernetes import client, config
        from kubernetes.config import ConfigException

        configuration = client.Configuration()
        try:
            config.load_kube_config(
                str(kubeconfig) if kubeconfig else None, client_configuration=configuration
            )
        except ConfigException as error:
            raise KeyStoreError(f"There is no usable kubeconfig: {error}") from None
        self._api = client.CoreV1Api(client.ApiClient(configuration))
        self._namespace, self._name = namespace, name

    def read(self) -> KeyFile:
        return self._keys(self._secret())

    def change(self, change: Change) -> None:
        for _ in range(ATTEMPTS):
            secret = self._secret()
            if self._write(secret, _dump(change(self._keys(secret)))):
                return
        raise KeyStoreError("Other writers keep changing the Secret. Try again.")

    def _secret(self) -> Any:
        from kubernetes.client import ApiException

        try:
            return self._api.read_namespaced_secret(
                self._name, self._namespace, _request_timeout=TIMEOUTS
            )
        except ApiException as error:
            if error.status == MISSING:
                return None
            raise self._error(error) from None

    def _write(self, secret: Any, content: bytes) -> bool:
        """Return False if another writer was faster."""
        from kubernetes.client import ApiException

        data = {SECRET_KEY: base64.b64encode(content).decode()}
        names = {"name": self._name}
        try:
            if secret is None:
                body: dict[str, Any] = {"metadata": names, "data": data}
                self._api.create_namespaced_secret(self._namespace, body, _request_timeout=TIMEOUTS)
            else:
                version = {**names, "resourceVersion": secret.metadata.resource_version}
                self._api.patch_namespaced_secret(
                    self._name,
                    self._namespace,
                    {"metadata": version, "data": data},
                    _request_timeout=TIMEOUTS,
                )
        except ApiException as error:
            if error.status == CONFLICT:
                return False
            raise self._error(error) from None
        return True

    def _keys(self, secret: Any) -> KeyFile:
        content = ((secret.data if secret else None) or {}).get(SECRET_KEY)
        where = f"The Secret {self._namespace}/{self._name}"
        return _parse(base64.b64decode(content), where) if content else KeyFile()

    def _error(self, error: Any) -> KeyStoreError:
        return KeyStoreError(
            f"The API server responded with {error.status} {error.reason} for the Secret "
            f"{self._namespace}/{self._name}. `kubectl auth can-i` shows your permissions there."
        )


def _dump(keys: KeyFile) -> bytes:
    return keys.model_dump_json(indent=2).encode() + b"\n"


def _parse(content: bytes, where: str) -> KeyFile:
    try:
        return KeyFile.model_validate_json(content)
    except ValidationError:
        raise KeyStoreError(f"{where} is not a valid key file. Nothing was changed.") from None
