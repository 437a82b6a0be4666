"""Kinds of values, checked when the settings are read."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*\.?"
)
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
DECIMAL = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
BINARY = {unit: 1024**power for power, name in enumerate("kmg", 1) for unit in (name, f"{name}i")}
BYTES = DECIMAL | BINARY | {f"{unit}b": size for unit, size in BINARY.items() if "i" in unit}
DAY, MONTH = 86_400, 30 * 86_400


@dataclass(frozen=True)
class Kind:
    """Describes the values of an annotated type, in words that follow "Expected"."""

    words: str


def _matching(pattern: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError
        return value

    return AfterValidator(check)


def _number(units: Mapping[str, float], unit: str) -> BeforeValidator:
    """Refuse a value with a unit, and suggest the number."""

    def check(value: Any) -> Any:
        match = AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is not None and (factor := units.get(match[2].lower())):
            amount = float(match[1]) * factor
            raise ValueError(f"Give it in {unit}, without the unit: {_plain(amount)}.")
        return value

    return BeforeValidator(check)


def _plain(amount: float) -> str:
    return str(int(amount)) if math.isfinite(amount) and amount == int(amount) else str(amount)


def _refuse_service_link(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("tcp://", "udp://")):
        raise ValueError(
            "Kubernetes sets this value for a Service of that name in the same namespace. Set "
            "enableServiceLinks: false in the pod, or set the variable in its env."
        )
    return value


def _split_url(value: str) -> SplitResult:
    """Return the parts. Raise `ValueError`, with the reason if there is one to give."""
    if not value.isprintable() or " " in value:
        raise ValueError("It contains spaces or control characters.")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("It does not begin with http:// or https://.")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("Its port is not valid.") from None
    if port == 0:
        raise ValueError("Its port is not valid.")
    host = parts.hostname or ""
    if ":" not in host and not HOST.fullmatch(host):
        raise ValueError("Its host is not valid.")
    if parts.query or parts.fragment:
        raise ValueError("It has a query or a fragment.")
    return parts


def _login_url(value: str) -> str:
    _split_url(value)
    return value


def _url(value: str) -> str:
    if _split_url(value).username is not None:
        raise ValueError("It contains a user name: credentials have their own variables.")
    return value


def _address(value: str) -> str:
    if _split_url(_url(value)).path not in {"", "/"}:
        raise ValueError("It has a path.")
    return value


def _origin(value: str) -> str:
    if _split_url(_url(value)).path:
        raise ValueError("It has a path.")
    return value


def _host(value: str) -> str:
    if "://" in value:
        raise ValueError("It is a URL. The port has its own variable.")
    if re.fullmatch(r"[^:]+:\d+", value):
        raise ValueError("It contains a port, which has its own variable.")
    if ":" not in value and not HOST.fullmatch(value.lower()):
        raise ValueError
    return value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip():
        raise ValueError(
            "It begins or ends with white space, perhaps the line break that `echo` adds."
        )
    if not text.isprintable():
        raise ValueError("It contains control characters.")
    return value


def _credential(value: SecretStr) -> SecretStr:
    name, colon, secret = value.get_secret_value().partition(":")
    if not (name and colon and secret):
        raise ValueError
    return value


def _network(value: str) -> str:
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise ValueError from None
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError
    return value


def _path(value: Path) -> Path:
    if "\0" in str(value) or "://" in str(value):
        raise ValueError
    return value


def _prefix(value: str) -> str:
    """Return the prefix with one slash at its end, so that `a` does not mean `asgard/` as well."""
    prefix = value.removesuffix("/")
    if re.search(r"[*?\[\]{}%\\]", prefix) or {"", ".", ".."} & set(prefix.split("/")):
        raise ValueError
    return f"{prefix}/"


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"It is not valid JSON: {error}.") from None
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


AsList = BeforeValidator(_split)
AsJson = BeforeValidator(_from_json)
AsUpper = BeforeValidator(_upper)

Seconds = Annotated[float, Field(allow_inf_nan=False), _number(SECONDS, "seconds"), Kind("seconds")]
WholeSeconds = Annotated[int, _number(SECONDS, "seconds"), Kind("whole seconds")]
Bytes = Annotated[int, _number(BYTES, "bytes"), Kind("bytes")]
Port = Annotated[int, Field(ge=1, le=65_535), BeforeValidator(_refuse_service_link)]

Url = Annotated[str, AfterValidator(_url), Kind("an http:// or https:// URL")]
LoginUrl = Annotated[str, AfterValidator(_login_url), Kind("an http:// or https:// URL")]
"""A URL that may contain a user name and a password."""
Address = Annotated[
    str, AfterValidator(_address), Kind("an http:// or https:// URL without a path")
]
Origin = Annotated[str, AfterValidator(_origin), Kind("an origin, a URL without a path")]
Host = Annotated[str, AfterValidator(_host), Kind("a host name or an IP address")]
HostPattern = Annotated[
    str,
    # A bare IPv6 address is never a Host header, but Kubernetes gives the pod's own in this form.
    _matching(
        r"\*|(\*\.)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?"
        r"|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
    ),
    Kind("a host name, an IP address (IPv6 in brackets), `*.example.com`, or `*`"),
]
Network = Annotated[str, AfterValidator(_network), Kind("an IP address or network")]

Secret = Annotated[SecretStr, AfterValidator(_secret), Kind("a secret")]
Credential = Annotated[
    SecretStr, AfterValidator(_secret), AfterValidator(_credential), Kind("CLIENT_ID:CLIENT_SECRET")
]
Word = Annotated[str, _matching(r"[!-~]+"), Kind("text without spaces")]
Line = Annotated[
    str, _matching(r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"), Kind("a name")
]
Segment = Annotated[
    str,
    _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    Kind("one segment of a path: letters, digits, dots, hyphens"),
]
SchemaName = Annotated[
    str,
    _matching(r"[a-z_][a-z0-9_]{0,62}"),
    Kind("a schema name: lower-case letters, digits and underscores"),
]
CatalogName = Annotated[
    str,
    _matching(r"[a-z_][a-z0-9_-]{0,62}"),
    Kind("a catalog name: lower-case letters, digits, underscores and hyphens"),
]
KubernetesName = Annotated[
    str,
    _matching(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"),
    Kind("a Kubernetes name: lower-case letters, digits, hyphens"),
]
Namespace = Annotated[
    str,
    _matching(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
    Kind("a Kubernetes namespace: lower-case letters, digits, hyphens"),
]
Bucket = Annotated[
    str,
    _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    Kind("a bucket name only: 3 to 63 lower-case letters, digits, dots, hyphens"),
]
Region = Annotated[str, _matching(r"[a-z0-9][a-z0-9-]*"), Kind("a region name")]
Image = Annotated[
    str,
    _matching(r"[a-z0-9][A-Za-z0-9._/:@-]*"),
    Kind("a container image, with its registry and tag"),
]
SparkVersion = Annotated[
    str,
    _matching(r"3\.5\.(9|[1-9][0-9]+)"),
    Kind("a Spark 3.5 version, at least 3.5.9"),
]
Branch = Annotated[str, _matching(r"[A-Za-z][A-Za-z0-9._/-]*"), Kind("a branch or tag name")]
Prefix = Annotated[
    str,
    AfterValidator(_prefix),
    Kind("a key prefix without bucket, leading slash, .. or wildcard"),
]
Connector = Annotated[
    str, _matching(r"airbyte-source-[a-z0-9-]+==[A-Za-z0-9._!+-]+"), Kind("a pinned connector")
]
Trust = Annotated[
    str, _matching(r"[^\x00-\x1f\x7f]+"), Kind("true, false, or the file of a CA to trust")
]
File = Annotated[Path, AfterValidator(_path), Kind("a path")]
Directory = Annotated[Path, AfterValidator(_path), Kind("a directory")]
AbsoluteDirectory = Annotated[Path, AfterValidator(_absolute), Kind("an absolute directory")]
