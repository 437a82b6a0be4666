"""Checks a connector's config against the JSON Schema of its spec."""

import re
from itertools import islice
from typing import Any

from app.errors import InvalidBody

SHOWN = 10
MOST_ERRORS = 50
"""The maximum number of problems that are looked for. A config may have any number."""


def _unknown(error: Any) -> list[str]:
    """Return the fields that a closed schema does not have."""
    properties = error.schema.get("properties") or {}
    patterns = error.schema.get("patternProperties") or {}
    unknown = (
        name[:100]
        for name in error.instance
        if name not in properties and not any(re.search(pattern, name) for pattern in patterns)
    )
    return list(islice(unknown, SHOWN))


def config_refusal(schema: dict[str, Any], config: dict[str, Any]) -> InvalidBody | None:
    """Return why the config does not fit the connector's spec, without quoting any value of it."""
    import jsonschema

    validator = jsonschema.Draft7Validator(schema)
    problems = []
    for error in islice(validator.iter_errors(config), MOST_ERRORS):
        where = ".".join(("config", *map(str, error.absolute_path)))
        match error.validator:
            case "required":
                missing = [n for n in error.validator_value if n not in (error.instance or {})]
                problems.append(f"{where}: {', '.join(missing)} is missing")
            case "additionalProperties":
                unknown = _unknown(error)
                problems.append(
                    f"{where}: unknown to this connector: {', '.join(unknown)} "
                    "(additionalProperties)"
                )
            case "type":
                problems.append(f"{where}: must be {error.validator_value}")
            case _:
                problems.append(f"{where}: {error.validator} is {error.validator_value!r}"[:300])
    if not problems:
        return None
    unique = list(dict.fromkeys(problems))
    return InvalidBody(
        f"The config does not match the connector's spec: {'; '.join(unique[:SHOWN])}.",
        problems=unique,
    )
