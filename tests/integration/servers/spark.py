"""Real Spark 3.5 with Iceberg and S3A, from PyPI and Maven, as in the Spark image."""

import os
import shutil
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.servers.cache import cache_dir, check_sums, run

VERSION = "3.5.9"
SUMS = Path(__file__).parent / "spark.sha256"
POM = Path(__file__).parent.parent / "spark" / "pom.xml"


@dataclass(frozen=True)
class Spark:
    """Spark, where `image` is the root of the image's file system."""

    folder: Path
    image: Path

    def submit(self, main_file: str, arguments: list[str], conf: Mapping[str, str]) -> list[str]:
        jars = str(self.folder / "jars" / "*")
        local = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.driver.extraClassPath": jars,
            "spark.executor.extraClassPath": jars,
        }
        options = [f"--conf={name}={value}" for name, value in {**conf, **local}.items()]
        script = self.image / main_file.removeprefix("local:///")
        binary = self.folder / "venv" / "bin" / "spark-submit"
        return [str(binary), "--master", "local[2]", *options, str(script), *arguments]

    def environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with only the test's path: no venv, no keys."""
        python = str(self.folder / "venv" / "bin" / "python")
        return {"PATH": os.environ["PATH"], "HOME": "/tmp", "PYSPARK_PYTHON": python, **secrets}


def spark(image: Path) -> Spark:
    """Fill `image` as `spark.Dockerfile` does."""
    folder = cache_dir() / f"spark-{VERSION}"
    if not (folder / "venv" / "bin" / "spark-submit").exists():
        _fetch(folder)
    check_sums(folder, SUMS)
    job = Path(__file__).parents[3] / "app" / "data_transformation" / "job.py"
    target = image / "opt" / "asgard"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(job, target)
    return Spark(folder, image)


def _fetch(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DexcludeTransitive=true"]
    run(*copy, f"-DoutputDirectory={folder / 'jars'}", cwd=POM.parent)
    venv.create(folder / "venv", with_pip=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip"]
    run(*pip, "install", "-q", "setuptools==80.9.0", "wheel==0.45.1")
    download = ["download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    run(*pip, *download, "-d", str(folder / "sdist"), f"pyspark=={VERSION}")
    check_sums(folder, SUMS)
    sdist = str(folder / "sdist" / f"pyspark-{VERSION}.tar.gz")
    run(*pip, "install", "-q", "--no-build-isolation", sdist)
