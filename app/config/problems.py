"""Problems of the settings: all at once, each with its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ConfigProblem:
    """`message` is a sentence that names the variables and contains no secret."""

    variables: tuple[str, ...]
    message: str
    advice: str


class ConfigurationError(Exception):
    """The settings are invalid. The message lists every problem and its remedy."""

    @classmethod
    def of(cls, faults: Iterable[ConfigProblem]) -> "ConfigurationError":
        lines = [f"{fault.message} {fault.advice}" for fault in faults]
        if len(lines) == 1:
            return cls(lines[0])
        return cls("\n- ".join([f"The settings have {len(lines)} problems:", *lines]))
