"""Checks the paths that SQL and sources may read: normalises them first, then compares them."""

import re
from urllib.parse import unquote

from app.errors import PathRefused
from app.sql.model import SqlPolicy

PATH_FORMATS = ("parquet", "json", "csv")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_S3_SCHEMES = frozenset({"s3", "s3a", "s3n"})
_GLOB = re.compile(r"[*?\[\]{}]")
# Hadoop turns `\\` into `/`, and readers disagree about these. No path needs them.
_NEVER = re.compile(r"[\x00-\x1f\x7f\\#;]")
RELATIVE_TO = "bronze/"


def normalise_path(raw: str, policy: SqlPolicy) -> str:
    """Return `bronze/x` for `s3://lake/bronze/x/`, `s3a://lake/bronze/x`, `bronze/x` and `x`.

    Percent-encoding is undone before anything is compared. A glob is refused: a path stands for
    everything below it.

    Raises:
        PathRefused: it is not a path in the bucket, or it is outside of the allowed prefixes.
    """
    path = _decoded(raw, policy)
    key = _key(path, raw, policy)
    parts = [part for part in key.split("/") if part not in ("", ".")]
    # Spaces around a path are not a part of it, even before a slash at its end.
    while parts and parts[-1].strip() in ("", "."):
        parts.pop()
    if parts:
        parts[-1] = parts[-1].rstrip()
    if ".." in parts:
        raise _refused(raw, policy, "it contains `..`")
    key = "/".join(parts)
    if not _is_allowed(key, policy):
        if _SCHEME.match(path) or not parts:
            raise _refused(raw, policy, "it is outside of the allowed prefixes")
        key = RELATIVE_TO + key
    if not _is_allowed(key, policy):
        raise _refused(raw, policy, "it is outside of the allowed prefixes")
    return key


def _decoded(raw: str, policy: SqlPolicy) -> str:
    path = raw.strip()
    for _ in range(4):
        decoded = unquote(path, errors="strict") if _decodable(path) else path
        if decoded == path:
            break
        path = decoded
    else:
        raise _refused(raw, policy, "it is percent-encoded several times over")
    if not path:
        raise _refused(raw, policy, "it is empty")
    if _NEVER.search(path):
        raise _refused(raw, policy, "it contains a character that is not allowed in a path")
    if _GLOB.search(path):
        raise _refused(raw, policy, "it contains a glob; a path stands for all files below it")
    return path


def _decodable(path: str) -> bool:
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _key(path: str, raw: str, policy: SqlPolicy) -> str:
    scheme = _SCHEME.match(path)
    if scheme is None:
        if path.startswith(("/", "~")):
            raise _refused(raw, policy, "it is a local path")
        return path
    if scheme.group(1).lower() not in _S3_SCHEMES:
        raise _refused(raw, policy, f"`{scheme.group(1)}:` is not supported here")
    rest = path[scheme.end() :]
    if not rest.startswith("//"):
        raise _refused(raw, policy, "it does not name a bucket")
    bucket, _, key = rest[2:].partition("/")
    if bucket != policy.bucket:
        raise _refused(raw, policy, "it is in another bucket")
    return key


def _is_allowed(key: str, policy: SqlPolicy) -> bool:
    prefixes = [prefix.strip("/") for prefix in policy.allowed_prefixes]
    return any(key.startswith(prefix + "/") for prefix in prefixes if prefix)


def _refused(raw: str, policy: SqlPolicy, reason: str) -> PathRefused:
    allowed = ", ".join(f"s3://{policy.bucket}/{prefix}" for prefix in policy.allowed_prefixes)
    return PathRefused(
        f"The path {raw[:200]!r} may not be read: {reason}.",
        hint=f"Paths below {allowed} may be read; a relative path `x` means "
        f"s3://{policy.bucket}/{RELATIVE_TO}x.",
    )
