"""Remembers the secrets that this process sent to Airbyte, which never shows them again."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.redaction import Scope, register_caller_secrets, within_also

MAX_RESOURCES = 500
MOST, MOST_FORMS = 1000, 3000
"""The secrets that are hidden in every error of Airbyte, and their spellings."""


class SentSecrets:
    """The secrets of each source and destination. Airbyte's errors can quote them, and only the
    process that created the resource knows them."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._all = Scope(MOST, MOST_FORMS)

    def add(self, id_: str, secrets: Iterable[str]) -> None:
        self._by_id[id_] = tuple(secrets)
        self._by_id.move_to_end(id_)
        self._all.register_secrets(self._by_id[id_])
        while len(self._by_id) > MAX_RESOURCES:
            self._by_id.popitem(last=False)

    def register_secrets(self, *ids: str) -> None:
        """Hide the secrets of these resources in the current request or run."""
        for id_ in ids:
            register_caller_secrets(self._by_id.get(id_, ()))

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide all of them in the errors that the block makes. A request for one resource can fail
        with a text about another."""
        with within_also(self._all):
            yield
