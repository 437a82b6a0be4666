"""How the documents' commands for a cluster are run beside a release as they lead to."""

import os
import re
import subprocess
from pathlib import Path

from tests.documents import CLUSTER, ROOT, blocks
from tests.integration.chart.tools import tool
from tests.integration.servers.kube import binaries

SAID_ONCE = re.compile(r"(export \w+=.*\n)+")
SHELL = Path(__file__).with_name("documented_shell.sh")


def run_document(kubeconfig: Path, document: str, folder: Path) -> subprocess.CompletedProcess[str]:
    found = [
        block.commands
        for block in blocks(document)
        if CLUSTER.search(block.commands) or SAID_ONCE.fullmatch(block.commands)
    ]
    assert len(found) > 1
    return run_commands(kubeconfig, "".join(found), folder)


def run_commands(kubeconfig: Path, commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a folder with the tree's own, so that what they write lies elsewhere."""
    for name in ("Dockerfile", "spark.Dockerfile", "helmchart", "k8s"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    path = f"{binaries('kubectl')}:{tool('helm').parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"source {SHELL}\n{commands}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
