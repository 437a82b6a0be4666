"""A child process that does not outlive the gateway, sees no secrets and logs to a file."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.processes.log_pipe import LogPipe
from app.redaction import Scope
from app.sandbox.policy import Sandbox

if TYPE_CHECKING:
    import psutil

LAUNCH = Path(__file__).with_name("launch.py")
INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
LOG_LIMIT = 8 * 1024 * 1024
LOG_CHECK_SECONDS = 5.0
PIPE_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Limits of one process. None keeps the system's own limit."""

    memory_bytes: int | None = None
    """Address space, not resident memory. Not usable for Go and Java programs."""
    cpu_seconds: int | None = None
    open_files: int | None = None
    file_bytes: int | None = None

    def by_name(self) -> dict[str, int]:
        values = {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_FSIZE": self.file_bytes,
        }
        return {name: value for name, value in values.items() if value is not None}


def inherited_environment() -> dict[str, str]:
    """Return the few variables that every child gets, never the gateway's settings."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class ChildProcess:
    """Start it on the event loop's thread: the kernel binds the parent-death signal to the thread
    that forked, and that one lives as long as the gateway."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        name: str,
        log: LogPipe | None = None,
        log_start: int = 0,
    ) -> None:
        self._process = process
        self.name = name
        self.log_path = log.path if log else None
        self._log = log
        self._log_start = log_start
        self._listed: psutil.Process | None = None
        self._watcher = asyncio.create_task(self._watch(), name=f"child {name}")

    @classmethod
    async def start(
        cls,
        argv: Sequence[str | Path],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log_path: Path | None = None,
        pipe_stdin: bool = False,
        pipe_stdout: bool = False,
        limits: Limits | None = None,
        sandbox: Sandbox | None = None,
        protocol: bool = False,
    ) -> "ChildProcess":
        """Start a child. `env` is added to a few harmless variables, and nothing else is inherited.
        Output that is not piped goes to `log_path` (appended, kept below 8 MiB, secrets hidden),
        or nowhere.
        `sandbox` applies on Linux, as far as the kernel supports it.
        With `protocol`, the piped stdout is the file descriptor that `ASGARD_PROTOCOL_FD` names,
        and what the program prints goes to the log.
        Raises `FileNotFoundError` if the program does not exist."""
        environment = {
            **inherited_environment(),
            **(sandbox.environment if sandbox else {}),
            **(env or {}),
        }
        program = _find_program(str(argv[0]), environment)
        options = {
            "parent": os.getpid(),
            "limits": (limits or Limits()).by_name(),
            "protocol": protocol,
            "sandbox": sandbox.options() if sandbox and sys.platform == "linux" else None,
        }
        launch = (sys.executable, "-I", "-S", str(LAUNCH), json.dumps(options))
        log, log_start = _open_log(log_path) if log_path else (None, 0)
        output = log.write_end if log else asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *launch,
                program,
                *(str(argument) for argument in argv[1:]),
                stdin=asyncio.subprocess.PIPE if pipe_stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if pipe_stdout else output,
                stderr=output,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                limit=PIPE_LIMIT,
            )
        except BaseException:
            if log:
                log.started()
                log.close()
            raise
        if log:
            log.started()
        return cls(process, name, log, log_start)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, the negative number of the signal, or None while it runs."""
        return self._process.returncode

    @property
    def alive(self) -> bool:
        """Return whether the system still has the process. `returncode` is set a moment later."""
        import psutil

        if self._process.returncode is not None:
            return False
        try:
            self._listed = self._listed or psutil.Process(self.pid)
            return self._listed.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @property
    def stdin(self) -> asyncio.StreamWriter:
        if self._process.stdin is None:
            raise ValueError(f"{self.name} was started without a pipe to its stdin")
        return self._process.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        if self._process.stdout is None:
            raise ValueError(f"{self.name} was started without a pipe from its stdout")
        return self._process.stdout

    def print_for(self, scope: Scope | None) -> None:
        """Assign what the child prints from now on to this request or run."""
        if self._log:
            self._log.belong_to(scope)

    async def wait(self) -> int:
        await asyncio.shield(self._watcher)
        code = self._process.returncode
        return -signal.SIGKILL if code is None else code

    async def terminate(self, grace: float = 10.0) -> int:
        """Ask the whole process group to end, and kill it after `grace` seconds."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()
        except asyncio.CancelledError:
            self.kill()
            raise

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def log_tail(self, lines: int = 50, max_bytes: int = 64 * 1024) -> str:
        """Return the last lines that this process, not an earlier one, wrote to its log."""
        if self._log is None or self.log_path is None:
            return ""
        self._log.drain()
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            start = max(min(self._log_start, end), end - max_bytes)
            log.seek(start)
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def _watch(self) -> None:
        try:
            while self._process.returncode is None:
                try:
                    async with asyncio.timeout(LOG_CHECK_SECONDS):
                        await self._process.wait()
                except TimeoutError:
                    self._trim_log()
            # The remaining processes of the group end with its leader.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        finally:
            if self._log:
                self._log.close()

    def _trim_log(self) -> None:
        if self.log_path and self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
            _keep_newest_half(self.log_path)
            self._log_start = 0


def _find_program(program: str, environment: Mapping[str, str]) -> str:
    path = shutil.which(program, path=environment.get("PATH"))
    if path is None:
        raise FileNotFoundError(f"the program {program} does not exist")
    return str(Path(path).absolute())


def _open_log(path: Path) -> tuple[LogPipe, int]:
    """Return the log, and its current length in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        _keep_newest_half(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return LogPipe(os.fdopen(descriptor, "ab"), path), os.fstat(descriptor).st_size


def _keep_newest_half(path: Path) -> None:
    """Truncate the file in place, because the writer holds it open in append mode."""
    with path.open("r+b") as log:
        log.seek(-LOG_LIMIT // 2, os.SEEK_END)
        newest = log.read().partition(b"\n")[2]
        log.truncate(0)
    with path.open("ab") as log:
        log.write(newest)
