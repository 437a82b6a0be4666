"""The Spark job: reads files, runs SQL, writes one Iceberg table.

Plain PySpark that imports nothing from Asgard, so that the same file is what `spark-submit` gets
(`job.py s3a://bucket/job.json`, or a local path) and what the embedded worker calls (only
`compute`, which writes no table). The job description is JSON:

    {"run_id": "…",
     "sources": [{"view": "…", "format": "parquet", "paths": ["s3a://…"]}],
     "statements": ["CREATE OR REPLACE TEMPORARY VIEW …"],
     "select": "SELECT …",
     "reads": [["iceberg", "silver", "t"], ["a_view"]],
     "destination": "iceberg.silver.t",
     "mode": "create" | "overwrite" | "append",
     "align_with": null | "iceberg.silver.t"}

`reads` lists the tables and views that the SQL may read. Earlier gateways do not give it.
`align_with` names a table whose columns the result must fit; it is given for appends.
A job that fails says why in a line of its log that begins with `asgard: failed`.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RUN_ID_PROPERTY = "asgard.run_id"
READ_OPTIONS: dict[str, dict[str, str]] = {
    "csv": {"header": "true", "inferSchema": "true"},
    "parquet": {"mergeSchema": "true"},
    "json": {},
}
WIDER = {
    "tinyint": {"smallint", "int", "bigint"},
    "smallint": {"int", "bigint"},
    "int": {"bigint"},
    "float": {"double"},
}
DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
FAILED = "asgard: failed "
LONGEST = 8000
LONGEST_NAME = 200
"""Characters of a name or type. The data determines the length of a nested type."""
MOST_NAMED = 100
CONDITION = re.compile(r"(?:^|(?:Exception|Error): )\[([A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)*)\] ")
"""Spark's name for an error, where its message begins."""
WRAPPERS = ("INTERNAL_ERROR", "TASK_WRITE_FAILED")
"""Conditions that say only where something failed."""
DEEPEST = 20
CTE_PREFIX = "asgard_cte_"
HARMLESS_LEAVES = ("OneRowRelation", "UnresolvedInlineTable", "UnresolvedTableValuedFunction")
RESERVED_BY_ICEBERG = frozenset(
    (
        *("_deleted", "_file", "_last_updated_sequence_number", "_partition", "_pos", "_row_id"),
        "_spec_id",
    )
)
"""Spark cannot read all columns of a table that has one of these."""
UNSTORABLE = re.compile(r"\b(void|interval[a-z ]*)")


OLDEST = (3, 5, 9)
"""The first Spark 3.5 that neither unpickles nor constructs what the footer of a Parquet file names
(SPARK-56463)."""


class JobError(Exception):
    """The result cannot be written unchanged. The message tells the author of the SQL why."""


def run(spark: Any, job: dict[str, Any], log: Callable[[str], None]) -> None:
    _write(compute(spark, job, log), job)
    log(f"written: {job['destination']} ({job['mode']})")


def compute(spark: Any, job: dict[str, Any], log: Callable[[str], None]) -> Any:
    """Return the result as it is to be written, not yet evaluated."""
    # Iceberg stores instants; a session in another zone would read "05:00" as another instant.
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    # Spark would replace ${env:…} in SQL after the guard has checked it.
    spark.conf.set("spark.sql.variable.substitute", "false")
    # Files are read through views. In SQL, text.`/etc/passwd` is then the name of a table.
    spark.conf.set("spark.sql.runSQLOnFiles", "false")
    for source in job["sources"]:
        _read(spark, source).createOrReplaceTempView(source["view"])
        log(f"reading {len(source['paths'])} {source['format']} file(s) as {source['view']}")
    for statement in (*job["statements"], job["select"]):
        _refuse_other_reads(spark, statement, job.get("reads"))
    for statement in job["statements"]:
        spark.sql(statement)
    frame = spark.sql(job["select"])
    _check(frame.schema)
    if job.get("align_with"):
        frame = _aligned(frame, job["align_with"], spark.table(job["align_with"]).schema)
    columns = [f"{field.name} {_kind(field)}" for field in frame.schema.fields[:MOST_NAMED]]
    log("columns: " + _listed(columns, len(frame.schema.fields)))
    return frame


def _refuse_other_reads(spark: Any, sql: str, reads: list[list[str]] | None) -> None:
    """Refuse SQL in which Spark's own parser finds another table than those that the guard has
    found. The embedded engine has no such parser, and its own keys."""
    session = getattr(spark, "_jsparkSession", None)
    if session is None or reads is None:
        return
    known = {tuple(part.lower() for part in name) for name in reads}
    plan = session.sessionState().sqlParser().parsePlan(sql)
    for name in _names_in(plan):
        if tuple(part.lower() for part in name) not in known and not _is_cte(name):
            raise JobError(
                f"The SQL is ambiguous: Spark would read {_short('.'.join(name))}, which it does "
                "not name as a table."
            )


