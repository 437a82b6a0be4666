"""The application: `asgard serve`, or `uvicorn app.main:app --http app.edge.wire:Wire`."""

import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import fastapi_offline
import structlog
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from app.airbyte import router as airbyte
from app.audit import router as audit
from app.auth import access
from app.auth.key_ring import key_faults
from app.caller import ADMIN
from app.config import (
    AuthMode,
    ConfigurationError,
    Settings,
    check_choice,
    load_settings,
    unknown_variables,
)
from app.context import ProcessContext, open_context
from app.data_products import router as data_products
from app.data_transformation import router as data_transformation
from app.dbt_transformations import router as dbt_transformations
from app.edge import health
from app.edge.middleware import Edge
from app.edge.root import root_response
from app.edge.security_headers import page_policy
from app.edge.shutdown import on_signals
from app.edge.strict import STRICTLY
from app.http import problems
from app.http.tags import TAGS
from app.redaction import clean
from app.runs import router as runs
from app.telemetry.calls import Telemetry
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from app.telemetry.tracing import Tracing

DESCRIPTION = """One REST API for a lakehouse: Airbyte loads data into bronze, Spark transforms it
into silver, dbt builds gold, and data products are gold tables with an owner."""

log = structlog.get_logger()

ROUTERS = (
    (airbyte.router, "airbyte"),
    (data_transformation.router, "spark"),
    (dbt_transformations.router, "dbt"),
    (data_products.router, "data-products"),
    (runs.router, "runs"),
    (audit.router, ADMIN),
)
"""Each router, with the prefix of its scopes."""


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Build the document on first use: that takes longer than the rest of the start."""
        if self.openapi_schema is None:
            document = problems.describe(super().openapi())
            access.describe(document, is_closed=self.state.is_closed)
        return super().openapi()


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Its engines open in the lifespan. Raises `ConfigurationError`."""
    check_choice(settings)
    configure_logging(settings.log_level, settings.secrets())
    metrics = Metrics()
    tracing = _tracing(settings)
    telemetry = Telemetry(metrics, tracing)

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with _closing(tracing), _opened(settings, metrics, telemetry) as context:
            api.state.context = context
            metrics.ready.set(1)

            def drain() -> None:
                api.state.draining = True
                metrics.ready.set(0)
                context.runs.drain()

            try:
                with on_signals(drain):
                    yield
            finally:
                drain()

    api = Api(
        title="Asgard",
        version=importlib.metadata.version("asgard"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=TAGS,
        generate_unique_id_function=attrgetter("name"),
    )
    api.state.metrics = metrics
    api.state.draining = False
    api.state.rounds = health.Rounds()
    api.state.is_closed = settings.authentication is not AuthMode.NONE
    problems.install(api)
    api.include_router(health.router, dependencies=[STRICTLY])
    for router, domain in ROUTERS:
        api.include_router(
            router,
            prefix=f"/api/{settings.api_version}",
            dependencies=[access.needs(domain), STRICTLY],
        )
    _add_docs(api, settings.api_version)
    api.add_middleware(Edge, metrics=metrics, settings=settings, telemetry=telemetry)
    if settings.cors_origins:
        # CORS is the outermost middleware, because a browser's preflight has no key.
        api.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "X-API-Key",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "Last-Event-ID",
                "Prefer",
                "Traceparent",
                "X-Request-Id",
            ],
            expose_headers=[
                "ETag",
                "Idempotency-Replayed",
                "Location",
                "Retry-After",
                "Traceresponse",
                "WWW-Authenticate",
                "X-Request-Id",
            ],
        )
    return api


@asynccontextmanager
async def _opened(
    settings: Settings, metrics: Metrics, telemetry: Telemetry
) -> AsyncIterator[ProcessContext]:
    try:
        async with open_context(settings, metrics, telemetry) as context:
            yield context
    except ConfigurationError as error:
        # The server prints a traceback, which hides the reason.
        log.error("cannot_start", reason=str(error))
        raise


def _tracing(settings: Settings) -> "Tracing | None":
    """Return the tracing client, if configured. Its import takes 12 MB, so it happens only then."""
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from app.telemetry.tracing import Tracing

    headers = settings.otel_exporter_otlp_headers
    return Tracing(
        endpoint=settings.otel_exporter_otlp_endpoint,
        headers=headers.get_secret_value() if headers else "",
        service=settings.otel_service_name,
        version=importlib.metadata.version("asgard"),
    )


@asynccontextmanager
async def _closing(tracing: "Tracing | None") -> AsyncIterator[None]:
    try:
        yield
    finally:
        if tracing is not None:
            await anyio.to_thread.run_sync(tracing.close)


def _add_docs(api: FastAPI, api_version: str) -> None:
    """Serve Swagger UI and ReDoc from the package's own files, so they work without internet."""
    files = Path(fastapi_offline.__file__).parent / "static"
    api.mount("/static", StaticFiles(directory=files), name="static")
    icon = "/static/favicon.png"

    @api.get("/", include_in_schema=False)
    def get_root(request: Request) -> Response:
        return root_response(request, api_version)

    @api.get("/docs", include_in_schema=False)
    def swagger() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Asgard",
            swagger_js_url="/static/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger-ui.css",
            swagger_favicon_url=icon,
        )
        return _guarded(page)

    @api.get("/redoc", include_in_schema=False)
    def redoc() -> HTMLResponse:
        page = get_redoc_html(
            openapi_url="/openapi.json",
            title="Asgard",
            redoc_js_url="/static/redoc.standalone.js",
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )
        return _guarded(page)

    @api.get("/problems", tags=["problems"], dependencies=[STRICTLY])
    def list_problems() -> list[problems.ProblemType]:
        """Lists every `type` that an error can have, and its meaning."""
        return [problems.ProblemType(**item) for item in problems.catalogue()]


def _guarded(page: HTMLResponse) -> HTMLResponse:
    page.headers["Content-Security-Policy"] = page_policy(bytes(page.body).decode())
    return page


def _app_from_environment() -> FastAPI:
    try:
        api = create_app(load_settings(key_faults))
    except ConfigurationError as error:
        raise SystemExit(clean(f"Asgard cannot start: {error}")) from None
    for unknown in unknown_variables():
        log.warning("unknown_variable", variable=unknown.name, nearest=unknown.nearest)
    return api


app = _app_from_environment()
