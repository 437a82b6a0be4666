"""The base of all request bodies."""

from itertools import islice
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, model_validator

MOST_UNKNOWN = 10


class Body(BaseModel):
    """Refuses unknown fields: an ignored field would be a choice without effect."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_are_unknown(cls, given: Any) -> Any:
        """Leave out all but the first unknown fields: each one is an error of its own."""
        if not isinstance(given, dict) or len(given) <= len(cls.model_fields) + MOST_UNKNOWN:
            return given
        known = _names(cls)
        unknown = islice((name for name in given if name not in known), MOST_UNKNOWN)
        retained = known.union(unknown)
        return {name: value for name, value in given.items() if name in retained}


def _names(model: type[BaseModel]) -> set[str]:
    names = set(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            names.update(map(str, field.validation_alias.choices))
    return names
