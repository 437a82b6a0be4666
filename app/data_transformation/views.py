"""The response bodies of `/spark`, in the operator's words, with nothing unverified."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.data_transformation.engine import SparkWork, WriteMode
from app.data_transformation.states import SparkState
from app.failure import Failure
from app.runs.cancellers import continues_for
from app.runs.model import Run


class Submitted(BaseModel):
    id: str = Field(description="Id of the run.")
    run_id: str = Field(description="Id of the run.")
    spark_application: str = Field(description="Name of the SparkApplication.")
    status: str = Field(
        description="`submitted`, or the state of the run for a caller that sent `wait_seconds`."
    )
    source: str | None = Field(
        description="Location of the source files, if the request named some."
    )
    destination: str = Field(description="The table, as `catalog.schema.table`.")
    destination_table: str = Field(description="The table, as `schema.table`.")
    sql: str = Field(description="The SQL of the job.")
    namespace: str = Field(description="Namespace of the SparkApplication.")
    message: str = Field(description="How to follow the job, or why it failed.")

    @classmethod
    def of(
        cls, run: Run, *, waited: bool, api_path: str, namespace: str, catalog: str, bucket: str
    ) -> "Submitted":
        work = SparkWork.model_validate(run.spec)
        return cls(
            id=run.run_id,
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
    run_id: str = Field(description="Id of the run.")
    spark_application: str = Field(description="Name of the SparkApplication.")
    namespace: str = Field(description="Namespace of the SparkApplication.")
    state: SparkState = Field(description="State of the job, in the operator's words.")
    error_message: str | None = Field(description="Why the job failed, if it did.")
    driver_pod: str | None = Field(description="Name of the driver's pod, once there is one.")
    executor_count: int | None = Field(
        description="Number of running executors, if the engine reports it."
    )
    creation_time: datetime = Field(description="When the run was recorded.")
    spark_version: str | None = Field(description="Version of Spark.")
    image: str | None = Field(description="Image of the driver and the executors.")
    failure: Failure | None = Field(
        None, description="Why the job failed, with its cause and a hint."
    )

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
    run_id: str = Field(description="Id of the run.")
    driver_pod: str | None = Field(description="Name of the driver's pod.")
    logs: str = Field(description="The driver's log.")

    @classmethod
    def of(cls, run: Run, text: str) -> "Logs":
        return cls(run_id=run.run_id, driver_pod=_driver_pod(run), logs=text)


class Event(BaseModel):
    type: str = Field(description="`Normal` or `Warning`.")
    reason: str = Field(description="What happened, as one word.")
    message: str = Field(description="What happened, as a sentence.")
    first_seen: datetime = Field(description="When it first happened.")
    last_seen: datetime = Field(description="When it last happened.")
    count: int = Field(description="How often it happened.")
    object: str = Field(description="The object that it happened to.")


class Events(BaseModel):
    run_id: str = Field(description="Id of the run.")
    events: list[Event] = Field(description="The events, oldest first.")

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
    created_at: datetime = Field(description="When the run was recorded.")
    started_at: datetime | None = Field(description="When the engine started the job.")
    finished_at: datetime | None = Field(description="When the run ended.")
    duration_seconds: float | None = Field(
        description="Seconds from start to end. Null until the end."
    )


class DriverSpec(BaseModel):
    cores: int = Field(description="Number of cores.")
    memory: str = Field(description="Memory, for example `512m`.")


class ExecutorSpec(DriverSpec):
    instances: int = Field(description="Number of executors.")


class ResourceSpecs(BaseModel):
    """The requested resources."""

    driver: DriverSpec = Field(description="Resources of the driver.")
    executor: ExecutorSpec = Field(description="Resources of each executor.")


class SparkInfo(BaseModel):
    application_id: str | None = Field(description="Spark's own id of the application.")
    spark_version: str | None = Field(description="Version of Spark.")
    image: str | None = Field(description="Image of the driver and the executors.")
    submission_attempts: int = Field(description="How often the job was submitted.")
    execution_attempts: int = Field(description="How often the job was started.")


class UiAccess(BaseModel):
    """The address of Spark's own web UI. The embedded engine has none."""

    available: bool = Field(description="Whether the web UI can be reached through Asgard.")
    url: str | None = Field(description="Address of the web UI in the cluster.")


class Output(BaseModel):
    """The destination as the run published it. `rows_written` counts only the rows of this run."""

    rows: int | None = Field(description="Rows of the table after the run.")
    rows_written: int | None = Field(description="Rows that this run wrote.")
    files: int | None = Field(description="Data files of the table after the run.")
    bytes: int | None = Field(description="Size of the table after the run, in bytes.")
    snapshot_id: str | None = Field(
        description="Iceberg's id of the snapshot that the run published."
    )

    @classmethod
    def of(cls, run: Run) -> "Output | None":
        if run.output is None:
            return None
        return cls.model_validate(run.output, from_attributes=True)


class SparkMetrics(BaseModel):
    run_id: str = Field(description="Id of the run.")
    spark_application: str = Field(description="Name of the SparkApplication.")
    timing: Timing = Field(description="Times of the job.")
    resource_specs: ResourceSpecs = Field(description="Resources that the request asked for.")
    spark_info: SparkInfo = Field(description="What Spark reports about itself.")
    ui_access: UiAccess = Field(description="Where Spark's web UI is.")
    output: Output | None = Field(description="What the job wrote. Null until it succeeds.")

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
    id: str = Field(description="Id of the run.")
    run_id: str = Field(description="Id of the run.")
    spark_application: str = Field(description="Name of the SparkApplication.")
    state: SparkState = Field(description="State of the job, in the operator's words.")
    created_at: datetime = Field(description="When the run was recorded.")
    started_at: datetime | None = Field(description="When the engine started the job.")
    finished_at: datetime | None = Field(description="When the run ended.")
    destination_table: str = Field(description="The table, as `schema.table`.")
    namespace: str = Field(description="Namespace of the SparkApplication.")
    write_mode: WriteMode = Field(
        description="Whether the job replaces the table or appends to it."
    )
    error_message: str | None = Field(description="Why the job failed, if it did.")

    @classmethod
    def of(cls, run: Run, namespace: str) -> "Job":
        work = SparkWork.model_validate(run.spec)
        return cls(
            id=run.run_id,
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
    items: list[Job] = Field(description="The same list as `jobs`: every list has `items`.")
    jobs: list[Job] = Field(description="The jobs, newest first.")
    total_count: int = Field(description="Number of jobs that match.")
    filter_applied: str | None = Field(description="The `status_filter` of the request.")

    @classmethod
    def of(cls, runs: list[Run], total_count: int, state: str | None, namespace: str) -> "Jobs":
        jobs = [Job.of(run, namespace) for run in runs]
        return cls(items=jobs, jobs=jobs, total_count=total_count, filter_applied=state)


class Cancelled(BaseModel):
    run_id: str = Field(description="Id of the run.")
    spark_application: str = Field(description="Name of the SparkApplication.")
    state: SparkState = Field(description="State of the job, in the operator's words.")
    message: str = Field(description="The effect of the request.")
    cancel_requested_at: datetime | None = Field(
        description="The time of the request. Null if the run had already ended, or continues for "
        "other callers."
    )

    @classmethod
    def of(cls, run: Run, subject: str) -> "Cancelled":
        if run.cancel_requested_at is not None:
            message = "Cancellation was requested."
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
