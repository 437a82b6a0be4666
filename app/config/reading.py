"""Reads the environment and `.env`, and finds all that is wrong with them at once."""

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
IN_AN_ADDRESS = re.compile(r"//.*@")


def load_settings(*further: Finder) -> Settings:
    """Raises `ConfigurationError`, listing all that is wrong, `further` faults included."""
    settings, faults = examine_settings(*further)
    if faults:
        raise ConfigurationError.of([*faults, *(_hint(unknown) for unknown in unknown_variables())])
    return settings


def examine_settings(*further: Finder) -> tuple[Settings, list[ConfigProblem]]:
    """With faults, the settings have an example in place of each value that cannot be read: the
    rest is judged all the same."""
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
    """What is probably mistyped."""
    return unknown_among({**dotenv_values(".env"), **os.environ})


def _hint(unknown: UnknownVariable) -> ConfigProblem:
    """Beside what is wrong, a mistyped name may be the reason."""
    meant = f"Perhaps {unknown.nearest} was meant." if unknown.nearest else "Unset it."
    return ConfigProblem((unknown.name,), f"{unknown.name} is no variable of Asgard.", meant)


def _fault(item: Any) -> ConfigProblem:
    known = variable(str(item["loc"][0]))
    own = str(item.get("ctx", {}).get("error", "")) if item["type"] == "value_error" else ""
    shown = "" if known.is_secret else f"={_shown(item['input'])}"
    example = "" if known.is_secret else f", such as {known.example}"
    said = f"{known.name}{shown} cannot be right. {own}".rstrip()
    return ConfigProblem((known.name,), said, f"It has to be {known.kind}{example}.")


def _shown(value: Any) -> str:
    """On one line, and without the password that some write into addresses."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = IN_AN_ADDRESS.sub("//…@", text)
    if len(text) > LONGEST_SHOWN:
        text = f"{text[:LONGEST_SHOWN]}…"
    return text if text.isprintable() else repr(text)