def _is_cte(name: list[str]) -> bool:
    return len(name) == 1 and name[0].startswith(CTE_PREFIX)


def _names_in(plan: Any) -> Iterator[list[str]]:
    """Yield the parts of the name of every table in a plan. Refuse other leaves than these."""
    parts = (plan.children(), plan.innerChildren(), plan.subqueries())
    inner = [part.apply(number) for part in parts for number in range(part.size())]
    kind = str(plan.nodeName())
    if kind == "UnresolvedRelation":
        name = plan.multipartIdentifier()
        yield [str(name.apply(number)) for number in range(name.size())]
    elif not inner and kind not in HARMLESS_LEAVES:
        raise JobError(f"The SQL is ambiguous: Spark would read it as {kind}.")
    for each in inner:
        yield from _names_in(each)


def _kind(field: Any) -> str:
    return str(field.dataType.simpleString())


def _short(text: str) -> str:
    """Return a name on one line: the data may decide it, and a line of the log is an entry."""
    text = " ".join(text.splitlines())
    left_out = len(text) - LONGEST_NAME
    return text if left_out <= 0 else f"{text[:LONGEST_NAME]}… ({left_out} more characters)"


def _listed(names: list[str], count: int) -> str:
    more = f" and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
    return ", ".join(map(_short, names[:MOST_NAMED])) + more


def _read(spark: Any, source: dict[str, Any]) -> Any:
    """Read with one reader for each compression: some Sparks cannot mix plain and gzipped files."""
    reader = spark.read.format(source["format"]).options(**READ_OPTIONS[source["format"]])
    plain = [path for path in source["paths"] if not path.endswith(".gz")]
    zipped = [path for path in source["paths"] if path.endswith(".gz")]
    frames = [_loaded(reader, paths) for paths in (plain, zipped) if paths]
    if len(frames) == 1:
        return frames[0]
    left, right = frames
    return _with_columns_of(left, right).unionByName(_with_columns_of(right, left))


def _loaded(reader: Any, paths: list[str]) -> Any:
    """Refuse user-defined types before PySpark sees the schema: it imports the module that the
    type names, and the footer of a Parquet file decides the type."""
    frame = reader.load(paths)
    jvm_frame = getattr(frame, "_jdf", None)  # The embedded engine has no JVM and no such types.
    if jvm_frame is not None and _has_user_type(json.loads(jvm_frame.schema().json())):
        raise JobError(
            "A file declares a column of a user-defined type. Spark would run the code that the "
            "file names. Write the file without such types."
        )
    return frame


def _has_user_type(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_user_type, schema))
    if not isinstance(schema, dict):
        return False
    return schema.get("type") == "udt" or any(map(_has_user_type, schema.values()))


def _with_columns_of(frame: Any, other: Any) -> Any:
    """Return the frame with nulls for the columns that only the other has. (Sail's unionByName can
    add them, too, but then does not know the fields of structs.)"""
    from pyspark.sql import functions

    names = {field.name for field in frame.schema.fields}
    for field in other.schema.fields:
        if field.name not in names:
            frame = frame.withColumn(field.name, functions.lit(None).cast(field.dataType))
    return frame


def _check(schema: Any) -> None:
    seen: set[str] = set()
    for field in schema.fields:
        if field.name.lower() in seen:
            raise JobError(
                f"The result has more than one column called {_short(field.name)}: "
                "give each its own name with AS."
            )
        seen.add(field.name.lower())
        _check_names(_short(field.name), field.name, field.dataType)
        if field.name.lower() in RESERVED_BY_ICEBERG:
            raise JobError(
                f"Iceberg reserves the name of the column {field.name}: give it another one."
            )
        kind = _kind(field)
        if UNSTORABLE.search(kind):
            raise JobError(
                f"The column {_short(field.name)} has the type {_short(kind)}, which a table "
                "cannot hold: give it another type with CAST."
            )


def _check_names(path: str, name: str, kind: Any) -> None:
    """Refuse names that engines cut off or cannot read, at any depth."""
    if not name or "\0" in name:
        fault = "a NUL character in its name" if name else "no name"
        raise JobError(f"The column or field {path} has {fault}: give it another one.")
    seen: set[str] = set()
    for field in getattr(kind, "fields", ()):
        if field.name.lower() in seen:
            raise JobError(
                f"The column {path} has several fields named {_short(field.name)} (case is "
                "ignored): rename all but one."
            )
        seen.add(field.name.lower())
        _check_names(_short(f"{path}.{field.name}"), field.name, field.dataType)
    for part in ("elementType", "keyType", "valueType"):
        if inner := getattr(kind, part, None):
            _check_names(path, name, inner)


