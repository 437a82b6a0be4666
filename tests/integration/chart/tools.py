"""Helm, helm-unittest, kubeconform and CRDs, once, as Go modules; and how they are called."""

import json
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from tests.integration.servers.cache import cache_dir, run
from tests.integration.servers.kube import binaries

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helmchart"
RECIPE = Path(__file__).parent / "tools"
CRDS = {
    "sigs.k8s.io/gateway-api@v1.4.0": (
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
"""Where their projects publish them; go.sum in `tools/crds` has the modules' sums."""


def tool(name: str) -> Path:
    recipe = [*sorted(RECIPE.glob("*/go.sum")), RECIPE / "build.sh"]
    key = sha256(b"".join(path.read_bytes() for path in recipe)).hexdigest()[:16]
    folder = cache_dir() / "chart-tools" / key
    if not (folder / name).exists():
        run(RECIPE / "build.sh", folder)
    return folder / name


def crds() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for module, names in CRDS.items():
        command = ["go", "mod", "download", "-json", module]
        downloaded = subprocess.run(
            command, cwd=RECIPE / "crds", check=True, capture_output=True, text=True
        )
        folder = Path(json.loads(downloaded.stdout)["Dir"])
        found += [yaml.safe_load((folder / name).read_text()) for name in names]
    return found


def helm(*arguments: str | Path, kubeconfig: Path | None = None) -> str:
    """Its output; raises `AssertionError` with what it said when it fails."""
    config = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    return called([tool("helm"), *arguments, *config])


def template(*arguments: str | Path) -> list[dict[str, Any]]:
    rendered = helm("template", "asgard", CHART, "-n", "asgard", *arguments)
    return [document for document in yaml.safe_load_all(rendered) if document]


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    command = [binaries("kubectl") / "kubectl", "--kubeconfig", kubeconfig, *arguments]
    return called(command, stdin=stdin)


def attempt(kubeconfig: Path, *arguments: str) -> bool:
    command = [binaries("kubectl") / "kubectl", "--kubeconfig", kubeconfig, *arguments]
    return subprocess.run(command, capture_output=True).returncode == 0


def called(command: Sequence[str | Path], stdin: str | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def refusal(command: Sequence[str | Path], stdin: str | None = None) -> str:
    """What a command says that has to fail."""
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr
