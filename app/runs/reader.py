"""Reads runs wherever they are: in this process, in S3 or in history. Lists each run once."""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from app.concurrency.backoff import retry_while_unreachable
from app.concurrency.notify import RunNotifiers, wait_within
from app.errors import NotFound
from app.runs.archive import RunArchive
from app.runs.ended_runs import EndedRun, position
from app.runs.history import RunHistory, outputs_of
from app.runs.model import Run, RunEvent, RunState
from app.runs.open_runs import OpenRuns
from app.runs.pages import AnyRun, RunFilter, RunPage, page_of
from app.runs.store import RunStore

RUN_ID = re.compile(r"^[0-9a-f]{12,64}$")
FEW = 100
"""Names that are looked up on the event loop. More would hold it."""


@dataclass(frozen=True)
class RunEnd:
    """The last item of a run's event stream, with the ended run."""

    run: Run


class RunReader:
    def __init__(
        self,
        runs: RunStore,
        history: RunHistory,
        archive: RunArchive,
        open_runs: OpenRuns,
        notifiers: RunNotifiers,
    ) -> None:
        self._runs = runs
        self._history = history
        self._archive = archive
        self._open_runs = open_runs
        self._notifiers = notifiers
        self._stopping = False

    def stop_waiting(self) -> None:
        """From now on, answer requests that wait for a run with its current state."""
        self._stopping = True
        self._notifiers.notify_all()

    async def get(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        if (run := self.in_memory(run_id)) is not None:
            return run
        if RUN_ID.match(run_id):
            # S3 comes first: a run moves from S3 to history, never back.
            stored = await self._runs.load(run_id)
            if (run := self.in_memory(run_id)) is not None:
                return run
            if stored is not None:
                return stored.run
            await self._history.refresh()
            if (run := self.in_memory(run_id)) is not None:
                return run
        raise NotFound(f"There is no run {run_id}.")

    async def find(self, run_id: str) -> Run | None:
        try:
            return await self.get(run_id)
        except NotFound:
            return None

    async def wait(self, run_id: str, seconds: float) -> Run:
        """Return the run when it has ended, or its current state after the given seconds."""
        deadline = monotonic() + seconds
        notifier = self._notifiers.of(run_id)
        while True:
            changed = notifier.changed
            run = await self.get(run_id)
            remaining = deadline - monotonic()
            if run.state.is_terminal or remaining <= 0 or self._stopping:
                return run
            await wait_within(changed, remaining)

    async def list(
        self, run_filter: RunFilter, cursor: str | None, limit: int, page: int
    ) -> RunPage:
        """Return a page of runs, newest first. Raises `InvalidRequest` for an unknown cursor."""
        ended = self._history.runs
        open_runs = await self._list_open()
        # Ended meanwhile, if history has a newer version.
        current = [run for run in open_runs.values() if ended.version(run.run_id) <= run.version]
        matches = [run for run in current if run_filter.matches(run)]
        found = ended.having(run_filter.fields)
        if not run_filter.is_indexed:
            found = await asyncio.to_thread(run_filter.matching, list(found))
        # At once, since `found` may change.
        shown = page_of(matches, cursor, limit, page, ended=found, hidden=current)
        # In a thread: each run on the page is parsed, and may list a thousand streams.
        return await asyncio.to_thread(shown.read)

    async def newest(self, subject_ids: Collection[str]) -> dict[str, AnyRun]:
        """Return the newest run of each subject, open or ended, without parsing those that have
        ended."""
        open_runs = await self._list_open()
        by_subject = [(run.subject_id, run) for run in open_runs.values() if run.subject_id]
        return await _of_names(self._history.latest_of_subject, by_subject, subject_ids)

    async def newest_success(self, targets: Collection[str] | None = None) -> dict[str, AnyRun]:
        """Return the newest successful run of each table or bronze path, by default of all, without
        parsing those that have ended."""
        open_runs = await self._list_open()
        succeeded = [run for run in open_runs.values() if run.state is RunState.SUCCEEDED]
        by_target = [(name, run) for run in succeeded for name in outputs_of(run)]
        ended = self._history.latest_success
        names = targets if targets is not None else {*ended, *(name for name, _ in by_target)}
        return await _of_names(ended, by_target, names)

    async def latest(self, subject_ids: Collection[str]) -> dict[str, Run]:
        """Return the newest run of each subject, open or ended."""
        return await self.parsed(await self.newest(subject_ids))

    async def latest_success(self, targets: Collection[str] | None = None) -> dict[str, Run]:
        """Return the newest successful run of each table or bronze path, by default of all."""
        return await self.parsed(await self.newest_success(targets))

    @staticmethod
    async def parsed(runs: Mapping[str, AnyRun]) -> dict[str, Run]:
        return await asyncio.to_thread(_read, runs)

    async def using(self, subject_id: str) -> Run | None:
        """Return a run of the subject that has not ended."""
        for run in (await self._open_runs.all()).values():
            if run.subject_id == subject_id and not run.state.is_terminal:
                return run
        return None

    async def logs(self, run_id: str, tail_lines: int | None = None) -> str:
        active = self._open_runs.owned.get(run_id)
        if active is not None:
            text = active.log_text()
        else:
            await self.get(run_id)
            text = await self._runs.read_log(run_id)
        if tail_lines is None:
            return text
        return "".join(text.splitlines(keepends=True)[-tail_lines:]) if tail_lines else ""

    async def events(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent | RunEnd]:
        """Yield events with an id greater than `after`, as they happen, and finally a `RunEnd`."""
        notifier = self._notifiers.of(run_id)
        while True:
            changed = notifier.changed
            run = await retry_while_unreachable(lambda: self.get(run_id), "follow run")
            for event in run.events:
                if event.id > after:
                    after = event.id
                    yield event
            if run.state.is_terminal:
                yield RunEnd(run)
                return
            if self._stopping:
                return
            await wait_within(changed, None)

    async def _list_open(self) -> dict[str, Run]:
        """Return the open runs, and bring history up to date. Both happen at once: no run can be in
        neither, because its object stays for `KEPT_ENDED` after history has it, longer than a
        listing takes."""
        open_runs, _ = await asyncio.gather(self._open_runs.all(), self._history.refresh())
        return open_runs

    def in_memory(self, run_id: str) -> Run | None:
        active = self._open_runs.owned.get(run_id)
        if active is not None:
            return active.run
        return self._archive.get(run_id) or self._history.get(run_id)


async def _of_names(
    ended: Mapping[str, EndedRun], open_runs: Sequence[tuple[str, Run]], names: Collection[str]
) -> dict[str, AnyRun]:
    if len(names) <= FEW:
        return _newest(ended, open_runs, names)
    return await asyncio.to_thread(_newest, ended, open_runs, names)


def _newest(
    ended: Mapping[str, EndedRun], open_runs: Sequence[tuple[str, Run]], names: Collection[str]
) -> dict[str, AnyRun]:
    newest: dict[str, AnyRun] = {}
    for name in names:
        # Looked up once: the event loop may clear the index meanwhile.
        if (latest := ended.get(name)) is not None:
            newest[name] = latest
    wanted = frozenset(names) if open_runs else frozenset()
    for name, run in open_runs:
        current = newest.get(name)
        if name in wanted and (current is None or _is_newer(run, current)):
            newest[name] = run
    return newest


def _is_newer(run: Run, current: AnyRun) -> bool:
    return (position(current), current.version) < (position(run), run.version)


def _read(newest: Mapping[str, AnyRun]) -> dict[str, Run]:
    # A sync is the newest run of each of its paths.
    distinct = {run.run_id: run for run in newest.values() if isinstance(run, EndedRun)}
    read = {run_id: run.read() for run_id, run in distinct.items()}
    return {
        name: read[run.run_id] if isinstance(run, EndedRun) else run for name, run in newest.items()
    }
