"""Whether a connector's config fits the JSON Schema of its spec."""

from typing import Any

from app.errors import InvalidBody

SHOWN = 10


def config_refusal(schema: dict[str, Any], config: dict[str, Any]) -> InvalidBody | None:
    """Why the config does not fit the connector's spec; no value of it is ever quoted."""
    import jsonschema

    validator = jsonschema.Draft7Validator(schema)
    problems = []
    for error in validator.iter_errors(config):
        where = ".".join(("config", *map(str, error.absolute_path)))
        match error.validator:
            case "required":
                missing = [n for n in error.validator_value if n not in (error.instance or {})]
                problems.append(f"{where}: {', '.join(missing)} is missing")
            case "type":
                problems.append(f"{where}: must be {error.validator_value}")
            case _:
                problems.append(f"{where}: {error.validator} is {error.validator_value!r}"[:300])
    if not problems:
        return None
    unique = list(dict.fromkeys(problems))
    return InvalidBody(
        f"The config does not fit the connector's spec: {'; '.join(unique[:SHOWN])}.",
        problems=unique[:50],
    )
