"""Holds an engine's description of a query."""

from dataclasses import dataclass

from app.lakehouse.tables import Column


@dataclass(frozen=True)
class Described:
    columns: tuple[Column, ...]
    """The columns, with the types that the table will have."""
    sql: str
    """The query. Types that no table can hold are cast to types that it can."""
