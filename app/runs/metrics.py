"""The Prometheus series of runs."""

from collections.abc import Callable
from functools import partial

from app.runs.model import Run, RunKind, RunState
from app.telemetry.metrics import Metrics


def count_ended_run(metrics: Metrics, run: Run) -> None:
    cause = run.failure.cause.value if run.failure else ""
    metrics.runs.labels(run.kind.value, run.state.value, cause).inc()
    if run.started_at and run.finished_at:
        seconds = (run.finished_at - run.started_at).total_seconds()
        metrics.run_seconds.labels(run.kind.value).observe(seconds)
    if run.output and run.output.rows_written:
        metrics.run_rows.labels(run.kind.value).inc(run.output.rows_written)


def watch_open_runs(
    metrics: Metrics, counts: Callable[[], dict[tuple[RunKind, RunState], int]]
) -> None:
    def count(kind: RunKind, state: RunState) -> float:
        return counts()[kind, state]

    for kind, state in counts():
        gauge = metrics.runs_open.labels(kind.value, state.value)
        gauge.set_function(partial(count, kind, state))
