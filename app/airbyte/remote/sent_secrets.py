"""Remembers the secrets that this process sent to Airbyte, which never shows them again."""

from collections import OrderedDict
from collections.abc import Iterable

from app.redaction import register_caller_secrets

MAX_SOURCES = 500


class SentSecrets:
    """The secrets of each source. Airbyte's errors can quote them, and only the process that
    created the source knows them."""

    def __init__(self) -> None:
        self._by_source: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def add(self, source_id: str, secrets: Iterable[str]) -> None:
        self._by_source[source_id] = tuple(secrets)
        self._by_source.move_to_end(source_id)
        while len(self._by_source) > MAX_SOURCES:
            self._by_source.popitem(last=False)

    def register_secrets(self, source_id: str) -> None:
        """Hide the source's secrets in the current request or run."""
        register_caller_secrets(self._by_source.get(source_id, ()))
