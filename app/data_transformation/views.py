"""The responses of `/spark`, in the operator's words, with nothing that was not verified."""

from app.data_transformation.engine import SparkWork
from app.data_transformation.schemas import (
    Cancelled,
    DriverSpec,
    Event,
    Events,
    ExecutorSpec,
    Job,
    Output,
    ResourceSpecs,
    SparkInfo,
    SparkMetrics,
    Status,
    Submitted,
    Timing,
    UiAccess,
)
from app.data_transformation.states import SparkState
from app.runs.cancellers import continues_for
from app.runs.model import Run


def application(run: Run) -> str:
    return f"sql-exec-{run.run_id}"


def submitted(
    run: Run, *, waited: bool, api_path: str, namespace: str, catalog: str, bucket: str
) -> Submitted:
    work = SparkWork.model_validate(run.spec)
    return Submitted(
        run_id=run.run_id,
        spark_application=application(run),
        status=run.state.value if waited else "submitted",
        source=f"s3://{bucket}/{work.source_path}" if work.source_path else None,
        destination=f"{catalog}.{work.destination}",
        destination_table=work.destination,
        sql=work.sql,
        namespace=namespace,
        message=_message(run, waited, api_path),
    )


def status(run: Run, namespace: str) -> Status:
    return Status(
        run_id=run.run_id,
        spark_application=application(run),
        namespace=namespace,
        state=SparkState.of(run),
        error_message=_error(run),
        driver_pod=driver_pod(run),
        executor_count=run.engine.get("executor_count"),
        creation_time=run.created_at,
        spark_version=run.engine.get("spark_version"),
        image=run.engine.get("image"),
        failure=run.failure,
    )


def driver_pod(run: Run) -> str | None:
    """Returns the driver pod, if the engine has seen one."""
    pod: str | None = run.engine.get("driver_pod")
    return pod


def events(run: Run) -> Events:
    return Events(
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


def metrics(run: Run) -> SparkMetrics:
    requested = SparkWork.model_validate(run.spec).resources
    seconds = None
    if run.started_at and run.finished_at:
        seconds = (run.finished_at - run.started_at).total_seconds()
    return SparkMetrics(
        run_id=run.run_id,
        spark_application=application(run),
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
        output=_output(run),
    )


def job(run: Run, namespace: str) -> Job:
    work = SparkWork.model_validate(run.spec)
    return Job(
        run_id=run.run_id,
        spark_application=application(run),
        state=SparkState.of(run),
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        destination_table=work.destination,
        namespace=namespace,
        write_mode=work.write_mode,
        error_message=_error(run),
    )


def cancelled(run: Run, subject: str) -> Cancelled:
    if run.cancel_requested_at is not None:
        message = "Cancel was requested."
    elif run.state.is_terminal:
        message = f"The run had already ended: {run.state}."
    else:
        message = f"You withdrew. {continues_for(run, subject)}"
    return Cancelled(
        run_id=run.run_id,
        spark_application=application(run),
        state=SparkState.of(run),
        message=message,
        cancel_requested_at=run.cancel_requested_at,
    )


def _output(run: Run) -> Output | None:
    if run.output is None:
        return None
    return Output.model_validate(run.output, from_attributes=True)


def _error(run: Run) -> str | None:
    return run.failure.message if run.failure else None


def _message(run: Run, waited: bool, api_path: str) -> str:
    if run.failure and waited:
        return run.failure.message
    if run.state.is_terminal:
        return f"The run has ended: {run.state}."
    path = f"{api_path}/spark/transform/{run.run_id}/status"
    return f"The job is recorded. Follow it at {path}."
