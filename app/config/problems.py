"""What is wrong with the settings: all of it at once, each with the way out."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigProblem:
    """`said` is a sentence that names the variables and holds no secret."""

    variables: tuple[str, ...]
    said: str
    advice: str


class ConfigurationError(Exception):
    """The settings cannot work; the message says what is wrong, all of it, and what to do."""

    @classmethod
    def of(cls, faults: Iterable[ConfigProblem]) -> "ConfigurationError":
        lines = [f"{fault.said} {fault.advice}" for fault in faults]
        if len(lines) == 1:
            return cls(lines[0])
        return cls("\n- ".join([f"{len(lines)} things are wrong with the settings:", *lines]))
