"""Tests the sandbox of processes that run dbt and SQL from inside, since kernels differ."""

from typing import Any

from app.config import Settings
from app.doctor.report import CheckResult, finding
from app.processes.sandbox_layers import LANDLOCK, PARTS, reached
from app.sandbox.landlock import abi

UNREACHED = ("127.0.0.1", 1)
"""A host that the probe may reach, as builders on DuckDB may reach the lake. Nothing listens."""
WHAT = "builder sandbox"
ADVICE = (
    "docs/security.md lists what each layer needs: user namespaces, Landlock (Linux 5.13), seccomp."
)


async def sandbox_findings(settings: Settings) -> list[CheckResult]:
    """Warns, but never fails, when a layer is missing: the SQL guard works without it."""
    hosts = (UNREACHED,) if settings.workers_connect("sql") else ()
    layers: dict[str, Any] = {}

    async def check() -> str:
        layers.update(await reached(settings.home, hosts))
        return _describe(layers)

    result = await finding(WHAT, check, ADVICE)
    if not result.ok:
        return [result]
    is_warning = any(layers[name] for name in ("file", "network", "process"))
    is_warning = is_warning or bool(_missing(layers))
    return [CheckResult(WHAT, True, result.message, ADVICE, is_warning=is_warning)]


def _missing(reached: dict[str, Any]) -> list[str]:
    return [part for part in PARTS if part not in reached["layers"]]


def _describe(reached: dict[str, Any]) -> str:
    named = {LANDLOCK: f"{LANDLOCK} ABI {abi()}"}
    layers = [layer for layer in reached["layers"] if layer not in PARTS]
    active = ", ".join(named.get(layer, layer) for layer in layers) or "no sandbox layer"
    if missing := _missing(reached):
        active += f"; missing: {', '.join(missing)}"
    words = {
        "file": "files of the gateway",
        "network": "other local ports",
        "process": "other processes",
    }
    open_ = [word for name, word in words.items() if reached[name]]
    verdict = f"builders can reach {', '.join(open_)}" if open_ else "builders are confined"
    return f"{verdict} ({active})"
