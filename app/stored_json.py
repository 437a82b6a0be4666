"""Writes models as JSON that can be read again."""

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError


def stored_json(model: BaseModel) -> str:
    """Return the model as JSON. Raises `ValueError` if it could not be read again: pydantic writes
    values that it does not read, for example those that are nested more than 200 levels deep."""
    try:
        text = model.model_dump_json()
        type(model).model_validate_json(text)
    except (ValidationError, PydanticSerializationError):
        raise ValueError(
            "it is nested too deeply, or has text or numbers that JSON does not have"
        ) from None
    return text