def _aligned(frame: Any, table: str, schema: Any) -> Any:
    """Return the result with the table's columns, order and types. Missing columns are null."""
    from pyspark.sql import functions

    name = table.split(".", 1)[1]
    by_name = {field.name.lower(): field for field in frame.schema.fields}
    existing = {field.name.lower() for field in schema.fields}
    unknown = [field.name for key, field in by_name.items() if key not in existing]
    if unknown:
        raise JobError(
            f"{name} has no column {_listed(unknown, len(unknown))}. Leave it out, or write the "
            "table again with write_mode overwrite."
        )
    columns = []
    for field in schema.fields:
        own, kind = by_name.get(field.name.lower()), _kind(field)
        if own is None:
            if not field.nullable:
                raise JobError(
                    f"{name} requires the column {_short(field.name)}, which is missing."
                )
            column = functions.lit(None).cast(field.dataType)
        else:
            actual = _kind(own)
            if not _fits(actual, kind):
                raise JobError(
                    f"The column {_short(own.name)} is {_short(actual)}, but in {name} it is "
                    f"{_short(kind)}: write CAST({own.name} AS {kind}) AS {own.name}."[:LONGEST]
                )
            column = functions.col("`" + own.name.replace("`", "``") + "`").cast(field.dataType)
        columns.append(column.alias(field.name))
    return frame.select(*columns)


def _fits(actual: str, required: str) -> bool:
    """Return whether Iceberg's rules can promote every value of one type to the other."""
    if actual == required or required in WIDER.get(actual, ()):
        return True
    source, target = DECIMAL.fullmatch(actual), DECIMAL.fullmatch(required)
    if source is None or target is None:
        return False
    return source[2] == target[2] and int(source[1]) <= int(target[1])


def _write(frame: Any, job: dict[str, Any]) -> None:
    writer = frame.writeTo(job["destination"]).using("iceberg")
    writer = writer.option(f"snapshot-property.{RUN_ID_PROPERTY}", job["run_id"])
    match job["mode"]:
        case "create":
            writer.tableProperty(RUN_ID_PROPERTY, job["run_id"]).create()
        case "overwrite":
            writer.tableProperty("format-version", "2").createOrReplace()
        case "append":
            writer.append()
        case mode:
            raise JobError(f"There is no write mode {mode}.")


def _described(spark: Any, path: str) -> dict[str, Any]:
    if "://" in path:
        text = spark.read.text(path, wholetext=True).first()[0]
    else:
        text = Path(path).read_text("utf-8")
    description: dict[str, Any] = json.loads(text)
    return description


def _published(spark: Any, job: dict[str, Any]) -> Any:
    """Return the snapshot that this run wrote, maybe in an attempt that died after its commit."""
    if not spark.catalog.tableExists(job["destination"]):
        return None
    snapshots = spark.table(f"{job['destination']}.snapshots")
    return snapshots.where(snapshots["summary"][RUN_ID_PROPERTY] == job["run_id"]).first()


def _failure(error: Exception) -> str:
    condition = error.getErrorClass() if hasattr(error, "getErrorClass") else None
    message = str(error)
    if condition is None and (java_error := _java_error(getattr(error, "java_exception", None))):
        condition, message = java_error
    report = {"kind": type(error).__name__, "condition": condition, "message": message[:LONGEST]}
    return FAILED + json.dumps(report)


def _traceback() -> str:
    """Return each line shortened and indented: the message of an exception can hold whole values of
    the data, and none of them may look like the line that says why the job failed."""
    lines = traceback.format_exc(chain=False).splitlines()
    return "\n    ".join(line[:LONGEST] for line in lines[:MOST_NAMED])


def _java_error(error: Any) -> tuple[str, str] | None:
    """Return Spark's condition and message from a `Py4JJavaError`. A failure in a task reaches
    Python as a Java exception, wrapped several times. The innermost one says what was wrong."""
    innermost = None
    for _ in range(DEEPEST):
        if error is None:
            break
        message = error.getMessage() or ""
        match = CONDITION.search(message)
        if match and not match[1].startswith(WRAPPERS):
            innermost = match[1], message[match.start(1) - 1 :]
        error = error.getCause()
    return innermost


def require_version(version: str) -> None:
    """Raises `JobError` unless data is known not to become code on this version of Spark."""
    parts = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if parts[:2] != OLDEST[:2] or parts < OLDEST:
        raise JobError(
            f"The image has Spark {version}: expected 3.5.9 or a later 3.5 release. Rebuild "
            "SPARK_IMAGE from spark.Dockerfile."
        )


def main(path: str) -> None:
    from pyspark.sql import SparkSession

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s")
    log = logging.getLogger("asgard.job").info
    spark = SparkSession.builder.getOrCreate()
    try:
        require_version(spark.version)
        job = _described(spark, path)
        if (snapshot := _published(spark, job)) is None:
            run(spark, job, log)
            snapshot = _published(spark, job)
        if snapshot is not None:
            log("snapshot %s, rows %s", snapshot.snapshot_id, snapshot.summary.get("total-records"))
    except Exception as error:  # noqa: BLE001 — whatever it is, the log says it, and the job fails
        log(_traceback())
        # The last line of the log: the traceback quotes data, which may look like this line.
        log(_failure(error))
        sys.exit(1)
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
