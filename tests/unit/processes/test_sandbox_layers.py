"""The gateway logs at its start which layers of the sandbox are missing, and what that exposes."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.config import Settings
from app.context import layers
from app.context.layers import report_layers
from app.doctor.sandbox import sandbox_findings
from app.processes import sandbox_layers
from app.processes.sandbox_layers import (
    EXPOSED,
    LANDLOCK,
    LAYERS,
    NAMESPACES,
    SIGNALS,
    TCP,
    TRUNCATION,
    reached,
)
from app.telemetry.metrics import Metrics

EMBEDDED = Settings(_env_file=None)
CLUSTER = Settings(_env_file=None, trino_host="trino.example.com", spark_image="spark:1")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The home of these settings is a relative path."""
    monkeypatch.chdir(tmp_path)


def series(metrics: Metrics) -> dict[str, float | None]:
    read = metrics.registry.get_sample_value
    return {layer: read("asgard_sandbox_layer", {"layer": layer}) for layer in LAYERS}


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    async def found(_: Path) -> dict[str, object]:
        return {"layers": [layer for layer in LAYERS if layer not in missing]}

    monkeypatch.setattr(layers, "reached", found)


async def told(settings: Settings, metrics: Metrics) -> list[dict[str, object]]:
    with capture_logs() as logs:
        await report_layers(settings, metrics)
    return [dict(entry) for entry in logs]


async def test_a_system_with_all_layers_gets_no_warning() -> None:
    metrics = Metrics()
    assert (await reached(EMBEDDED.home))["layers"] == list(LAYERS)
    assert await told(EMBEDDED, metrics) == []
    assert series(metrics) == dict.fromkeys(LAYERS, 1.0)


@pytest.mark.parametrize("missing", LAYERS)
async def test_one_warning_names_a_missing_layer_and_what_is_exposed(monkeypatch, missing) -> None:
    without(monkeypatch, missing)
    metrics = Metrics()
    [warning] = await told(EMBEDDED, metrics)
    assert warning == {
        "log_level": "warning",
        "event": "sandbox_layers_missing",
        "missing": {missing: EXPOSED[missing]},
        "see": "docs/security.md",
    }
    assert series(metrics) == {layer: float(layer != missing) for layer in LAYERS}


async def test_several_missing_layers_give_one_warning(monkeypatch) -> None:
    without(monkeypatch, *LAYERS)
    [warning] = await told(EMBEDDED, Metrics())
    assert list(warning["missing"]) == list(LAYERS)


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        (0, [LANDLOCK, TRUNCATION, TCP, SIGNALS]),
        (2, [TRUNCATION, TCP, SIGNALS]),
        (3, [TCP, SIGNALS]),
        (4, [SIGNALS]),
        (6, []),
    ],
)
async def test_an_old_landlock_lacks_some_layers(
    monkeypatch, version: int, missing: list[str]
) -> None:
    monkeypatch.setattr(sandbox_layers, "abi", lambda: version)
    present = (await reached(EMBEDDED.home))["layers"]
    assert [layer for layer in LAYERS if layer not in present] == missing
    [finding] = await sandbox_findings(EMBEDDED)
    parts = [part for part in missing if part != LANDLOCK]
    assert finding.is_warning == bool(missing)
    assert (f"missing: {', '.join(parts)}" in finding.message) == bool(missing)


async def test_workers_without_sockets_need_no_namespaces(monkeypatch) -> None:
    without(monkeypatch, NAMESPACES, TCP)
    metrics = Metrics()
    assert await told(CLUSTER, metrics) == []
    assert series(metrics)[NAMESPACES] == 0
    without(monkeypatch, LANDLOCK)
    [warning] = await told(CLUSTER, Metrics())
    assert list(warning["missing"]) == [LANDLOCK]


@pytest.fixture
def readable_home() -> Iterator[Path]:
    home = Path(sys.prefix) / "lib" / "asgard-test-home"
    yield home
    shutil.rmtree(home)


async def test_a_home_that_workers_can_read_is_found(tmp_path: Path, readable_home: Path) -> None:
    assert not (await reached(tmp_path))["file"]
    assert (await reached(readable_home))["file"]
