"""Opens a DuckDB connection that sees only the lake, and converts its errors.

This module is synchronous, for workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.disk import RESERVE, disk_full, room
from app.errors import AsgardError, EngineFailed, EngineUnreachable, SqlInvalid, TableNotFound
from app.failure import FailureCause
from app.lakehouse.publish.errors import lake_errors
from app.sql.quoting import literal, quoted
from app.warehouse.duckdb.column_names import missing_column, refuse_fallbacks

if TYPE_CHECKING:
    import duckdb
    from duckdb import DuckDBPyConnection

    from app.lakehouse.connection import Lake

EXTENSIONS = ("avro", "httpfs", "iceberg")
"""In the order in which they must be loaded."""


def open_session(lake: Lake, scratch: Path, memory: str, threads: int = 2) -> DuckDBPyConnection:
    """Open a locked connection, which reaches no files or hosts outside the lake and whose settings
    cannot change. `scratch` takes what does not fit into `memory` (for example `512MB`)."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory,
            "threads": threads,
            "temp_directory": str(scratch),
            # It cannot change later, when the disk may have room again.
            "max_temp_directory_size": f"{max(room(scratch.parent), RESERVE) // 2}B",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    for name in EXTENSIONS:
        connection.load_extension(str(extension_file(name)))
    connection.execute(s3_secret(lake))
    if secret := catalog_secret(lake):
        connection.execute(secret)
    connection.execute(attach(lake))
    refuse_fallbacks(connection)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET GLOBAL http_timeout = 10")
    # Otherwise, the query of a path, which a manifest names, chooses the server and the keys.
    connection.execute("SET GLOBAL s3_url_compatibility_mode = true")
    connection.execute(f"SET GLOBAL allowed_directories = [{', '.join(_allowed(lake))}]")
    connection.execute("SET GLOBAL enable_external_access = false")
    connection.execute("SET GLOBAL lock_configuration = true")
    return connection


def extension_file(name: str) -> Path:
    """Return the wheel's own file, so that nothing is downloaded or put under the user's home."""
    package = find_spec(f"duckdb_extension_{name}")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"the package duckdb-extension-{name} is not installed")
    folder = Path(package.origin).parent / "extensions" / f"v{version('duckdb')}"
    return folder / f"{name}.duckdb_extension"


def s3_secret(lake: Lake) -> str:
    parts = [
        "TYPE s3",
        f"KEY_ID {literal(lake.s3.access_key or '')}",
        f"SECRET {literal(lake.s3.secret_key or '')}",
        f"REGION {literal(lake.s3.region)}",
    ]
    if lake.s3.endpoint:
        url = urlsplit(lake.s3.endpoint)
        tls = "true" if url.scheme == "https" else "false"
        parts += [f"ENDPOINT {literal(url.netloc)}", "URL_STYLE 'path'", f"USE_SSL {tls}"]
    return f"CREATE SECRET lake_s3 ({', '.join(parts)})"


def catalog_secret(lake: Lake) -> str | None:
    """Return the secret, or None for a catalog without authentication."""
    if token := lake.catalog.worker_token():
        return f"CREATE SECRET lake_catalog (TYPE iceberg, TOKEN {literal(token)})"
    if not lake.catalog.credential:
        return None
    client, _, secret = lake.catalog.credential.partition(":")
    return (
        f"CREATE SECRET lake_catalog (TYPE iceberg, CLIENT_ID {literal(client)}, "
        f"CLIENT_SECRET {literal(secret)}, OAUTH2_SERVER_URI {literal(lake.catalog.token_url)})"
    )


def attach(lake: Lake) -> str:
    guarded = lake.catalog.token or lake.catalog.credential
    access = "SECRET lake_catalog" if guarded else "AUTHORIZATION_TYPE 'none'"
    return (
        f"ATTACH {literal(lake.catalog.warehouse or '')} AS {quoted(lake.catalog_name)} "
        f"(TYPE iceberg, ENDPOINT {literal(lake.catalog.uri)}, {access}, READ_ONLY true)"
    )


