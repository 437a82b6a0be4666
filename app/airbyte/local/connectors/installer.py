"""Installs connectors, each into a virtual environment of its own under `ASGARD_HOME`.

A virtual environment cannot be moved, so it is created in place. The file `.complete`, written
last, shows that it may be used. A file lock lets one process at a time install a connector.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from app.airbyte.local.connectors.packages import ConnectorPackage
from app.airbyte.local.source import Report
from app.errors import EngineFailed
from app.files import locked_by_polling, replace_atomically
from app.processes import ChildProcess

ReadSpec = Callable[[Path], Awaitable[dict[str, Any]]]

COMPLETE = ".complete"
REPORT_SECONDS = 2.0
TAIL_LINES = 15
NETWORK_PREFIXES = ("PIP_", "UV_")
NETWORK_NAMES = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"REQUESTS_CA_BUNDLE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}
)


def network_environment() -> dict[str, str]:
    """Returns the variables of pip, uv and the proxy, with which this machine reaches the
    network."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(NETWORK_PREFIXES) or name.upper() in NETWORK_NAMES
    }


class ConnectorInstaller:
    def __init__(self, home: Path, read_spec: ReadSpec) -> None:
        self._directory = home / "connectors"
        self._log = home / "logs" / "connector-install.log"
        self._read_spec = read_spec

    def program(self, package: ConnectorPackage) -> Path | None:
        """Returns the connector's executable, or None if it is not installed."""
        venv = self._directory / package.directory
        return venv / "bin" / package.program if (venv / COMPLETE).exists() else None

    def spec(self, package: ConnectorPackage) -> dict[str, Any] | None:
        """Returns the shipped spec, or the one that was read when it was installed."""
        if package.spec is not None:
            return package.spec
        with contextlib.suppress(FileNotFoundError):
            complete = self._directory / package.directory / COMPLETE
            spec: dict[str, Any] = json.loads(complete.read_bytes())["spec"]
            return spec
        return None

    async def install(self, package: ConnectorPackage, report: Report) -> Mapping[str, Any]:
        """Installs the connector, if it is not installed yet. Raises `EngineFailed` with pip's last
        lines."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        started = time.monotonic()
        venv = self._directory / package.directory
        async with locked_by_polling(self._directory / f"{package.directory}.lock"):
            if self.program(package) is None:
                await anyio.to_thread.run_sync(_remove, venv)
                try:
                    await self._build(package, venv, report)
                except BaseException:
                    await asyncio.shield(anyio.to_thread.run_sync(_remove, venv))
                    raise
        seconds = round(time.monotonic() - started, 2)
        return {"connector": package.name, "version": package.version, "install_seconds": seconds}

    async def _build(self, package: ConnectorPackage, venv: Path, report: Report) -> None:
        packages = max(1, package.requirements.count("=="))
        await report(f"Installing airbyte-source-{package.name} {package.version}")
        requirements = self._directory / f"{package.directory}.txt"
        requirements.write_text(package.requirements)
        uv = _uv()
        if uv is None or not await self._with_uv(uv, package, venv, requirements, report):
            await self._with_pip(package, venv, requirements, report)
        await report(f"Installed {packages} packages; reading the connector's spec")
        program = venv / "bin" / package.program
        if not program.exists():
            raise EngineFailed(f"airbyte-source-{package.name} has no program {package.program}.")
        spec = await self._read_spec(program)
        complete = json.dumps({"version": package.version, "spec": spec})
        replace_atomically(venv / COMPLETE, complete.encode())

    async def _with_uv(
        self, uv: Path, package: ConnectorPackage, venv: Path, requirements: Path, report: Report
    ) -> bool:
        """Returns False if uv fails: it does not read pip's configuration, which may be needed."""
        python = venv / "bin" / "python"
        failed = await self._run([uv, "venv", "--quiet", "--python", sys.executable, venv])
        if failed is None:
            argv: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", python]
            argv += [*_hashes(package), "--requirements", requirements]
            failed = await self._run(argv, venv, report)
        if failed is not None:
            await anyio.to_thread.run_sync(_remove, venv)
        return failed is None

    async def _with_pip(
        self, package: ConnectorPackage, venv: Path, requirements: Path, report: Report
    ) -> None:
        failed = await self._run([sys.executable, "-m", "venv", venv])
        if failed is None:
            python = venv / "bin" / "python"
            argv: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--no-input"]
            argv += ["--no-compile", *_hashes(package), "--requirement", requirements]
            failed = await self._run(argv, venv, report)
        if failed is not None:
            raise EngineFailed(
                f"airbyte-source-{package.name} could not be installed: "
                f"{failed or 'no reason given'}",
                hint="It is installed from the package index that pip is configured for.",
                retryable=True,
            )

    async def _run(
        self, argv: list[str | Path], venv: Path | None = None, report: Report | None = None
    ) -> str | None:
        """Returns None if it succeeded, else its last lines."""
        child = await ChildProcess.start(
            argv, name="connector installer", env=network_environment(), log_path=self._log
        )
        ended = asyncio.ensure_future(child.wait())
        reported = 0
        try:
            while not (await asyncio.wait({ended}, timeout=REPORT_SECONDS))[0]:
                installed = _installed_count(venv) if venv else 0
                if report is not None and installed > reported:
                    reported = installed
                    await report(f"{installed} packages are installed")
            code = ended.result()
        finally:
            ended.cancel()
            child.kill()
        return None if code == 0 else child.log_tail(TAIL_LINES)


def _uv() -> Path | None:
    sibling = Path(sys.executable).with_name("uv")
    program = str(sibling) if sibling.exists() else shutil.which("uv")
    return Path(program) if program else None


def _hashes(package: ConnectorPackage) -> list[str]:
    return ["--require-hashes"] if package.hashed else []


def _installed_count(venv: Path) -> int:
    return sum(1 for _ in venv.glob("lib/python*/site-packages/*.dist-info"))


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
