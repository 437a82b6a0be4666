"""dbt workers on Trino in which a stranger's code is at work, for `Workers(builder=…)`.

`hello` says which: `macros` is the text of the project's macros, as if they had been smuggled in;
`asks` are statements that are asked for without dbt; `lies` ends a build without any statement.
"""

from pathlib import Path
from typing import Any

from app.warehouse.dbt import on_trino, trino_worker
from app.worker_loop import Gateway, Handlers, Message, serve

MATERIALIZATION = """
{{% materialization {kind}, adapter='trino' %}}
  {{% set approved %}}create or replace table {{{{ this }}}} as
{{{{ compiled_code | trim }}}}{{% endset %}}
  {statements}
  {{{{ return({{'relations': []}}) }}}}
{{% endmaterialization %}}
"""


def macros(*statements: str) -> str:
    """In each `{{ approved }}` stands for the statement that the build may send."""
    calls = "".join(
        f"{{% call statement('{name}', auto_begin=False) -%}}{statement}{{%- endcall %}}\n"
        for name, statement in zip(("main", "second", "third"), statements, strict=False)
    )
    materialization = MATERIALIZATION.format(kind="table", statements=calls)
    return on_trino.MACROS.read_text().partition("{% materialization table")[0] + (
        materialization + "{% materialization view" + rest_of_macros()
    )


def rest_of_macros() -> str:
    return on_trino.MACROS.read_text().partition("{% materialization view")[2]


def open_worker(hello: Message) -> Handlers:
    if "macros" in hello:
        on_trino.MACROS = Path(hello["folder"]) / "hostile.sql"
        on_trino.MACROS.write_text(hello["macros"])
        return trino_worker.open_worker(hello)

    def ask(_: Message, gateway: Gateway) -> dict[str, Any]:
        for statement in hello["asks"]:
            gateway.ask({"statement": statement})
        return {}

    return {"build": ask}


if __name__ == "__main__":
    serve(open_worker)
