"""`asgard serve` raises the limit of open files, because each connection takes one."""

import subprocess
import sys

PROGRAM = """
import resource
from app.cli.main import _raise_descriptor_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 4_096)))
_raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_to_what_the_system_permits() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True
    )
    assert run.stdout.split() == ["4096", "4096"]
