"""The bodies of `/spark`."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.bodies import Body
from app.data_transformation.engine import WriteMode
from app.data_transformation.resources import SparkResources
from app.data_transformation.states import SparkState
from app.failure import Failure

DESTINATION = r"^([a-zA-Z_][a-zA-Z0-9_]{0,99}\.)?[a-zA-Z_][a-zA-Z0-9_]{0,99}$"


class TransformRequest(SparkResources, Body):
    """Bronze → silver: `sql` is Spark SQL whose last statement is the SELECT to write."""

    model_config = ConfigDict(
        frozen=True,
        # A misspelt write_mode would overwrite a table.
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "sql": "SELECT * FROM parquet.`flights` WHERE month = 1",
                    "destination_table": "january_flights",
                    "write_mode": "overwrite",
                    "executor_instances": 1,
                    "executor_memory": "512m",
                }
            ]
        },
    )

    sql: Annotated[str, StringConstraints(min_length=1)]
    source_path: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    destination_table: Annotated[str, StringConstraints(pattern=DESTINATION)] | None = None
    write_mode: WriteMode = WriteMode.OVERWRITE


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


class Logs(BaseModel):
    run_id: str
    driver_pod: str | None
    logs: str


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


class SparkMetrics(BaseModel):
    run_id: str
    spark_application: str
    timing: Timing
    resource_specs: ResourceSpecs
    spark_info: SparkInfo
    ui_access: UiAccess
    output: Output | None


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


class Jobs(BaseModel):
    jobs: list[Job]
    total_count: int
    filter_applied: str | None


class Cancelled(BaseModel):
    run_id: str
    spark_application: str
    state: SparkState
    message: str
    cancel_requested_at: datetime | None = Field(
        description="The time of the request. null if the run had already ended, or continues for "
        "other callers."
    )
