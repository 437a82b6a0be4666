"""Takes the secrets out of a source's configuration, and puts them back.

Records are append-only and cannot forget, so they hold a configuration with its secrets masked. The
secrets are kept apart in the shape of the configuration, `{"tunnel": {"ssh_key": "…"}}`, with
positions in lists as names (`"0"`). They take no more room than the configuration, whatever its
names are.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.airbyte.json_schema import UnreadableSchema, applied_schemas, schemas_of_member
from app.secret_marks import MASK, Pointer, is_secret_text, secret_pointers_of

SHORTEST_SECRET = 4


def secret_pointers(schema: Mapping[str, Any], config: Any) -> set[Pointer]:
    """Return the pointers to the config's values that the JSON Schema marks `airbyte_secret`. Where
    the schema says more than Asgard can read, any value may be a secret."""
    return _marked([schema], config, schema)


def _marked(schemas: Iterable[Any], value: Any, root: Mapping[str, Any]) -> set[Pointer]:
    try:
        applied = applied_schemas(schemas, root)
    except UnreadableSchema:
        return every_pointer(value)
    pointers: set[Pointer] = set()
    if any(schema.get("airbyte_secret") for schema in applied):
        pointers.add(())
    for step, inner in _members(value):
        below = [lower for schema in applied for lower in schemas_of_member(schema, step)]
        pointers |= {(step, *rest) for rest in _marked(below, inner, root)}
    return pointers


def every_pointer(config: Any) -> set[Pointer]:
    """Return the pointer to every value. Without a spec, any of them may be a secret."""
    return {pointer for pointer, _ in _values(config)}


def _values(config: Any) -> Iterator[tuple[Pointer, Any]]:
    """Yield every value with its pointer, in order."""
    if not isinstance(config, dict | list):
        yield (), config
    for step, value in _members(config):
        for rest, leaf in _values(value):
            yield (step, *rest), leaf


def _members(value: Any) -> Iterable[tuple[str | int, Any]]:
    match value:
        case dict():
            return value.items()
        case list():
            return enumerate(value)
        case _:
            return ()


def split(
    config: Mapping[str, Any], pointers: set[Pointer]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config with the secrets masked, and the secrets in its shape. `pointers` lead to
    what the connector knows to be secret. Values that are certainly secrets are added."""
    masked: Any = copy.deepcopy(dict(config))
    secrets: dict[str, Any] = {}
    for pointer in sorted(pointers | secret_pointers_of(masked), key=len):
        holder, value = None, masked
        for step in pointer:
            holder, value = value, MASK if value == MASK else value[step]
        if value == MASK or holder is None:
            continue
        put_at(secrets, pointer, value)
        holder[pointer[-1]] = MASK
    return masked, secrets


def put_at(secrets: dict[str, Any], pointer: Pointer, value: Any) -> None:
    *above, last = map(str, pointer)
    for step in above:
        secrets = secrets.setdefault(step, {})
    secrets[last] = value


def masked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config for clients, without anything that is certainly a secret."""
    return split(config, set())[0]


def mask_in(config: Any) -> str | None:
    """Return the first field of a request that holds a response's mask instead of a value."""
    masks = (".".join(map(str, pointer)) for pointer, value in _values(config) if value == MASK)
    return next(masks, None)


def joined(masked: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that `split` has taken apart. A secret without a mask in the config is put
    where it belongs: a connector that renews its secrets may add one."""
    config = _joined(masked, secrets)
    return dict(config)


def _joined(masked: Any, secrets: Any) -> Any:
    if isinstance(masked, Mapping) and isinstance(secrets, Mapping):
        return {
            name: _joined(masked.get(name, MASK), secrets[name])
            if name in secrets
            else copy.deepcopy(masked[name])
            for name in dict.fromkeys((*masked, *secrets))
        }
    if isinstance(masked, list) and isinstance(secrets, Mapping):
        return [
            _joined(value, secrets[str(position)])
            if str(position) in secrets
            else copy.deepcopy(value)
            for position, value in enumerate(masked)
        ]
    return copy.deepcopy(secrets)


def secret_values(*secrets: Any) -> tuple[str, ...]:
    """Return the values to hide, longest first. A very short one would hide half of every log."""
    texts = {str(leaf) for _, leaf in _values(list(secrets)) if len(str(leaf)) >= SHORTEST_SECRET}
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


def sure_secrets(config: Mapping[str, Any]) -> set[str]:
    """Return the values that are certainly secrets, which clients see masked. They are hidden in
    everything this process logs. Other values, such as a column or a login method, are needed
    there."""
    return set(secret_values(split(config, set())[1]))
