"""The types of text in request bodies. A field's type decides what the text may hold.

Control characters are refused in every text, at the outer edge (`http/text.py`).
"""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core.core_schema import ValidationInfo

from app.sql.jinja import check_text

MAX_NAME = 100
MAX_WORDS = 100


def _without_template(value: str, info: ValidationInfo) -> str:
    check_text(value, info.field_name or "text")
    return value


NoTemplate = AfterValidator(_without_template)
"""Refuses Jinja with `SqlJinja`: the text can reach a dbt project."""

Word = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME),
    NoTemplate,
]
"""A name, an owner or a tag."""
Words = Annotated[tuple[Word, ...], Field(max_length=MAX_WORDS, fail_fast=True)]
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f]+$"
    ),
    NoTemplate,
]
"""A name for people, on one line."""
Identifier = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$", max_length=MAX_NAME)
]
"""A name of a table, without quotes."""
Text = Annotated[str, StringConstraints(max_length=10_000), NoTemplate]
"""A description, of any number of lines."""
Sql = Annotated[str, StringConstraints(min_length=1)]
"""A statement. The guard decides what it may hold."""
