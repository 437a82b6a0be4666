"""SeaweedFS as a server that Asgard did not start: S3, and an Iceberg REST catalog."""

import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from app.lakehouse.connection import S3Connection
from app.lakehouse.embedded import seaweedfs
from app.lakehouse.embedded.home import Shared, new_shared
from app.lakehouse.storage import open_client
from tests.integration.servers.process import ServerProcess

START_SECONDS = 60


@dataclass
class SeaweedFs:
    shared: Shared
    process: ServerProcess

    @property
    def s3(self) -> S3Connection:
        return seaweedfs.s3_connection(self.shared)

    @property
    def rest_uri(self) -> str:
        return seaweedfs.catalog_connection(self.shared).uri

    @property
    def warehouse(self) -> str:
        return seaweedfs.TABLE_BUCKET

    @property
    def credential(self) -> str:
        return f"{self.shared.access_key}:{self.shared.secret_key}"

    def stop(self) -> None:
        self.process.stop()
        seaweedfs.remove_sockets(self.shared)

    def _ready(self) -> bool:
        """What was stored can be read, and the catalog answers."""
        try:
            client = open_client(self.s3)
            client.put_object(Bucket=self.s3.bucket, Key="ready", Body=b"yes")
            stored: bytes = client.get_object(Bucket=self.s3.bucket, Key="ready")["Body"].read()
            asked = httpx.get(f"{self.rest_uri}/v1/config", timeout=5)
        except (BotoCoreError, ClientError, httpx.HTTPError):
            return False
        return stored == b"yes" and asked.status_code < httpx.codes.INTERNAL_SERVER_ERROR


def start_seaweedfs(folder: Path) -> SeaweedFs:
    shared = new_shared()
    data = folder / "data"
    data.mkdir(parents=True)
    ports = [f"-{name}={port}" for name, port in sorted(shared.ports.items())]
    weed = Path(sys.executable).with_name("weed")
    process = ServerProcess(
        [weed, "-logtostderr=true", "mini", f"-dir={data}", *seaweedfs.OPTIONS, *ports],
        folder=folder,
        env={
            "AWS_ACCESS_KEY_ID": shared.access_key,
            "AWS_SECRET_ACCESS_KEY": shared.secret_key,
            "HOME": str(data),
        },
    )
    server = SeaweedFs(shared, process)
    try:
        process.await_ready(server._ready, START_SECONDS)
    except BaseException:
        server.stop()
        raise
    return server
