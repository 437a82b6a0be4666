"""`python -m app.airbyte.local.worker`: speaks with connectors, outside the gateway.

It writes Parquet files into the given directory, and the gateway uploads them. It has no access to
the lake. A configuration with secrets comes by stdin.
"""

from typing import Any

from app.processes.worker_main import Emit, Handler, serve

Message = dict[str, Any]


def _connector(message: Message, emit: Emit) -> Message:
    from app.airbyte.local.connectors import process as connector_process
    from app.airbyte.local.connectors.read import program_of

    program = program_of(message)

    def log(text: str) -> None:
        emit({"log": text})

    match message["command"]:
        case "spec":
            return {"spec": connector_process.spec(program, log)}
        case "check":
            return connector_process.check(program, message["config"], log)
        case _:
            return {"streams": connector_process.discover(program, message["config"], log)}


def _read_connector(message: Message, emit: Emit) -> Message:
    from app.airbyte.local.connectors.read import ConnectorRead, job_of, program_of

    return ConnectorRead(job_of(message, program_of(message)), emit).run()


def open_worker(_: Message) -> dict[str, Handler]:
    return {"connector": _connector, "read_connector": _read_connector}


if __name__ == "__main__":
    serve(open_worker)
