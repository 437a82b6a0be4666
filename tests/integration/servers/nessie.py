"""Nessie 0.99.0, in memory: an Iceberg REST catalog with branches."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from app.lakehouse.connection import S3Connection
from tests.integration.servers.downloads import MavenArtifact
from tests.integration.servers.java import java_home
from tests.integration.servers.process import ServerProcess
from tests.ports import free_port

VERSION = "0.99.0"
RUNNER = MavenArtifact(
    f"org.projectnessie.nessie:nessie-quarkus:{VERSION}:jar:runner",
    "ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417",
)
START_SECONDS = 90
CONFIGURATION = """\
quarkus.http.host=127.0.0.1
quarkus.http.port={port}
quarkus.management.host=127.0.0.1
quarkus.management.port={management}
nessie.version.store.type=IN_MEMORY
nessie.server.authentication.enabled=false
nessie.catalog.default-warehouse=warehouse
nessie.catalog.warehouses.warehouse.location=s3://{s3.bucket}/nessie
nessie.catalog.service.s3.default-options.endpoint={s3.endpoint}/
nessie.catalog.service.s3.default-options.path-style-access=true
nessie.catalog.service.s3.default-options.region={s3.region}
nessie.catalog.service.s3.default-options.access-key=urn:nessie-secret:quarkus:lake
nessie.catalog.service.s3.default-options.request-signing-enabled=false
lake.name={s3.access_key}
lake.secret={s3.secret_key}
"""


@dataclass
class Nessie:
    port: int
    process: ServerProcess

    @property
    def uri(self) -> str:
        """As `NESSIE_URI` is documented."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def rest_uri(self, ref: str = "main") -> str:
        return f"http://127.0.0.1:{self.port}/iceberg/{ref}"

    def create_branch(self, name: str, source: str = "main") -> None:
        trees = f"http://127.0.0.1:{self.port}/api/v2/trees"
        found = httpx.get(f"{trees}/{source}").raise_for_status().json()["reference"]
        made = httpx.post(trees, params={"name": name, "type": "BRANCH"}, json=found)
        made.raise_for_status()

    def stop(self) -> None:
        self.process.stop()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.rest_uri()}/v1/config", timeout=5).is_success
        except httpx.HTTPError:
            return False


def start_nessie(folder: Path, s3: S3Connection) -> Nessie:
    port = free_port()
    configuration = folder / "config" / "application.properties"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(CONFIGURATION.format(port=port, management=free_port(), s3=s3))
    java = java_home() / "bin" / "java"
    options = ["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC"]
    process = ServerProcess([java, *options, "-jar", RUNNER.path], folder=folder)
    server = Nessie(port, process)
    try:
        process.await_ready(server._ready, START_SECONDS)
    except BaseException:
        server.stop()
        raise
    return server
