"""dbt workers on Trino that run a stranger's code, for `Workers(builder=…)`.

`handshake` selects the code. `macros` is the text of the project's macros, as if it had been
smuggled in. `asks` are the questions that the worker asks without dbt. In their texts, APPROVED
stands for the statement that the build may send. A worker that `dies` ends after these questions.
"""

import os
from pathlib import Path
from typing import Any

from app.processes.worker_main import GatewayChannel, Handlers, Message, serve
from app.warehouse import trino
from app.warehouse.trino.columns import table_name
from app.warehouse.trino.publisher import table_statement

MACROS = Path(trino.__file__).parent / "worker.sql"
TABLE = """{% materialization table, adapter='trino' %}
  {% set approved %}create or replace table {{ this }} as
{{ compiled_code | trim }}{% endset %}
  STATEMENTS
  {{ return({'relations': []}) }}
{% endmaterialization %}

"""
VIEW = "{% materialization view"


def macros(*statements: str) -> str:
    """In each of them, `{{ approved }}` stands for the statement that the build may send."""
    calls = "".join(
        f"{{% call statement('{name}', auto_begin=False) -%}}{statement}{{%- endcall %}}\n"
        for name, statement in zip(("main", "second", "third"), statements, strict=False)
    )
    ours = MACROS.read_text()
    head = ours.partition("{% materialization table")[0]
    return head + TABLE.replace("STATEMENTS", calls) + VIEW + ours.partition(VIEW)[2]


def open_worker(handshake: Message) -> Handlers:
    if "macros" in handshake:
        from app.warehouse.trino import builder, dbt_backend

        dbt_backend.MACROS = Path(handshake["folder"]) / "hostile.sql"
        dbt_backend.MACROS.write_text(handshake["macros"])
        return builder.open_worker(handshake)

    def ask(message: Message, gateway: GatewayChannel) -> dict[str, Any]:
        target = table_name(handshake["catalog"], message["schema"], message["name"])
        approved = table_statement(target, message["sql"])
        for asked in handshake["asks"]:
            text = isinstance(asked, str)
            gateway.ask({"statement": asked.replace("APPROVED", approved) if text else asked})
        if "dies" in handshake:
            os._exit(7)
        return {}

    return {"build": ask}


if __name__ == "__main__":
    serve(open_worker)
