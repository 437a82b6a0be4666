"""Compares what Airbyte reports of a job with the files that the lake has.

Airbyte's numbers are only shown as its own (`rows_synced`). What a run wrote is counted.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from app.airbyte.engine import EngineJob
from app.airbyte.remote.mapping import AirbyteJob
from app.errors import EngineFailed
from app.failure import FailureCause
from app.lakehouse.bronze.manifests import Manifest, total_rows
from app.lakehouse.outputs import RunOutput
from app.runs.handler import RunControl
from app.runs.model import RunState

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectInfo

MOST_SHOWN = 3


class SyncRefused(EngineFailed):
    """A job succeeded according to Airbyte, but its files in the lake are missing or not valid."""

    cause = FailureCause.LOST


def rows_missing(
    job: AirbyteJob, following: AirbyteJob | None, paths: Iterable[str]
) -> SyncRefused:
    """`following` is the connection's next job, if it began before this check."""
    replaced = f" Job {following.id} has begun since and may have replaced it." if following else ""
    return SyncRefused(
        f"Airbyte's job {job.id} reports {job.rows} rows, but no new file in {', '.join(paths)} "
        f"has any.{replaced}",
        hint="Start the sync again."
        if following
        else "In Airbyte, check that the destination uses this bucket and these paths, and sets no "
        "path format itself. Then start the sync again.",
        retryable=True,
    )


def files_damaged(job: AirbyteJob, files: Sequence["ObjectInfo"]) -> SyncRefused:
    first, *others = files
    fault = "is not a valid Parquet file" if first.size else "is empty"
    shown = ", ".join(file.key for file in others[:MOST_SHOWN])
    left_out = len(others) - MOST_SHOWN
    more = f"{shown} and {left_out} more" if left_out > 0 else shown
    return SyncRefused(
        f"Airbyte's job {job.id} succeeded, but {first.key} {fault}."
        + (f" These files are also damaged: {more}." if others else ""),
        hint="Delete the damaged files. If a stream is incremental, also refresh or clear it in "
        "Airbyte, which does not read those rows again on its own. Then start the sync again.",
    )


def reported_by(job: AirbyteJob) -> dict[str, int | None]:
    """Returns Airbyte's own numbers, which are not verified."""
    return {"rows_synced": job.rows, "bytes_synced": job.bytes}


async def warn_of_missing_rows(
    job: AirbyteJob, output: RunOutput | None, control: RunControl
) -> None:
    """Warn if the files have fewer rows than Airbyte reports. More rows are normal, because files
    of previous failed syncs count, too."""
    counted = output.rows_written if output else None
    if counted is None or job.rows is None or counted >= job.rows:
        return
    message = f"Airbyte reports {job.rows} rows, but the new files contain only {counted}."
    control.log(f"WARN {message}")
    await control.progress(reason="RowsMissing", message=message, warning=True)


def verified_job(job: AirbyteJob, manifest: Manifest | None) -> EngineJob:
    """Returns a job that Airbyte ran by itself, as far as its files in the lake show it."""
    refused = manifest.refused if manifest else None
    if refused is not None and refused.job == str(job.id):
        state, error = RunState.FAILED, refused.message
    else:
        state, error = job.status.run_state, None
    commit = manifest.commit_of(job.name) if manifest else None
    return EngineJob(
        id=job.name,
        state=state,
        started_at=job.started_at,
        rows=total_rows(commit.streams) if commit else None,
        bytes=sum(stream.bytes for stream in commit.streams) if commit else None,
        error=error,
    )
