"""Limits the size of SQL. Imports nothing heavy: the gateway checks before it asks a worker."""

from app.errors import SqlTooLarge

MAX_BYTES = 256 * 1024
MAX_TABLES = 500
"""Each table of a query is looked up in the catalog."""
CPU_SECONDS = 2.0
"""Processor time of one call in a worker. After it, the kernel ends the worker."""
DEADLINE_SECONDS = 10.0
"""Time of one call by the clock, for a machine too busy to give those two seconds."""


def check_size(sql: str, slack: int = 1) -> None:
    """Raise `SqlTooLarge` beyond `slack` times `MAX_BYTES` of UTF-8."""
    limit = slack * MAX_BYTES
    if len(sql) > limit or len(sql.encode(errors="replace")) > limit:
        raise SqlTooLarge(
            f"The SQL is longer than {MAX_BYTES // 1024} KiB.",
            hint="Put constants into a table, or split the SQL into several steps.",
        )
