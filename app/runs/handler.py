"""The supervisor's port for executing, cancelling and reconciling one kind of run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import AsgardError
from app.lakehouse.outputs import RunOutput
from app.runs.model import Run, RunInput


class RunStopped(Exception):
    """Raised into a handler that must stop. Let it propagate."""


class Superseded(RunStopped):
    """Another replica owns this run now. Nothing that this process still does may take effect."""


class CancelRequested(RunStopped):
    """A caller requested cancellation before the handler published."""


class ReconciledAsFailed(Exception):
    """Raised by `reconcile`: the run failed on its own while no gateway followed it."""

    def __init__(self, error: AsgardError, engine_state: str | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.engine_state = engine_state


@dataclass(frozen=True)
class Warned:
    """An event that warns about a run that took effect."""

    reason: str
    message: str


@dataclass(frozen=True)
class RunResult:
    """The result of a run. None keeps what `progress` already recorded."""

    output: RunOutput | None
    inputs: tuple[RunInput, ...] | None = None
    engine: Mapping[str, Any] | None = None
    engine_state: str | None = None
    warnings: tuple[Warned, ...] = ()
    """Warnings from `reconcile`, which has no `RunControl` to report them."""


class RunControl(Protocol):
    """Lets `RunHandler.execute` report progress and check whether the run may continue."""

    @property
    def run(self) -> Run:
        """Return the current state of the run."""

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
        """Record changes in one durable write (about 3 ms). `engine` is merged. `reason` or
        `message` adds an event.

        Waits until an outage of S3 is over. Raises `Superseded`.
        """

    def log(self, text: str) -> None:
        """Add an entry to the run's log, which is readable at once and archived at the end. Its
        further lines are indented. Never log a secret."""

    def log_lines(self, text: str) -> None:
        """Add lines of another program's log, as they are."""

    async def fence(self) -> None:
        """Check ownership just before publishing. Raises `Superseded` or `CancelRequested`."""


class RunHandler(Protocol):
    async def execute(self, run: Run, control: RunControl) -> RunResult:
        """Execute the run to its end. Raises an `AsgardError` on failure.

        When the run is cancelled or times out, its task is cancelled: stop the engine in
        `finally`. `reconcile` then finds out what the run did anyway.
        """

    async def reconcile(self, run: Run) -> RunResult | None:
        """Find out what a run did whose outcome is unknown: after a crash, a cancel or a timeout.

        Stops and removes what the run left behind, and looks for its id in the target's
        snapshots. Returns a `RunResult` if the run took effect, or None if it did not and never
        will. Idempotent. Raises `EngineUnreachable` if that is not yet known. The supervisor then
        tries again.
        """

    def final_engine_state(self, ended: Run) -> str | None:
        """Return the engine's state for the outcome of this run, or None if it never had one. The
        last state that `progress` recorded may be a running one, since nothing follows an engine
        that is being stopped."""
