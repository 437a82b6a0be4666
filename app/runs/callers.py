"""Lets callers join and cancel an open run, on whichever replica it is."""

from collections.abc import Awaitable, Callable

from app.caller import Caller
from app.runs.active import ActiveRun, Step, Stop, now, with_event
from app.runs.cancellers import Cancellers, is_asker, remembers, with_joined
from app.runs.driver import Superseded
from app.runs.model import Run
from app.runs.store import RunStore
from app.runs.supervisor import Supervisor


class AlreadyEnded(Exception):
    pass


class NothingToWrite(Exception):
    pass


class RunCallers:
    def __init__(
        self,
        runs: RunStore,
        supervisor: Supervisor,
        get: Callable[[str], Awaitable[Run]],
        cancellers: Cancellers,
    ) -> None:
        self._runs = runs
        self._supervisor = supervisor
        self._get = get
        self._cancellers = cancellers

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        while True:
            active = self._supervisor.active.get(run_id)
            run = active.run if active is not None else await self._get(run_id)
            await self._require(run, caller)
            if run.state.is_terminal or run.cancel_requested_at is not None:
                return run
            try:
                if active is not None:
                    return await self._cancel_own(active, caller)
                if await self._change_elsewhere(run_id, _wish, "CancelRequested", _asked(caller)):
                    return await self._get(run_id)
            except (AlreadyEnded, Superseded):
                continue

    async def join(self, run: Run, subject: str) -> Run:
        """Record the caller in the run itself, where every replica finds it."""
        said = f"{subject} asked for the same work and joined the run."

        def step(newest: Run) -> Run:
            if newest.state.is_terminal or remembers(newest, subject):
                raise NothingToWrite
            return with_joined(newest, subject)

        while not (run.state.is_terminal or remembers(run, subject)):
            active = self._supervisor.active.get(run.run_id)
            try:
                if active is not None:
                    return await active.change(step, reason="Joined", message=said, patient=False)
                await self._change_elsewhere(run.run_id, step, "Joined", said)
            except (NothingToWrite, Superseded):
                pass
            run = await self._get(run.run_id)
        return run

    async def _require(self, run: Run, caller: Caller) -> None:
        if not is_asker(run, caller.subject):
            # Another replica may have noted a moment ago that this caller joined.
            stored = await self._runs.load(run.run_id)
            await self._cancellers.require(stored.run if stored else run, caller)

    async def _cancel_own(self, active: ActiveRun, caller: Caller) -> Run:
        run = await active.change(
            _wish, reason="CancelRequested", message=_asked(caller), patient=False
        )
        active.stop(Stop.CANCEL)
        return run

    async def _change_elsewhere(self, run_id: str, step: Step, reason: str, message: str) -> bool:
        """Return False if the run changed meanwhile. Its owner sees the change within a second."""
        from app.lakehouse.storage import PreconditionFailed

        stored = await self._runs.load(run_id)
        if stored is None:
            return False
        try:
            await self._runs.replace(with_event(step(stored.run), reason, message), stored.etag)
        except PreconditionFailed:
            return False
        return True


def _wish(run: Run) -> Run:
    if run.state.is_terminal:
        raise AlreadyEnded
    return run.model_copy(update={"cancel_requested_at": run.cancel_requested_at or now()})


def _asked(caller: Caller) -> str:
    return f"{caller.subject} asked to cancel the run."
