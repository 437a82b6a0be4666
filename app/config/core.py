from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from app.config.section import Section
from app.config.values import (
    DAY,
    AsList,
    AsUpper,
    Bytes,
    HostPattern,
    Network,
    Origin,
    Port,
    Seconds,
    Segment,
)

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Core(Section):
    model_config = SettingsConfigDict(title="Core")

    environment: Environment = Environment.DEVELOPMENT
    """With `production` nothing is embedded by itself, and there is no start with anything
    missing, with a placeholder for a credential, or without AUTH_MODE."""
    log_level: Annotated[LogLevel, AsUpper] = "INFO"
    """The least level that is logged, to stderr, as one JSON line an event."""
    api_version: Segment = "v1"
    """The routes are under `/api/{API_VERSION}`."""
    port: Port = 8000
    """Where `asgard serve` listens, unless `--port` says otherwise."""
    trusted_hosts: Annotated[tuple[HostPattern, ...], NoDecode, AsList] = Field(
        default=("localhost", "127.0.0.1", "[::1]"), examples=["asgard.example.com,localhost"]
    )
    """Host names that requests may carry; `*` is any, `*.example.com` a domain. The default keeps
    web pages elsewhere from reaching an open gateway on a laptop (DNS rebinding)."""
    max_body_bytes: Bytes = Field(default=4 * 1024 * 1024, ge=1024, le=2**30)
    """A larger body is refused with 413."""
    wait_seconds: Seconds = Field(default=50, ge=0, le=DAY)
    """How long documented routes wait for a run before they answer `running`."""
    request_timeout: Seconds = Field(default=60, gt=0, le=DAY)
    """How long a body may take to arrive (408), and a handler to answer (504), beyond what it
    waits for a run or asks of a source."""
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, AsList] = Field(
        default=(), examples=["https://app.example.com"]
    )
    """Web pages that may call the API from a browser. None unless set; `*` is refused."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, AsList] = Field(
        default=(), examples=["10.0.0.0/8"]
    )
    """Addresses or networks whose X-Forwarded-For and -Proto are believed."""
