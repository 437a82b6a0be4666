"""The response bodies of `/spark`, in the operator's words, with nothing that was not verified."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.data_transformation.engine import SparkWork, WriteMode
from app.data_transformation.states import SparkState
from app.failure import Failure
from app.runs.cancellers import continues_for
from app.runs.model import Run


class Submitted(BaseModel):
    run_id: str
    spark_application: str
    status: str
    source: str | None
    destination: str
    destination_table: str
    sql: str
    namespace: str
    message: str

    @classmethod
    def of(
        cls, run: Run, *, waited: bool, api_path: str, namespace: str, catalog: str, bucket: str
    ) -> "Submitted":
        work = SparkWork.model_validate(run.spec)
        return cls(
            run_id=run.run_id,
            spark_application=_application(run),
            status=run.state.value if waited else "submitted",
            source=f"s3://{bucket}/{work.source_path}" if work.source_path else None,
            destination=f"{catalog}.{work.destination}",
            destination_table=work.destination,
            sql=work.sql,
            namespace=namespace,
            message=_message(run, waited, api_path),
        )


class Status(BaseModel):
    run_id: str
    spark_application: str
    namespace: str
    state: SparkState
    error_message: str | None
    driver_pod: str | None
    executor_count: int | None
    creation_time: datetime
    spark_version: str | None
    image: str | None
    failure: Failure | None = None

    @classmethod
    def of(cls, run: Run, namespace: str) -> "Status":
        return cls(
            run_id=run.run_id,
            spark_application=_application(run),
            namespace=namespace,
            state=SparkState.of(run),
            error_message=_error(run),
            driver_pod=_driver_pod(run),
            executor_count=run.engine.get("executor_count"),
            creation_time=run.created_at,
            spark_version=run.engine.get("spark_version"),
            image=run.engine.get("image"),
            failure=run.failure,
        )


class Logs(BaseModel):
    run_id: str
    driver_pod: str | None
    logs: str

    @classmethod
    def of(cls, run: Run, text: str) -> "Logs":
        return cls(run_id=run.run_id, driver_pod=_driver_pod(run), logs=text)


class Event(BaseModel):
    type: str
    reason: str
    message: str
    first_seen: datetime
    last_seen: datetime
    count: int
    object: str


class Events(BaseModel):
    run_id: str
    events: list[Event]

    @classmethod
    def of(cls, run: Run) -> "Events":
        return cls(
            run_id=run.run_id,
            events=[
                Event(
                    type=event.type,
                    reason=event.reason,
                    message=event.message,
                    first_seen=event.at,
                    last_seen=event.at,
                    count=1,
                    object=f"run/{run.run_id}",
                )
                for event in run.events
            ],
        )


class Timing(BaseModel):
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


class DriverSpec(BaseModel):
    cores: int
    memory: str


class ExecutorSpec(DriverSpec):
    instances: int


class ResourceSpecs(BaseModel):
    """The requested resources."""

    driver: DriverSpec
    executor: ExecutorSpec


class SparkInfo(BaseModel):
    application_id: str | None
    spark_version: str | None
    image: str | None
    submission_attempts: int
    execution_attempts: int


class UiAccess(BaseModel):
    """The address of Spark's own web UI. The embedded engine has none."""

    available: bool
    url: str | None


class Output(BaseModel):
    """The destination as the run published it. `rows_written` counts only the rows of this run."""

    rows: int | None
    rows_written: int | None
    files: int | None
    bytes: int | None
    snapshot_id: str | None

    @classmethod
    def of(cls, run: Run) -> "Output | None":
        if run.output is None:
            return None
        return cls.model_validate(run.output, from_attributes=True)


class SparkMetrics(BaseModel):
    run_id: str
    spark_application: str
    timing: Timing
    resource_specs: ResourceSpecs
    spark_info: SparkInfo
    ui_access: UiAccess
    output: Output | None

    @classmethod
    def of(cls, run: Run) -> "SparkMetrics":
        requested = SparkWork.model_validate(run.spec).resources
        seconds = None
        if run.started_at and run.finished_at:
            seconds = (run.finished_at - run.started_at).total_seconds()
        return cls(
            run_id=run.run_id,
            spark_application=_application(run),
            timing=Timing(
                created_at=run.created_at,
                started_at=run.started_at,
                finished_at=run.finished_at,
                duration_seconds=seconds,
            ),
            resource_specs=ResourceSpecs(
                driver=DriverSpec(cores=requested.driver_cores, memory=requested.driver_memory),
                executor=ExecutorSpec(
                    cores=requested.executor_cores,
                    memory=requested.executor_memory,
                    instances=requested.executor_instances,
                ),
            ),
            spark_info=SparkInfo(
                application_id=run.engine.get("application_id"),
                spark_version=run.engine.get("spark_version"),
                image=run.engine.get("image"),
                submission_attempts=run.engine.get("submission_attempts", run.attempt),
                execution_attempts=run.engine.get("execution_attempts", run.attempt),
            ),
            ui_access=UiAccess(available=False, url=run.engine.get("ui_url")),
            output=Output.of(run),
        )


class Job(BaseModel):
    run_id: str
    spark_application: str
    state: SparkState
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    destination_table: str
    namespace: str
    write_mode: WriteMode
    error_message: str | None

    @classmethod
    def of(cls, run: Run, namespace: str) -> "Job":
        work = SparkWork.model_validate(run.spec)
        return cls(
            run_id=run.run_id,
            spark_application=_application(run),
            state=SparkState.of(run),
            created_at=run.created_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            destination_table=work.destination,
            namespace=namespace,
            write_mode=work.write_mode,
            error_message=_error(run),
        )


class Jobs(BaseModel):
    jobs: list[Job]
    total_count: int
    filter_applied: str | None

    @classmethod
    def of(cls, runs: list[Run], total_count: int, state: str | None, namespace: str) -> "Jobs":
        jobs = [Job.of(run, namespace) for run in runs]
        return cls(jobs=jobs, total_count=total_count, filter_applied=state)


class Cancelled(BaseModel):
    run_id: str
    spark_application: str
    state: SparkState
    message: str
    cancel_requested_at: datetime | None = Field(
        description="The time of the request. null if the run had already ended, or continues for "
        "other callers."
    )

    @classmethod
    def of(cls, run: Run, subject: str) -> "Cancelled":
        if run.cancel_requested_at is not None:
            message = "Cancel was requested."
        elif run.state.is_terminal:
            message = f"The run had already ended: {run.state}."
        else:
            message = f"You withdrew. {continues_for(run, subject)}"
        return cls(
            run_id=run.run_id,
            spark_application=_application(run),
            state=SparkState.of(run),
            message=message,
            cancel_requested_at=run.cancel_requested_at,
        )


def _application(run: Run) -> str:
    return f"sql-exec-{run.run_id}"


def _driver_pod(run: Run) -> str | None:
    """Returns the driver pod, if the engine has seen one."""
    pod: str | None = run.engine.get("driver_pod")
    return pod


def _error(run: Run) -> str | None:
    return run.failure.message if run.failure else None


def _message(run: Run, waited: bool, api_path: str) -> str:
    if run.failure and waited:
        return run.failure.message
    if run.state.is_terminal:
        return f"The run has ended: {run.state}."
    path = f"{api_path}/spark/transform/{run.run_id}/status"
    return f"The job is recorded. Follow it at {path}."
