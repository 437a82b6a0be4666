"""The secrets of sources: one 0600 file under `ASGARD_HOME`, never a record.

Records are append-only and cannot forget. They hold a configuration with its secrets masked, and
the paths of the secrets. This file holds the values.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from app.files import locked, replace_atomically
from app.secret_marks import MASK, Pointer, is_secret_name, is_secret_text, secret_pointers_of

SHORTEST_SECRET = 4


def secret_pointers(schema: Mapping[str, Any], config: Any) -> set[Pointer]:
    """Return the pointers to the config's values that the JSON Schema marks `airbyte_secret`."""
    pointers: set[Pointer] = set()
    if schema.get("airbyte_secret"):
        pointers.add(())
    for key in ("oneOf", "anyOf", "allOf"):
        for branch in schema.get(key) or ():
            pointers |= secret_pointers(branch, config)
    if isinstance(config, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name in config and isinstance(inner, dict):
                pointers |= {(name, *rest) for rest in secret_pointers(inner, config[name])}
    if isinstance(config, list) and isinstance(schema.get("items"), dict):
        for position, value in enumerate(config):
            below = secret_pointers(schema["items"], value)
            pointers |= {(position, *rest) for rest in below}
    return pointers


def every_pointer(config: Any) -> set[Pointer]:
    """Return the pointer to every value. Without a spec, any of them may be a secret."""
    match config:
        case dict():
            return {(k, *rest) for k, value in config.items() for rest in every_pointer(value)}
        case list():
            return {(i, *rest) for i, value in enumerate(config) for rest in every_pointer(value)}
        case _:
            return {()}


def split(
    config: Mapping[str, Any], pointers: set[Pointer]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config with the secrets masked, and the secrets by their JSON Pointers. `pointers`
    lead to what the connector knows to be secret. Values that surely are secrets are added."""
    masked: Any = copy.deepcopy(dict(config))
    secrets: dict[str, Any] = {}
    for pointer in sorted(pointers | secret_pointers_of(masked), key=len):
        holder, value = None, masked
        for step in pointer:
            holder, value = value, MASK if value == MASK else value[step]
        if value == MASK or holder is None:
            continue
        secrets[_json_pointer(pointer)] = value
        holder[pointer[-1]] = MASK
    return masked, secrets


def masked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config for clients, without anything that surely is a secret."""
    return split(config, set())[0]


def masks_in(config: Any) -> list[str]:
    """Return the fields of a request that hold a response's mask instead of a value."""
    return [
        ".".join(map(str, pointer))
        for pointer in sorted(every_pointer(config), key=str)
        if _at(config, pointer) == MASK
    ]


def joined(masked: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that `split` has taken apart."""
    config: Any = copy.deepcopy(dict(masked))
    for pointer, value in secrets.items():
        holder, last = config, None
        for step in _read(pointer):
            if last is not None:
                holder = holder[_index(holder, last)]
            last = step
        if last is not None:
            holder[_index(holder, last)] = value
    return dict(config)


def _at(config: Any, pointer: Pointer) -> Any:
    for step in pointer:
        config = config[step]
    return config


def _json_pointer(pointer: Pointer) -> str:
    return "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in pointer)


def _read(pointer: str) -> Iterator[str]:
    for step in pointer.split("/")[1:]:
        yield step.replace("~1", "/").replace("~0", "~")


def _index(holder: Any, step: str) -> str | int:
    return int(step) if isinstance(holder, list) else step


def secret_values(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the values to hide, longest first. A very short one would hide half of every log."""
    texts = {str(v) for v in values.values() if len(str(v)) >= SHORTEST_SECRET}
    return tuple(sorted(texts, key=len, reverse=True))


def secret_texts(config: Any, secret: bool = False) -> set[str]:
    """Return the values under names that secrets have, whatever a connector's spec says."""
    match config:
        case dict():
            return {t for k, v in config.items() for t in secret_texts(v, secret or _is_secret(k))}
        case list():
            return {text for value in config for text in secret_texts(value, secret)}
        case str() if len(config) >= SHORTEST_SECRET and (secret or is_secret_text(config)):
            return {config}
        case _:
            return set()


def _is_secret(name: str) -> bool:
    marks = ("password", "secret", "token", "key", "credential", "connection_string", "jaas")
    return any(mark in name.lower() for mark in marks)


def sure_secrets(config: Any, name: str = "") -> set[str]:
    """Return the values that are surely secrets, to be hidden in everything this process logs.
    Other values, such as a column or a way to log in, are needed there."""
    match config:
        case dict():
            return {text for key, value in config.items() for text in sure_secrets(value, key)}
        case list():
            return {text for value in config for text in sure_secrets(value, name)}
        case str() if len(config) >= SHORTEST_SECRET and (
            is_secret_name(name) or is_secret_text(config)
        ):
            return {config}
        case _:
            return set()


class SecretStore:
    """The file of secrets. Calls block for a few milliseconds, so make them in a thread. Several
    gateways may use the file at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, owner: str) -> dict[str, Any]:
        return dict(self._load().get(owner, {}))

    def put(self, owner: str, secrets: Mapping[str, Any]) -> None:
        def change(all_: dict[str, Any]) -> None:
            all_[owner] = dict(secrets)

        if secrets:
            self._change(change)

    def delete(self, owner: str) -> None:
        if owner in self._load():
            self._change(lambda all_: all_.pop(owner, None))

    def _load(self) -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        return loaded

    def _change(self, change: Callable[[dict[str, Any]], Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._path.with_suffix(".lock")):
            secrets = self._load()
            change(secrets)
            replace_atomically(self._path, json.dumps(secrets).encode())
