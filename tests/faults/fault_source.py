#!/usr/bin/env python3
"""An Airbyte source of numbers: each sync continues from its state to the next multiple of ROWS.

It is copied to where the installer would put it, and needs only Python.
"""

import json
import sys
import time
from pathlib import Path

ROWS = 40
SECONDS = 0.2
"""Seconds that a read takes, so that it can be killed in the middle."""
STREAM = "numbers"
SPEC = {"type": "object", "properties": {}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def say(**message):
    print(json.dumps(message), flush=True)


def state(n):
    stream = {"stream_descriptor": {"name": STREAM}, "stream_state": {"n": n}}
    say(type="STATE", state={"type": "STREAM", "stream": stream})


def read(states):
    n = states[0]["stream"]["stream_state"]["n"] if states else 0
    end = (n // ROWS + 1) * ROWS
    while n < end:
        n += 1
        say(type="RECORD", record={"stream": STREAM, "data": {"n": n}, "emitted_at": 1})
        if n % 10 == 0:
            time.sleep(SECONDS * 10 / ROWS)
            state(n)


def main():
    command = sys.argv[1]
    if command == "spec":
        say(type="SPEC", spec={"connectionSpecification": SPEC})
    elif command == "check":
        say(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
    elif command == "discover":
        stream = {
            "name": STREAM,
            "json_schema": SCHEMA,
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": True,
            "default_cursor_field": ["n"],
        }
        say(type="CATALOG", catalog={"streams": [stream]})
    else:
        state_path = sys.argv[sys.argv.index("--state") + 1] if "--state" in sys.argv else None
        read(json.loads(Path(state_path).read_text()) if state_path else [])


if __name__ == "__main__":
    main()
