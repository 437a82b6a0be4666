"""What an engine says of a query."""

from dataclasses import dataclass

from app.lakehouse.tables import Column


@dataclass(frozen=True)
class Described:
    columns: tuple[Column, ...]
    """With the types that the table will have."""
    sql: str
    """The query, with what no table can hold cast to what it can."""
