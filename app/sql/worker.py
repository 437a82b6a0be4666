"""`python -m app.sql.worker`: runs the guard and the rewriting in a process that may be killed.

A parser cannot be interrupted, but a process can. The kernel kills it after a limit of processor
time, which a busy machine does not shorten. A refusal is a result here, not an error, so that the
log contains only failures.
"""

import signal
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import AsgardError, SqlNotParsed
from app.processes.worker_main import Emit, Handler, Message, serve
from app.sql import rewrite
from app.sql.dialects import DIALECTS
from app.sql.error_positions import source_position
from app.sql.guard import guard
from app.sql.model import SqlPolicy
from app.sql.parse import TrinoSql

UNREADABLE = "The SQL cannot be parsed."
UNREADABLE_HINT = (
    "Simplify the expressions. The operator can find the cause in the SQL guard's log."
)


def open_worker(handshake: Message) -> Mapping[str, Handler]:
    policy = SqlPolicy.from_json(handshake["policy"])

    def check_query(message: Message) -> Any:
        return guard.check_query(message["sql"], policy).to_json()

    def to_duckdb(message: Message) -> Any:
        return rewrite.to_duckdb(message["sql"], policy, message["catalog"], message["views"])

    def to_dbt_model(message: Message) -> Any:
        refs = set(message["refs"])
        return rewrite.to_dbt_model(message["sql"], refs, message["dialect"], policy)

    def bind_script(message: Message) -> Any:
        source_view = message["source_view"]
        script = guard.check_script(message["sql"], policy, source_view is not None)
        return rewrite.bound(script, source_view, message["catalog"], policy).to_json()

    def find_place(message: Message) -> Any:
        dialect = DIALECTS[message["dialect"]].sqlglot
        return source_position(
            message["given"], dialect, message["at"], message["source"], TrinoSql
        )

    def with_stand_ins(message: Message) -> Any:
        return rewrite.with_stand_ins(message["sql"], policy, message["queries"])

    handlers = (find_place, with_stand_ins, check_query, to_duckdb, to_dbt_model, bind_script)
    # The first parse builds sqlglot's tables, so that no client waits for them.
    rewrite.to_duckdb(guard.check_query("SELECT 1 AS one", policy).sql, policy)
    script = guard.check_script("SELECT 1 AS one", policy, has_source_path=False)
    rewrite.bound(script, None, policy.catalog, policy)
    cpu_seconds = handshake["cpu_seconds"]
    return {handler.__name__: _answering(handler, cpu_seconds) for handler in handlers}


def _answering(handler: Callable[[Message], Any], cpu_seconds: float) -> Handler:
    def answer(message: Message, _emit: Emit) -> Message:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            return {"value": handler(message)}
        except AsgardError as error:
            return {"refused": error.to_json()}
        except Exception:  # noqa: BLE001
            # The parser raises errors of any kind for texts that its authors did not think of.
            traceback.print_exc()
            return {"refused": SqlNotParsed(UNREADABLE, hint=UNREADABLE_HINT).to_json()}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    return answer


if __name__ == "__main__":
    serve(open_worker)
