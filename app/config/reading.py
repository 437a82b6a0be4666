"""Reads the environment and `.env`, and finds all their problems at once."""

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from app.config.problems import ConfigProblem, ConfigurationError
from app.config.reference import variable
from app.config.settings import Settings
from app.config.unknown import UnknownVariable, unknown_among
from app.config.validation import find_faults

Finder = Callable[[Settings], Iterable[ConfigProblem]]
LONGEST_SHOWN = 80
LOGIN = re.compile(r"^(https?:/*)?.*@", re.IGNORECASE | re.DOTALL)
"""What stands before an @ may be a login, even in a mistyped address."""


def load_settings(*further: Finder) -> Settings:
    """Return the settings. Raise `ConfigurationError` with all faults, `further` ones included."""
    settings, faults = examine_settings(*further)
    if faults:
        raise ConfigurationError.of([*faults, *(_hint(unknown) for unknown in unknown_variables())])
    return settings


def examine_settings(*further: Finder) -> tuple[Settings, list[ConfigProblem]]:
    """Return the settings and their faults. An example replaces each value that cannot be read, so
    that the others can be checked."""
    try:
        settings = Settings()
    except ValidationError as error:
        unread = {str(item["loc"][0]): _fault(item) for item in reversed(error.errors())}
        stand_ins: dict[str, Any] = {field: variable(field).example for field in unread}
        settings = Settings(**stand_ins)
        faults = [*reversed(unread.values())]
    else:
        unread, faults = {}, []
    names = {field.upper() for field in unread}
    for find in (find_faults, *further):
        faults += [fault for fault in find(settings) if names.isdisjoint(fault.variables)]
    return settings, faults


def unknown_variables() -> list[UnknownVariable]:
    """Return the variables that are probably mistyped."""
    return unknown_among({**dotenv_values(".env"), **os.environ})


def _hint(unknown: UnknownVariable) -> ConfigProblem:
    """Return a problem for a mistyped name, which may explain the others."""
    advice = f"Did you mean {unknown.nearest}?" if unknown.nearest else "Unset it."
    message = f"{unknown.name} is not an Asgard variable."
    return ConfigProblem((unknown.name,), message, advice)


def _fault(item: Any) -> ConfigProblem:
    invalid = variable(str(item["loc"][0]))
    reason = str(item.get("ctx", {}).get("error", "")) if item["type"] == "value_error" else ""
    value = "" if invalid.is_secret else f"={_shown(item['input'])}"
    example = "" if invalid.is_secret else f", for example {invalid.example}"
    message = f"{invalid.name}{value} is invalid. {reason}".rstrip()
    return ConfigProblem((invalid.name,), message, f"Expected {invalid.kind}{example}.")


def _shown(value: Any) -> str:
    """Return the value on one line, without a password that is part of an address."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = LOGIN.sub(r"\1…@", text)
    if len(text) > LONGEST_SHOWN:
        text = f"{text[:LONGEST_SHOWN]}…"
    return text if text.isprintable() else repr(text)
