"""The module that a process of a test runs as its worker."""

WORKER = "tests.unit.processes.processes_worker"
"""By name: it prints while it is imported."""
