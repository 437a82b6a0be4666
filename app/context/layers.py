"""Reports at startup which layers of the sandbox this system lacks."""

import structlog

from app.config import Settings
from app.processes.sandbox_layers import EXPOSED, LAYERS, NAMESPACES, TCP, reached
from app.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


async def report_layers(settings: Settings, metrics: Metrics) -> None:
    """Log one warning with each missing layer and what is exposed without it."""
    present = (await reached(settings.home))["layers"]
    for layer in LAYERS:
        metrics.sandbox_layers.labels(layer).set(layer in present)
    missing = {layer: EXPOSED[layer] for layer in LAYERS if layer not in present}
    if not settings.workers_connect("sql") and not settings.workers_connect("spark"):
        # Nothing needs to limit the network of workers without sockets.
        missing = {layer: text for layer, text in missing.items() if layer not in (NAMESPACES, TCP)}
    if missing:
        log.warning("sandbox_layers_missing", missing=missing, see="docs/security.md")
