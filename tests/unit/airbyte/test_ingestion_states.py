"""States of connectors: which stream they belong to, and how they are kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.airbyte.engine import ConfiguredStream, Stream, SyncMode
from app.airbyte.local.connectors.process import Program
from app.airbyte.local.connectors.read import ConnectorRead, job_of
from app.airbyte.local.records import configured
from app.airbyte.local.stream_keys import require_distinct_keys
from app.errors import EngineFailed, InvalidRequest


def stream(
    name: str,
    namespace: str | None = None,
    sync_mode: SyncMode = SyncMode.FULL_REFRESH_OVERWRITE,
) -> ConfiguredStream:
    return ConfiguredStream(
        name=name,
        namespace=namespace,
        sync_mode=sync_mode,
        path=f"bronze/{namespace}/{name}",
    )


@pytest.mark.parametrize(
    "streams",
    [
        [stream("b/c", "a"), stream("c", "a/b")],
        [stream("a/b"), stream("b", "a")],
        [stream("global", sync_mode=SyncMode.INCREMENTAL_APPEND)],
        [stream("legacy", sync_mode=SyncMode.INCREMENTAL_APPEND)],
    ],
)
def test_streams_with_one_key_are_refused(streams: list[ConfiguredStream]) -> None:
    with pytest.raises(InvalidRequest, match="cannot distinguish the stream"):
        require_distinct_keys(streams)


def test_streams_with_distinct_keys_are_accepted() -> None:
    require_distinct_keys([stream("b", "a"), stream("b"), stream("global", "a"), stream("a")])
    require_distinct_keys([stream("global"), stream("legacy")])


def test_a_path_that_s3_cannot_hold_is_refused() -> None:
    offered = [Stream(name="n" * 895, sync_modes=(SyncMode.FULL_REFRESH_OVERWRITE,))]
    with pytest.raises(InvalidRequest, match="more than 900 bytes"):
        configured(offered, None, "bronze")


def job(tmp_path: Path, states: dict[str, str]) -> Any:
    program = tmp_path / "source"
    program.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        "state = json.load(open(sys.argv[sys.argv.index('--state') + 1]))\n"
        "state[0]['stream']['stream_state'] = VALUE\n"
        "print(json.dumps({'type': 'STATE', 'state': state[0]}))\n"
    )
    program.chmod(0o755)
    configured = {
        "stream": {"name": "a", "json_schema": "{}", "supported_sync_modes": ["incremental"]},
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
    }
    message = {
        "config": {},
        "streams": [configured],
        "states": states,
        "sync_id": "s",
        "checkpoint_rows": 1,
        "checkpoint_seconds": 1,
    }
    return job_of(message, Program(program, tmp_path))


def read_state(tmp_path: Path, value: str) -> str:
    before = {"type": "STREAM", "stream": {"stream_descriptor": {"name": "a"}, "stream_state": 1}}
    made = job(tmp_path, {"a": json.dumps(before)})
    program = made.program.path
    program.write_text(program.read_text().replace("VALUE", value))
    states = ConnectorRead(made, lambda _: None).run()["states"]
    assert list(states) == ["a"]
    return str(states["a"])


def test_a_state_comes_back_as_the_connector_sent_it(tmp_path: Path) -> None:
    state = json.loads(read_state(tmp_path, "{'é': [1, {'n': 2}]}"))
    assert state["stream"]["stream_state"] == {"é": [1, {"n": 2}]}


def test_a_state_of_any_depth_is_read_again(tmp_path: Path) -> None:
    first = read_state(tmp_path, "json.loads('[' * 400 + ']' * 400)")
    (tmp_path / "again").mkdir()
    again = job(tmp_path / "again", {"a": first})
    program = again.program.path
    program.write_text(program.read_text().replace("VALUE", "state[0]['stream']['stream_state']"))
    assert ConnectorRead(again, lambda _: None).run()["states"] == {"a": first}


def test_a_state_that_json_cannot_hold_fails_the_read(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="cannot be stored"):
        read_state(tmp_path, "float('nan')")
