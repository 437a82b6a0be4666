#!/usr/bin/env python3
"""A source that speaks the Airbyte protocol: counts, and fails as its config says.

Installed by hand where the installer would put it; needs nothing but Python.
"""

import json
import sys
import time
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

SPEC = {
    "type": "object",
    "required": ["rows", "stream"],
    "additionalProperties": False,
    "properties": {
        "rows": {"type": "integer", "minimum": 0},
        "stream": {"type": "string", "description": "The name of the first of its two streams."},
        "password": {"type": "string", "airbyte_secret": True},
        "stop_file": {"type": "string"},
        "hang_after": {"type": "integer"},
        "fail_after": {"type": "integer"},
        "renewed_password": {"type": "string", "airbyte_secret": True},
        "columns": {"type": "array", "description": "Names of columns, and of fields of `inner`."},
        "namespaces": {"type": "array", "description": "Each has both streams."},
        "sent_as": {"type": "object", "description": "`stream` and `namespace` of its messages."},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "odd": {"type": ["null", "integer"]},
        "inner": {"type": "object"},
    },
}


def say(**message):
    print(json.dumps(message), flush=True)


def log(text):
    say(type="LOG", log={"level": "INFO", "message": text})


def option(name):
    if name not in sys.argv:
        return None
    return json.loads(Path(sys.argv[sys.argv.index(name) + 1]).read_text())


def sent_as(config, stream):
    """Return the name and the namespace under which the messages of a stream are sent."""
    own = {"stream": stream["name"], "namespace": stream.get("namespace")}
    sent = {**own, **config.get("sent_as", {})}
    return {name: value for name, value in sent.items() if value is not None}


def state(sent, n):
    descriptor = {**sent, "name": sent["stream"]}
    del descriptor["stream"]
    say(
        type="STATE",
        state={
            "type": "STREAM",
            "stream": {"stream_descriptor": descriptor, "stream_state": {"n": n}},
        },
    )


def spellings(text):
    """Return the ways in which connectors and their libraries quote a config."""
    in_json = (json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text))
    encoded = (quote(text), quote(text, safe=""), quote_plus(text), quote(quote(text)))
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    return (text, *in_json, *encoded, escaped, repr(text.encode()).removeprefix("b"))


def parts(text):
    """Return what a connector has left of a config that it has parsed."""
    if text.startswith("{"):
        return [json.loads(text)["private_key"].splitlines()[1]]
    return [urlsplit(text).password, unquote(urlsplit(text).password)]


def stops(config, n):
    """Read at which row to hang from a file, so that a test can remove it again."""
    path = config.get("stop_file")
    return path and Path(path).exists() and int(Path(path).read_text()) == n


def schema(config):
    columns = {name: {"type": "integer"} for name in config.get("columns", ())}
    return {**SCHEMA, "properties": {**SCHEMA["properties"], **columns}}


def read(config, configured, states):
    name = configured["stream"]["name"]
    sent = sent_as(config, configured["stream"])
    incremental = configured["sync_mode"] == "incremental"
    start = 0
    for stored in states if incremental else []:
        if stored["stream"]["stream_descriptor"]["name"] == name:
            start = stored["stream"]["stream_state"]["n"]
    log(f"reading {name} from {start} with {config.get('password')}")
    for n in range(start + 1, config["rows"] + 1):
        record = {
            "n": n,
            "at": "2024-02-29T12:00:00.5Z",
            "odd": "many" if n == 3 else n,
            "inner": {"of": [n]},
        }
        if "columns" in config:
            more = {name: number for number, name in enumerate(config["columns"])}
            record = {**record, **more, "inner": more}
        say(type="RECORD", record={**sent, "data": record, "emitted_at": 1_700_000_000_000})
        if n % 10 == 0:
            state(sent, n)
        if n == config.get("hang_after") or stops(config, n):
            time.sleep(600)
        if n == config.get("fail_after"):
            print(f"stderr knows {config.get('password')}", file=sys.stderr)
            error = {
                "message": f"no more after {n}, {config.get('password')}",
                "failure_type": "system_error",
            }
            say(type="TRACE", trace={"type": "ERROR", "emitted_at": 0, "error": error})
            sys.exit(1)
    state(sent, max(start, config["rows"]))


def main():
    command, config = sys.argv[1], option("--config")
    if command == "spec":
        say(type="SPEC", spec={"connectionSpecification": SPEC})
    elif command == "check":
        ok = config["rows"] != 13
        message = None if ok else f"13 is bad luck, {config.get('password')}"
        if config["rows"] == 14:
            message = " ".join(spellings(config["password"]))
        if config["rows"] == 15:
            message = " ".join(parts(config["password"]))
        status = {"status": "SUCCEEDED" if ok else "FAILED", "message": message}
        say(type="CONNECTION_STATUS", connectionStatus=status)
    elif command == "discover":
        stream = {
            "name": config["stream"],
            "json_schema": schema(config),
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": True,
            "default_cursor_field": ["n"],
            "source_defined_primary_key": [["n"]],
        }
        streams = [stream, {**stream, "name": config["stream"] + "_more"}]
        if "namespaces" in config:
            spaces = config["namespaces"]
            streams = [{**each, "namespace": space} for space in spaces for each in streams]
        say(type="CATALOG", catalog={"streams": streams})
    else:
        print("this line is not a message")
        if "renewed_password" in config:
            renewed = {**config, "password": config["renewed_password"]}
            control = {
                "type": "CONNECTOR_CONFIG",
                "emitted_at": 0,
                "connectorConfig": {"config": renewed},
            }
            say(type="CONTROL", control=control)
        for configured in option("--catalog")["streams"]:
            read(config, configured, option("--state") or [])


if __name__ == "__main__":
    main()