def _allowed(lake: Lake) -> list[str]:
    buckets = dict.fromkeys((lake.s3.bucket, lake.catalog.warehouse or lake.s3.bucket))
    return [literal(f"s3://{bucket}/") for bucket in buckets]


_UNREACHABLE = ("IO Error", "HTTP Error", "Connection Error", "TransactionContext Error")
_INTERNAL = ("INTERNAL Error", "FATAL Error", "Internal Error", "Fatal Error")
_MISSING_TABLE = re.compile(r"Table with name \"?([\w.]+)\"? does not exist")


@contextmanager
def our_errors() -> Iterator[None]:
    """Raise errors of DuckDB, the catalog and the object store as our errors, in a worker."""
    import duckdb

    try:
        with lake_errors():
            yield
    except duckdb.Error as error:
        raise duckdb_error(error) from error


def duckdb_error(error: duckdb.Error) -> AsgardError:
    """Convert an error. DuckDB's messages begin with their kind, but some from its Python layer do
    not."""
    text = str(error)
    return engine_error(text if " Error: " in text[:60] else f"Invalid Input Error: {text}")


def engine_error(message: str) -> AsgardError:
    """Return our error for a message of DuckDB (`Binder Error: …`), including one inside dbt's."""
    match = re.search(r"(?:^|\s)([A-Z][\w-]*(?: [A-Za-z]+){0,3} Error): (.*)", message, re.DOTALL)
    kind, text = (match[1], _readable(match[2])) if match else ("", _readable(message))
    if missing := _MISSING_TABLE.search(text):
        return TableNotFound(f"There is no table {missing[1]}.", missing=[missing[1]])
    if (column := missing_column(text)) is not None:
        # DuckDB looks among its functions before it looks in an outer query.
        return SqlInvalid(
            f'There is no column "{column}".',
            hint="If an outer query has this column, write it with the name of its table.",
        )
    if "cannot be used on an unnamed struct" in text:
        return SqlInvalid(
            "The query reads a field by its name from a row whose fields have no names.",
            hint="Read it by its number, for example ROW(1, 'a')[2], or name the fields with "
            "CAST(ROW(1) AS ROW(id integer)).",
        )
    if kind == "Out of Memory Error":
        return EngineFailed(
            "The query needs more memory than the embedded engine has.",
            cause=FailureCause.OUT_OF_MEMORY,
            hint="Read fewer rows or columns, or aggregate in steps.",
        )
    if "No space left" in text:
        return disk_full()
    if kind in _UNREACHABLE:
        return EngineUnreachable("DuckDB could not reach the catalog or the object store.")
    if kind == "Permission Error":
        return EngineFailed(
            "The SQL reads something outside the lake.", cause=FailureCause.PERMISSION_DENIED
        )
    if kind in _INTERNAL or not kind:
        return EngineFailed(text)
    return SqlInvalid(text)


def position_in(sql: str, message: str) -> dict[str, int] | None:
    """Return where a message of DuckDB points in `sql`, which begins in the second line of the
    statement. The message shows only a part of a long line."""
    match = re.search(r"^LINE (\d+): (.*)\n( *)\^", message, re.MULTILINE)
    if match is None:
        return None
    number, excerpt = int(match[1]) - 1, match[2]
    lines = sql.split("\n")
    if not 1 <= number <= len(lines):
        return None
    part = excerpt.removeprefix("...").removesuffix("...")
    begins = lines[number - 1].find(part)
    column = begins + len(match[3]) - len(f"LINE {match[1]}: ") - excerpt.index(part) + 1
    return {"line": number, "column": column} if begins >= 0 and column > 0 else None


def _readable(text: str) -> str:
    """Remove the excerpt of DuckDB's own SQL, which the client never wrote, dbt's note about where
    it put the compiled file, and the stack trace of an internal error."""
    message = re.split(r"\n\s*\n?\s*(?:LINE \d+:|compiled code at|Stack Trace:)", text)[0]
    return " ".join(message.split())[:1000]
