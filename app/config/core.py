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
    """Environment of the gateway. In `production`, nothing is embedded, and Asgard does not start
    if a setting is missing, a credential is a placeholder, or AUTH_MODE is unset."""
    log_level: Annotated[LogLevel, AsUpper] = "INFO"
    """Lowest level that is logged. Each event is one line of JSON on stderr."""
    api_version: Segment = "v1"
    """Version in the path of the routes: `/api/{API_VERSION}`."""
    port: Port = 8000
    """Port on which `asgard serve` listens, unless `--port` is given."""
    trusted_hosts: Annotated[tuple[HostPattern, ...], NoDecode, AsList] = Field(
        default=("localhost", "127.0.0.1", "[::1]"), examples=["asgard.example.com,localhost"]
    )
    """Host names that requests may use. `*` matches any name, and `*.example.com` a domain. The
    default keeps other web pages from reaching an open gateway on a laptop (DNS rebinding)."""
    max_body_bytes: Bytes = Field(default=4 * 1024 * 1024, ge=1024, le=2**30)
    """Maximum size of a request body. A larger body is refused with 413."""
    max_open_requests: int = Field(default=200, ge=0)
    """Maximum number of open requests per caller on each replica, including event streams. Further
    requests are refused with 429. 0 means no limit."""
    wait_seconds: Seconds = Field(default=50, ge=0, le=DAY)
    """Time after which routes that wait for a run respond with `running`."""
    request_timeout: Seconds = Field(default=60, gt=0, le=DAY)
    """Time limit for a body to arrive (408) and for a handler to respond (504). Time spent waiting
    for a run or a source is added."""
    warm_workers: bool = True
    """Whether the gateway starts one worker of each kind at startup. If false, a worker starts when
    it is first needed. That request waits up to 4 s. An idle embedded gateway then uses 0.6 GB less
    memory."""
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, AsList] = Field(
        default=(), examples=["https://app.example.com"]
    )
    """Origins of web pages that may call the API from a browser. `*` is refused. Default: none."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, AsList] = Field(
        default=(), examples=["10.0.0.0/8"]
    )
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted."""
