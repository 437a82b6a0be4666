"""The HTTP routes of `/spark`: bronze → silver."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.data_transformation.schemas import TransformRequest
from app.data_transformation.service import SparkService
from app.data_transformation.views import (
    Cancelled,
    Events,
    Jobs,
    Logs,
    SparkMetrics,
    Status,
    Submitted,
)
from app.http.dependencies import CallerDep, component, set_replayed
from app.http.raw_body import BriefRoute
from app.runs.waiting import AsyncSubmissionDep, WaitDep, accepted

router = APIRouter(prefix="/spark", tags=["spark"], route_class=BriefRoute)


def service(request: Request) -> SparkService:
    return component(request, SparkService)


ServiceDep = Annotated[SparkService, Depends(service)]
RunId = Annotated[str, Path(max_length=64, description="Id of the run.")]


@router.post("/transform", summary="Run Spark SQL and write its result as a silver table")
async def submit_spark_job(
    body: TransformRequest,
    spark: ServiceDep,
    submission: AsyncSubmissionDep,
    wait: WaitDep,
    response: Response,
) -> Submitted:
    """Returns once the job is recorded. With `wait_seconds`, waits for the job to end."""
    run, claim = await spark.submit_transformation(body, submission)
    accepted(response, run, wait)
    set_replayed(response, claim)
    return Submitted.of(
        run,
        waited=wait.explicit,
        api_path=wait.api_path,
        namespace=spark.namespace,
        catalog=spark.catalog_name,
        bucket=spark.bucket,
    )


@router.get("/transform/jobs", summary="List the newest jobs")
async def list_spark_jobs(
    spark: ServiceDep,
    limit: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of jobs to return.")
    ] = 20,
    status_filter: Annotated[
        str | None,
        Query(max_length=40, description="Only jobs in this state, for example `RUNNING`."),
    ] = None,
) -> Jobs:
    """Lists the newest jobs. `/runs?kind=spark` has all of them."""
    runs, total = await spark.jobs(limit, status_filter)
    return Jobs.of(runs, total, status_filter, spark.namespace)


@router.get("/transform/{run_id}/status", summary="Get the state of a job")
async def get_spark_job_status(run_id: RunId, spark: ServiceDep) -> Status:
    """Returns the state of a job, and why it failed."""
    return Status.of(await spark.get(run_id), spark.namespace)


@router.get("/transform/{run_id}/logs", summary="Get the log of a job, even after the job is gone")
async def get_spark_job_logs(
    run_id: RunId,
    spark: ServiceDep,
    tail_lines: Annotated[
        int | None, Query(ge=1, le=100_000, description="Only the last lines of the log.")
    ] = None,
) -> Logs:
    """Returns the driver's log. It is kept after the driver is gone."""
    return Logs.of(*await spark.logs(run_id, tail_lines))


@router.get("/transform/{run_id}/events", summary="List the events of a job")
async def list_spark_job_events(run_id: RunId, spark: ServiceDep) -> Events:
    """Lists what happened to the job, oldest first."""
    return Events.of(await spark.get(run_id))


@router.get("/transform/{run_id}/metrics", summary="Get the times, resources and output of a job")
async def get_spark_job_metrics(run_id: RunId, spark: ServiceDep) -> SparkMetrics:
    """Returns the times of a job, the resources it asked for and what it wrote."""
    return SparkMetrics.of(await spark.get(run_id))


@router.post("/transform/{run_id}/cancel", summary="Cancel a job")
async def cancel_spark_job(run_id: RunId, spark: ServiceDep, caller: CallerDep) -> Cancelled:
    """Requests cancellation. If the job finishes first, its result stands."""
    return Cancelled.of(await spark.cancel(run_id, caller), caller.subject)
