"""Runs the whole application with authentication, on the session's lakehouse."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from app.auth.keys import KeyFile, KnownKey, make_key
from app.config import Settings
from app.main import create_app


@dataclass(frozen=True)
class GatewayHarness:
    app: FastAPI
    client: httpx.AsyncClient

    @property
    def audit(self) -> Any:
        return self.app.state.context.audit


@asynccontextmanager
async def gateway_harness(settings: Settings, **given: Any) -> AsyncIterator[GatewayHarness]:
    app = create_app(settings.model_copy(update={"trusted_hosts": ("asgard",), **given}))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://asgard", timeout=120) as client,
    ):
        yield GatewayHarness(app, client)


@asynccontextmanager
async def served(app: FastAPI, http: Any = "app.edge.wire:Wire") -> AsyncIterator[int]:
    """Yield its port, on a real socket. Its lifespan does not run."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", http=http))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


def write_keys(path: Path, *keys: KnownKey) -> None:
    path.write_text(KeyFile(keys=keys).model_dump_json())
    path.chmod(0o600)


def key_of(*scopes: str, name: str = "tester") -> tuple[str, KnownKey]:
    made = make_key(name, scopes, None)
    return made.plain, made.known


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
