"""Defines the record of a transformation and what follows from it alone."""

import hashlib
import json
from enum import StrEnum
from typing import assert_never
from uuid import NAMESPACE_URL, uuid5

from app.lakehouse.records.state import Record
from app.runs.model import RunState
from app.runs.pages import AnyRun
from app.warehouse.definitions import Definition
from app.warehouse.engine import IncrementalStrategy, Materialization, ModelSpec

PRODUCT_PREFIX = "dp_"
"""Prefix of the tables of data products, and of no others."""


class TransformationStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, run: AnyRun | None) -> "TransformationStatus":
        """Return the status: pending without a run (after a crash between record and first run)."""
        match run.state if run else None:
            case None | RunState.QUEUED:
                return cls.PENDING
            case RunState.RUNNING:
                return cls.RUNNING
            case RunState.SUCCEEDED:
                return cls.COMPLETED
            case RunState.FAILED:
                return cls.FAILED
            case RunState.CANCELLED:
                return cls.CANCELLED
            case unknown:
                assert_never(unknown)


class TransformationDoc(Definition):
    """`sql_query` is the client's text, `guarded_sql` the canonical SQL that passed the guard."""

    schema_name: str
    sql_query: str
    guarded_sql: str
    materialization: Materialization
    incremental_strategy: IncrementalStrategy | None
    unique_key: tuple[str, ...]
    description: str
    tags: tuple[str, ...]
    owner: str

    @property
    def table_name(self) -> str:
        """Return the name in lower case, as Trino folds it and the embedded catalog requires it."""
        return self.name.lower()

    @property
    def table(self) -> str:
        return f"{self.schema_name}.{self.table_name}"

    def model(self, *, full_refresh: bool = False, replace: bool = False) -> ModelSpec:
        return ModelSpec(
            schema_name=self.schema_name,
            name=self.table_name,
            sql=self.guarded_sql,
            materialization=self.materialization,
            incremental_strategy=self.incremental_strategy,
            unique_key=self.unique_key,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
            full_refresh=full_refresh,
            replace=replace,
        )


TransformationRecord = Record[TransformationDoc]


def transformation_id(name: str) -> str:
    """Return the id. It depends only on the name, so that two concurrent requests create one."""
    return str(uuid5(NAMESPACE_URL, f"asgard:transformation:{name}"))


def fingerprint(spec: ModelSpec) -> str:
    work = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(work.encode()).hexdigest()
