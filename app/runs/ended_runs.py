"""Ended runs in memory: by id, and in their order by each field that lists filter on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.ordered import insert_all, remove
from app.runs.model import Run, RunKind, RunState

CODEC = "zstd"
FIELDS = ("kind", "state", "target", "subject_id")
Position = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class PackedJson:
    """A compressed JSON document. Runs stay in memory, and the SQL of one is up to 256 KiB."""

    packed: bytes
    size: int

    @classmethod
    def of(cls, document: str) -> "PackedJson":
        import pyarrow as pa

        encoded = document.encode()
        return cls(pa.compress(encoded, codec=CODEC, asbytes=True), len(encoded))

    def unpacked(self) -> bytes:
        import pyarrow as pa

        unpacked: bytes = pa.decompress(self.packed, self.size, codec=CODEC, asbytes=True)
        return unpacked


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run in memory: the fields that lists filter on, and the whole run as JSON."""

    run_id: str
    version: int
    created_at: datetime
    kind: RunKind
    state: RunState
    engine_state: str | None
    target: str
    subject_id: str | None
    finished_at: datetime | None
    document: PackedJson

    def read(self) -> Run:
        return Run.model_validate_json(self.document.unpacked())


class EndedRuns:
    """Each put takes the place of an older version of the run."""

    def __init__(self) -> None:
        self._by_id: dict[str, EndedRun] = {}
        self._all: list[EndedRun] = []
        self._by_field: dict[tuple[str, str], list[EndedRun]] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._by_id

    def get(self, run_id: str) -> EndedRun | None:
        return self._by_id.get(run_id)

    def version(self, run_id: str) -> int:
        """Return the version of the run, and -1 for an unknown one."""
        run = self._by_id.get(run_id)
        return run.version if run is not None else -1

    def having(self, fields: Mapping[str, str]) -> Sequence[EndedRun]:
        """Return a list, oldest first, that has all runs with these values. With at most one field,
        it has no others. The list changes when runs end."""
        if not fields:
            return self._all
        return min((self._by_field.get(field, []) for field in fields.items()), key=len)

    def put_all(self, runs: Sequence[EndedRun]) -> None:
        """Put runs with different ids. If one raises, those before it are there."""
        added: dict[int, tuple[list[EndedRun], list[EndedRun]]] = {}
        try:
            for run in runs:
                self._replace(run, added)
        finally:
            for listed, new in added.values():
                insert_all(listed, new, position)

    def clear(self) -> None:
        self._by_id.clear()
        self._all.clear()
        self._by_field.clear()

    def _replace(
        self, run: EndedRun, added: dict[int, tuple[list[EndedRun], list[EndedRun]]]
    ) -> None:
        """Put the run, except into its lists, to which it is to be added."""
        if (older := self._by_id.get(run.run_id)) is not None:
            for listed in self._lists(older):
                remove(listed, older, position)
        self._by_id[run.run_id] = run
        for listed in self._lists(run):
            added.setdefault(id(listed), (listed, []))[1].append(run)

    def _lists(self, run: EndedRun) -> list[list[EndedRun]]:
        values = ((field, getattr(run, field)) for field in FIELDS)
        named = [self._by_field.setdefault(key, []) for key in values if key[1] is not None]
        return [self._all, *named]


def position(run: Run | EndedRun) -> Position:
    return run.created_at, run.run_id
