"""Calls of Airbyte and of Kubernetes, counted where they are sent; both played on a real port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from app.airbyte.remote.client import AirbyteClient
from app.config import Settings
from app.data_transformation.kubernetes.api import KubernetesApi
from app.errors import AsgardError
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from tests.http_server import Asked, serving

Answers = dict[str, tuple[int, object]]


@contextmanager
def server(answers: Answers) -> Iterator[str]:
    """Answers a path by its last part; 404 else."""

    def answer(asked: Asked) -> tuple[int, object]:
        last = asked.path.partition("?")[0].rpartition("/")[2]
        return answers.get(last, (404, {"message": "none"}))

    with serving(answer) as port:
        yield f"http://127.0.0.1:{port}"


def counted(metrics: Metrics) -> dict[tuple[str, ...], float]:
    [family] = metrics.calls.collect()
    return {
        (
            sample.labels["engine"],
            sample.labels["operation"],
            sample.labels["outcome"],
        ): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@pytest.mark.thorough
async def test_calls_of_airbyte_are_counted_without_the_ids_in_their_paths() -> None:
    metrics = Metrics()
    answers: Answers = {"sources": (200, {"data": []}), "7": (500, {}), "8": (200, {"jobId": 8})}
    with server(answers) as url:
        settings = Settings(_env_file=None, airbyte_base_url=url)  # type: ignore[call-arg]
        client = AirbyteClient(settings, Telemetry(metrics))
        await client.page("/sources", {"limit": 10})
        await client.get("/jobs/8")
        for path in ("/jobs/7", "/jobs/9"):
            with pytest.raises(AsgardError):
                await client.get(path, attempts=2)
        await client.close()
    gone = AirbyteClient(
        Settings(_env_file=None, airbyte_base_url="http://127.0.0.1:9"),  # type: ignore[call-arg]
        Telemetry(metrics),
    )
    with pytest.raises(AsgardError):
        await gone.get("/workspaces", attempts=1)
    await gone.close()
    assert counted(metrics) == {
        ("airbyte", "GET sources", "ok"): 1,
        ("airbyte", "GET jobs", "ok"): 1,
        ("airbyte", "GET jobs", "failed"): 2,
        ("airbyte", "GET jobs", "refused"): 1,
        ("airbyte", "GET workspaces", "unreachable"): 1,
    }


def kubeconfig(path: Path, url: str) -> Path:
    named = {"name": "test"}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{**named, "cluster": {"server": url}}],
                "users": [{**named, "user": {}}],
                "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
            }
        )
    )
    return path


@pytest.mark.thorough
async def test_calls_of_kubernetes_are_counted_by_verb_and_resource(tmp_path: Path) -> None:
    metrics = Metrics()
    answers: Answers = {"one": (200, {}), "two": (403, {"message": "no"}), "three": (503, {})}
    with server(answers) as url:
        config = kubeconfig(tmp_path / "config", url)
        telemetry = Telemetry(metrics)
        api = KubernetesApi("jobs", in_cluster=False, kubeconfig=config, telemetry=telemetry)
        await api.application("one")
        for name in ("none", "two", "three"):
            with pytest.raises(AsgardError):
                await api.application(name)
        with pytest.raises(AsgardError):
            await api.delete("none")
        api.close()
    config = kubeconfig(tmp_path / "gone", "http://127.0.0.1:9")
    api = KubernetesApi("jobs", in_cluster=False, kubeconfig=config, telemetry=telemetry)
    with pytest.raises(AsgardError):
        await api.pod("one")
    api.close()
    assert counted(metrics) == {
        ("kubernetes", "get sparkapplications", "ok"): 1,
        ("kubernetes", "get sparkapplications", "refused"): 1,
        ("kubernetes", "get sparkapplications", "failed"): 2,
        ("kubernetes", "delete sparkapplications", "refused"): 1,
        ("kubernetes", "get pods", "unreachable"): 1,
    }
