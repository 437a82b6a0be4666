"""Lets callers join, withdraw from and cancel an open run, whichever replica owns it."""

from app.caller import Caller
from app.runs.cancellers import (
    Cancellers,
    continues_for,
    has_withdrawn,
    other_callers,
    remembers,
    with_joined,
    with_withdrawn,
)
from app.runs.handler import Superseded
from app.runs.model import Run
from app.runs.open_runs import OpenRuns
from app.runs.owned_run import OwnedRun, Step, Stop, now, with_event
from app.runs.reader import RunReader
from app.runs.store import RunStore


class AlreadyEnded(Exception):
    pass


class NothingToWrite(Exception):
    pass


class RunCallers:
    def __init__(
        self,
        runs: RunStore,
        open_runs: OpenRuns,
        reader: RunReader,
        cancellers: Cancellers,
    ) -> None:
        self._runs = runs
        self._owned = open_runs.owned
        self._reader = reader
        self._cancellers = cancellers

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        while True:
            active = self._owned.get(run_id)
            run = active.run if active is not None else await self._reader.get(run_id)
            ends_at_once = await self._require(run, caller)
            if run.state.is_terminal or run.cancel_requested_at is not None:
                return run

            def step(newest: Run, ends_at_once: bool = ends_at_once) -> Run:
                return _cancelled(newest, caller.subject, ends_at_once)

            try:
                if active is not None:
                    return await self._change_own(active, step)
                if await self._change_elsewhere(run_id, step):
                    return await self._reader.get(run_id)
            except NothingToWrite:
                return await self._reader.get(run_id)
            except (AlreadyEnded, Superseded):
                continue

    async def join(self, run: Run, subject: str) -> Run:
        """Record the caller in the run itself, where every replica finds it."""

        def step(newest: Run) -> Run:
            if newest.state.is_terminal or remembers(newest, subject):
                raise NothingToWrite
            message = f"{subject} requested the same work and joined the run."
            return with_event(with_joined(newest, subject), "Joined", message)

        while not (run.state.is_terminal or remembers(run, subject)):
            active = self._owned.get(run.run_id)
            try:
                if active is not None:
                    return await active.change(step, wait_for_storage=False)
                await self._change_elsewhere(run.run_id, step)
            except (NothingToWrite, Superseded):
                pass
            run = await self._reader.get(run.run_id)
        return run

    async def _require(self, run: Run, caller: Caller) -> bool:
        # Another replica may just have recorded that a caller joined.
        stored = await self._runs.load(run.run_id)
        return await self._cancellers.ends_at_once(stored.run if stored else run, caller)

    async def _change_own(self, active: OwnedRun, step: Step) -> Run:
        run = await active.change(step, wait_for_storage=False)
        if run.cancel_requested_at is not None:
            active.stop(Stop.CANCEL)
        return run

    async def _change_elsewhere(self, run_id: str, step: Step) -> bool:
        """Return False if the run changed meanwhile. Its owner sees the change within a second."""
        from app.lakehouse.storage import PreconditionFailed

        stored = await self._runs.load(run_id)
        if stored is None:
            return False
        try:
            await self._runs.replace(step(stored.run), stored.etag)
        except PreconditionFailed:
            return False
        return True


def _cancelled(run: Run, subject: str, ends_at_once: bool) -> Run:
    """Return the next version of the run, which ends if no other caller wants it."""
    if run.state.is_terminal:
        raise AlreadyEnded
    if run.cancel_requested_at is not None:
        raise NothingToWrite
    if ends_at_once or not other_callers(run, subject):
        requested = run.model_copy(update={"cancel_requested_at": now()})
        return with_event(
            requested, "CancelRequested", f"{subject} requested cancellation of the run."
        )
    if has_withdrawn(run, subject):
        raise NothingToWrite
    message = f"{subject} withdrew from the run. {continues_for(run, subject)}"
    return with_event(with_withdrawn(run, subject), "Withdrawn", message)
