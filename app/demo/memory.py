"""Samples the memory of the demo and all its children while it runs."""

import threading
from pathlib import Path

import psutil

INTERVAL = 0.5
"""The seconds between two samples."""


class MemorySampler:
    """Records the peak, in bytes. On Linux it is the proportional set size, which counts a page
    that several processes share only once. Elsewhere it is the resident set size."""

    def __init__(self) -> None:
        self.peak = 0
        self.at_peak: list[tuple[str, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(INTERVAL):
            family = (own, *own.children(recursive=True))
            # The proportional size is expensive to read, and never above the resident size.
            if sum(_resident(process) for process in family) <= self.peak:
                continue
            sizes = [_measure(process) for process in family]
            total = sum(size for _, size in sizes)
            if total > self.peak:
                self.peak = total
                self.at_peak = sorted(sizes, key=lambda item: -item[1])


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # the process ended meanwhile, or access is denied
        return 0


def _measure(process: psutil.Process) -> tuple[str, int]:
    try:
        memory = process.memory_full_info()
        return _label(process), getattr(memory, "pss", memory.rss)
    except psutil.Error:
        return "", 0


def _label(process: psutil.Process) -> str:
    """Return the module or script that runs, which is more telling than `python`."""
    command = process.cmdline()
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1]
    scripts = [Path(word).name for word in command[1:3] if "/" in word]
    return next(iter(scripts), "gateway" if "-c" in command else process.name())
