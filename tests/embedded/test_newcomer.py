"""What a newcomer does, by README's own words: the demo, its curls, Ctrl-C, the demo again."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)

README = Path(__file__).parents[2] / "README.md"
DEMO = Path(sys.executable).with_name("asgard")


@contextmanager
def demo(home: Path, port: int) -> Iterator[str]:
    """Yields what it told once it serves; in the end it is interrupted as by Ctrl-C."""
    process = subprocess.Popen(
        [DEMO, "demo"],
        env={**os.environ, "ASGARD_HOME": str(home), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if "serves until Ctrl-C" in line:
            break
    assert process.poll() is None, told
    family = psutil.Process(process.pid).children(recursive=True)
    try:
        yield told
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, process.stdout.read()
        assert [child for child in family if child.is_running()] == []


def curls(port: int) -> list[str]:
    """README's block of curls, one after the other, at this port."""
    [block] = re.findall(r"```bash\n(api=.*?)```", README.read_text(), re.DOTALL)
    setting, *calls = block.replace(":8000", f":{port}").strip().split("\n\n")
    return [f"{setting}\n{call.replace('curl ', 'curl -s ')}" for call in calls]


def rows_told(told: str) -> dict[str, str]:
    """The rows of each table of the demo's summary."""
    lines = re.findall(r"│ (bronze|silver|gold|data product) +│ (\S+) +│ +(\S+) │", told)
    return {f"{layer} {table}": rows for layer, table, rows in lines}


def test_the_demo_its_curls_and_the_demo_again(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path / "home", port) as told:
        first = rows_told(told)
        answers = [
            json.loads(subprocess.run(["bash", "-c", call], capture_output=True, check=True).stdout)
            for call in curls(port)
        ]
    source, spark, model, product = answers
    assert source["type"] == "faker"
    assert spark["status"] == "submitted"
    assert model["status"] == "completed"
    assert model["row_count"] == 3, "New York has three airports"
    assert product["table_name"] == "dp_busiest_airports"
    with demo(tmp_path / "home", port) as told:
        again = rows_told(told)
    assert first["bronze flights"] == "336,776"
    assert again == first
