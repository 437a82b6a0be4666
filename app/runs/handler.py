"""The port of the supervisor: how a kind of run is executed, cancelled and reconciled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import AsgardError
from app.lakehouse.outputs import RunOutput
from app.runs.model import Run, RunInput


class RunStopped(Exception):
    """Raised into a handler that must not go on: let it pass."""


class Superseded(RunStopped):
    """Another replica owns this run now; nothing that this process does may count."""


class CancelRequested(RunStopped):
    """Someone wished to cancel, and the handler had not yet published."""


class ReconciledAsFailed(Exception):
    """Raised by `reconcile`: the run failed on its own while no gateway followed it."""

    def __init__(self, error: AsgardError, engine_state: str | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.engine_state = engine_state


@dataclass(frozen=True)
class RunResult:
    """What a run did. None leaves what `progress` already recorded."""

    output: RunOutput | None
    inputs: tuple[RunInput, ...] | None = None
    engine: Mapping[str, Any] | None = None
    engine_state: str | None = None


class RunControl(Protocol):
    """Given to `RunHandler.execute`: how a run reports and asks whether it may go on."""

    @property
    def run(self) -> Run:
        """The run as it stands now."""

    async def progress(
        self,
        *,
        engine_state: str | None = None,
        inputs: tuple[RunInput, ...] | None = None,
        engine: Mapping[str, Any] | None = None,
        reason: str | None = None,
        message: str | None = None,
        warning: bool = False,
    ) -> None:
        """One durable write (about 3 ms). `engine` is merged; `reason` or `message` add an event.

        Waits out an outage of S3. Raises `Superseded`.
        """

    def log(self, text: str) -> None:
        """Adds to the run's log: readable at once, archived at the end. Never log a secret."""

    async def fence(self) -> None:
        """Call just before publishing. Raises `Superseded` or `CancelRequested`."""


class RunHandler(Protocol):
    async def execute(self, run: Run, control: RunControl) -> RunResult:
        """Runs to the end. Raises an `AsgardError` on failure.

        When the run is cancelled or times out, its task is cancelled: stop the engine in
        `finally`. What the run did all the same is then asked of `reconcile`.
        """

    async def reconcile(self, run: Run) -> RunResult | None:
        """Finds out what a run did that has no known end: after a crash, a cancel, a time-out.

        Stops and cleans what the run left behind and looks for its id in the target's
        snapshots. `RunResult`: it took effect. None: it did not and never will. Idempotent.
        Raises `EngineUnreachable` when it cannot know yet; it is then asked again.
        """

    def final_engine_state(self, ended: Run) -> str | None:
        """The engine's word for how this run ended: what `progress` recorded last may be that it
        runs, since nobody follows an engine that is stopped. None: it never gave one."""
