"""What integration tests download or build once, and where it is kept."""

import hashlib
import os
import subprocess
from pathlib import Path


def cache_dir() -> Path:
    default = Path.home() / ".cache" / "asgard-it"
    return Path(os.environ.get("ASGARD_IT_CACHE", default))


def check_sums(folder: Path, sums: Path) -> None:
    """Raises unless every file of the list (`sha256  path`) is there and unchanged."""
    for line in sums.read_text().splitlines():
        expected, name = line.split()
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        assert found == expected, f"{name} has the sum {found}, not {expected}"


def run(*command: str | Path, cwd: Path | None = None) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=cwd, check=True)
