"""How much SQL is taken. Nothing heavy is imported: the gateway checks before it asks a worker."""

from app.errors import SqlTooLarge

MAX_BYTES = 256 * 1024
MAX_TABLES = 500
"""Each one is looked up in the catalog."""
CPU_SECONDS = 2.0
"""Of one call in the worker, which the kernel ends then."""
DEADLINE_SECONDS = 10.0
"""Of one call by the clock: for a machine that is too busy to give those two seconds."""


def check_size(sql: str, slack: int = 1) -> None:
    """Raises `SqlTooLarge` beyond `slack` times `MAX_BYTES` of UTF-8."""
    most = slack * MAX_BYTES
    if len(sql) > most or len(sql.encode(errors="replace")) > most:
        raise SqlTooLarge(
            f"The SQL is longer than {MAX_BYTES // 1024} KiB.",
            hint="Put constants into a table, or split it into several steps.",
        )
