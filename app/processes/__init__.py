"""Child processes: SeaweedFS, connectors, and warm workers that speak JSON lines."""

from app.processes.child import ChildProcess, Limits
from app.processes.errors import WorkerDied, WorkerError, WorkerFailure, WorkerTimeout
from app.processes.folders import WorkerFolders
from app.processes.pool import WorkerPool
from app.processes.worker import WorkerProcess
from app.processes.worker_messages import WrongMessage

__all__ = [
    "ChildProcess",
    "Limits",
    "WorkerDied",
    "WorkerError",
    "WorkerFailure",
    "WorkerFolders",
    "WorkerPool",
    "WorkerProcess",
    "WorkerTimeout",
    "WrongMessage",
]
