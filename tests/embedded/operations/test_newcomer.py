"""What a newcomer does, as README shows it: the demo, the calls, Ctrl-C, the demo again."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.documents import Block, blocks, told, untrue
from tests.patience import until_now
from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)

DEMO = Path(sys.executable).with_name("asgard")


@contextmanager
def demo(home: Path, port: int) -> Iterator[str]:
    """Yield the output once it serves. In the end, interrupt it like Ctrl-C."""
    process = subprocess.Popen(
        [DEMO, "demo"],
        env={**os.environ, "ASGARD_HOME": str(home), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "serves until Ctrl-C" in line:
            break
    assert process.poll() is None, output
    family = psutil.Process(process.pid).children(recursive=True)
    try:
        yield output
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, process.stdout.read()
        assert [child for child in family if child.is_running()] == []


def copied(port: int) -> list[Block]:
    """README's blocks of calls to the gateway, at this port."""
    return [
        replace(block, commands=block.commands.replace(":8000", f":{port}"))
        for block in blocks("README.md")
        if "curl" in block.commands
    ]


def rows_in(output: str) -> dict[str, str]:
    """Return the rows of each table in the demo's summary."""
    lines = re.findall(r"│ (bronze|silver|gold|data product) +│ (\S+) +│ +(\S+) │", output)
    return {f"{layer} {table}": rows for layer, table, rows in lines}


NAMES = {
    "ingestion_id": "purchases",
    "transformation_id": "departures_by_airport",
    "product_id": "Punctuality of Carriers",
}
"""What earlier examples create, by the parameters of paths."""


def refused_examples(port: int) -> dict[str, str]:
    """Send every example of a body in the OpenAPI document, and return the refusals."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as gateway:
        document = gateway.get("/openapi.json").json()
        refusals = {}
        for method, path, body in examples_of(document):
            response = gateway.request(method, path, json=body)
            if response.status_code not in {200, 201, 202}:
                refusals[f"{method} {path} {body}"] = response.text
            elif run := response.json().get("run_id"):
                ended = until_now(lambda run=run: ended_run(gateway, run), 60)
                if ended["state"] != "succeeded":
                    refusals[f"{method} {path} {body}"] = str(ended["failure"])
        return refusals


def examples_of(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" not in operation:
                continue
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            reference = next(item for item in [schema, *schema.get("anyOf", ())] if "$ref" in item)
            name = reference["$ref"].rpartition("/")[2]
            for body in document["components"]["schemas"][name]["examples"]:
                yield method.upper(), path.format(**NAMES), body


def ended_run(gateway: httpx.Client, run_id: str) -> Any:
    run = gateway.get(f"/api/v1/runs/{run_id}").json()
    return run if run["finished_at"] else None


def test_the_demo_its_calls_and_the_demo_again(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path / "home", port) as output:
        first = rows_in(output)
        calls = copied(port)
        assert untrue(calls, told(calls, tmp_path, os.environ, 60)) == []
        assert refused_examples(port) == {}
    with demo(tmp_path / "home", port) as output:
        again = rows_in(output)
    assert first["bronze flights"] == "336,776"
    assert again == first
