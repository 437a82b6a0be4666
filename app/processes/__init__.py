"""Child processes: SeaweedFS, connectors, and warm workers that speak JSON lines."""

from app.processes.child import ChildProcess, Limits
from app.processes.folders import WorkerFolders
from app.processes.pool import WorkerPool
from app.processes.worker import WorkerDied, WorkerError, WorkerProcess, WorkerTimeout

__all__ = [
    "ChildProcess",
    "Limits",
    "WorkerDied",
    "WorkerError",
    "WorkerFolders",
    "WorkerPool",
    "WorkerProcess",
    "WorkerTimeout",
]
