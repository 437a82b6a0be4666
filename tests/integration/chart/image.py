"""There is no container engine here: the build stage's steps, run in a directory of their own."""

import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.integration.chart.tools import ROOT

UID = 10001
PREFIX = "/opt/asgard"
"""Where the image has what is built; here it is another directory."""


@dataclass(frozen=True)
class Image:
    """Everything in `prefix` is read-only; programs run as another user than its owner."""

    home: Path

    @property
    def prefix(self) -> Path:
        return self.home / "prefix"

    def command(self, *arguments: str) -> list[str]:
        other = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        started = [str(self.prefix / "venv" / "bin" / arguments[0]), *arguments[1:]]
        return [*other, *started] if os.getuid() == 0 else started

    def environment(self, **settings: str) -> dict[str, str]:
        """As the last stage sets it, and nothing of the test's own."""
        return {
            "PATH": f"{self.prefix}/venv/bin:/usr/bin:/bin",
            "HOME": str(self.home / "tmp"),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ASGARD_HOME": str(self.home / "state"),
            "DBT_PROJECT_DIR": str(self.home / "dbt"),
            **settings,
        }


def build(home: Path) -> Image:
    """Runs the `COPY` and `RUN` of the Dockerfile's first stage."""
    image = Image(home)
    source = home / "src"
    for folder in (source, image.prefix):
        folder.mkdir()
    # As an emptyDir is: whoever runs the container may write into it, and does not own it.
    for name in ("tmp", "state"):
        (home / name).mkdir()
        (home / name).chmod(0o777)
    # Anyone may write into an emptyDir, but only this pod mounts it. This is not a mounted volume.
    (home / "dbt").mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(home / "dbt", UID, UID)
    venv.create(home / "base", with_pip=True, symlinks=True)
    path = f"{home / 'base' / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | _index()
    environment.pop("VIRTUAL_ENV", None)
    for step, rest in _steps("build"):
        if step == "COPY":
            *names, _ = rest.split()
            for name in names:
                _copy(ROOT / name, source / name)
        elif step == "RUN":
            command = rest.replace(PREFIX, str(image.prefix))
            done = subprocess.run(
                ["bash", "-euc", command], cwd=source, env=environment, capture_output=True
            )
            assert done.returncode == 0, done.stderr.decode()[-3000:]
    shutil.rmtree(source)
    subprocess.run(["chmod", "-R", "a-w,a+rX", str(image.prefix)], check=True)
    return image


def _steps(stage: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    begin = next(i for i, line in enumerate(lines) if line.endswith(f" AS {stage}"))
    steps: list[tuple[str, str]] = []
    for line in lines[begin + 1 :]:
        step, _, rest = line.partition(" ")
        if step == "FROM":
            break
        steps.append((step, rest))
    return steps


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _index() -> dict[str, str]:
    """uv does not read pip's configuration: whoever has set up a mirror means it for both."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    index = os.environ.get("PIP_INDEX_URL") or configured
    return {"UV_DEFAULT_INDEX": index} if index else {}
