"""The path to which Airbyte's S3 destination writes a stream.

`{s3_bucket_path}/{s3_path_format}`, whose default is
`${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_`; names are made safe as Airbyte's
`Transformations.toS3SafeCharacters` does it.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

DEFAULT_FORMAT = "${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_"
_UNSAFE = re.compile(r"[^A-Za-z0-9/!_.*')(&$@=;:+,?-]")


def stream_path(
    connection: Mapping[str, Any],
    destination: Mapping[str, Any] | None,
    name: str,
    namespace: str | None,
    bucket: str,
) -> str:
    """Returns the path as path tables name it: a key prefix in the lake's bucket, or `s3://…`."""
    if destination is None or destination["destinationType"] != "s3":
        kind = destination["destinationType"] if destination else "unknown"
        return f"{kind}://{name}"
    config = destination["configuration"]
    space = _namespace(connection, namespace)
    full = f"{connection.get('prefix') or ''}{name}"
    pattern = str(config.get("s3_path_format") or DEFAULT_FORMAT)
    filled = pattern.replace("${NAMESPACE}", safe(space)).replace("${STREAM_NAME}", safe(full))
    parts = [*str(config.get("s3_bucket_path") or "").split("/"), *_fixed(filled)]
    path = "/".join(part for part in parts if part)
    destination_bucket = config["s3_bucket_name"]
    return path if destination_bucket == bucket else f"s3://{destination_bucket}/{path}"


def safe(name: str) -> str:
    # Character by character: Python sorts a row of combining characters, which are dropped here
    # anyway, in a time that grows with its square.
    plain = "".join(unicodedata.normalize("NFKD", character) for character in name)
    return _UNSAFE.sub("_", "".join(c for c in plain if not unicodedata.combining(c)))


def _namespace(connection: Mapping[str, Any], namespace: str | None) -> str:
    match connection.get("namespaceDefinition"):
        case "source":
            return namespace or ""
        case "custom_format":
            form = str(connection.get("namespaceFormat") or "")
            return form.replace("${SOURCE_NAMESPACE}", namespace or "")
        case _:
            return ""


def _fixed(pattern: str) -> list[str]:
    """Returns the directories before the first one that each sync names differently, without the
    file's name."""
    fixed = []
    for part in pattern.split("/")[:-1]:
        if "${" in part:
            break
        fixed.append(part)
    return fixed
