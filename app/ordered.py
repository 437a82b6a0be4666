"""Lists that are kept in order by a key."""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
SORT_FROM = 0.1
"""The part of a list that new items must be for sorting to be faster than insertions."""


def insert_all(ordered: list[T], items: Sequence[T], key: Callable[[T], Any]) -> None:
    if len(items) > SORT_FROM * len(ordered):
        ordered.extend(items)
        ordered.sort(key=key)
        return
    for item in items:
        insort(ordered, item, key=key)


def remove(ordered: list[T], item: T, key: Callable[[T], Any]) -> None:
    """Remove the item with the same key, which must be there."""
    del ordered[bisect_left(ordered, key(item), key=key)]
