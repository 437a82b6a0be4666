"""Ended runs: the Iceberg table `asgard.runs`. Rows already read stay in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.lakehouse.records.log import RecordLog, Row, new_commit_id
from app.lakehouse.records.shared_log import SharedLog
from app.runs.ended_runs import EndedRun, EndedRuns, PackedJson
from app.runs.model import Run, RunState

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

KIND = "runs"
EXTRA = ("kind", "state", "target", "subject_id", "finished_at")
SCHEMA_VERSION = 1
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ParsedRun:
    """`outputs` names what a successful run wrote."""

    ended: EndedRun
    outputs: frozenset[str]


class RunHistory:
    """Ended runs never change: a run in memory is correct whatever the catalog says."""

    def __init__(self, catalog: "Catalog", namespace: str = "asgard") -> None:
        self._log = SharedLog(catalog, RecordLog(namespace, KIND, EXTRA), self._parse, self._apply)
        self.runs = EndedRuns()
        self._latest_of_subject: dict[str, EndedRun] = {}
        self._latest_success: dict[str, EndedRun] = {}

    async def refresh(self) -> None:
        """Read new rows. Raises `EngineUnreachable` while the catalog does not answer."""
        await self._log.refresh()

    def get(self, run_id: str) -> Run | None:
        ended = self.runs.get(run_id)
        return ended.read() if ended else None

    def __contains__(self, run_id: str) -> bool:
        return run_id in self.runs

    @property
    def latest_of_subject(self) -> Mapping[str, EndedRun]:
        return self._latest_of_subject

    @property
    def latest_success(self) -> Mapping[str, EndedRun]:
        """The runs by the name of what they wrote: a table, or the bronze path of a stream."""
        return self._latest_success

    async def append(self, runs: Sequence[Run]) -> None:
        """Append the runs in one commit, except runs that the table already has."""
        commit_id = new_commit_id()

        def rows(_: Sequence[Row]) -> Sequence[Row]:
            return [_row(run, commit_id) for run in runs if run.run_id not in self.runs]

        await self._log.write(commit_id, rows)

    def _parse(self, rows: Sequence[Row], reset: bool) -> list[ParsedRun]:
        known = EndedRuns() if reset else self.runs
        unread = (row for row in rows if known.version(row.id) < row.version)
        return [parsed for parsed in map(_parsed, unread) if parsed is not None]

    def _apply(self, parsed: Sequence[ParsedRun], reset: bool) -> None:
        if reset:
            self.runs.clear()
            self._latest_of_subject.clear()
            self._latest_success.clear()
        newest: dict[str, ParsedRun] = {}
        for item in parsed:
            run_id = item.ended.run_id
            known = newest[run_id].ended.version if run_id in newest else self.runs.version(run_id)
            if known < item.ended.version:
                newest[run_id] = item
        # Last, since it makes them known: what fails before it is passed again.
        for item in newest.values():
            self._index(item)
        self.runs.put_all([item.ended for item in newest.values()])

    def _index(self, item: ParsedRun) -> None:
        ended = item.ended
        if ended.subject_id is not None:
            _keep_newest(self._latest_of_subject, ended.subject_id, ended)
        for name in item.outputs:
            _keep_newest(self._latest_success, name, ended)


def _parsed(row: Row) -> ParsedRun | None:
    """Return None for a run that cannot be read: listing it would fail, too."""
    try:
        run = Run.model_validate_json(row.doc)
    except ValidationError:
        log.error("run_unreadable", id=row.id, version=row.version)
        return None
    ended = EndedRun(
        run_id=row.id,
        version=row.version,
        created_at=row.created_at,
        kind=run.kind,
        state=run.state,
        engine_state=run.engine_state,
        target=run.target,
        subject_id=run.subject_id,
        finished_at=run.finished_at,
        document=PackedJson.of(row.doc),
    )
    is_success = run.state is RunState.SUCCEEDED
    return ParsedRun(ended, frozenset(outputs_of(run) if is_success else ()))


def outputs_of(run: Run) -> set[str]:
    if run.output is None:
        return set()
    return {run.output.table, *(stream.path for stream in run.output.streams)}


def _keep_newest(index: dict[str, EndedRun], name: str, run: EndedRun) -> None:
    if name not in index or index[name].created_at <= run.created_at:
        index[name] = run


def _row(run: Run, commit_id: str) -> Row:
    finished_at = run.finished_at or run.created_at
    return Row(
        id=run.run_id,
        version=run.version,
        op="put",
        created_at=run.created_at,
        created_by=run.created_by,
        updated_at=finished_at,
        updated_by=run.created_by,
        commit_id=commit_id,
        schema_version=SCHEMA_VERSION,
        doc=run.model_dump_json(),
        extra={
            "kind": run.kind.value,
            "state": run.state.value,
            "target": run.target,
            "subject_id": run.subject_id,
            "finished_at": finished_at.isoformat(),
        },
    )
