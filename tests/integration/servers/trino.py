"""Trino 476 on one node, with an Iceberg catalog over REST."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trino

from app.lakehouse.connection import S3Connection
from tests.integration.servers.downloads import MavenArtifact, unpacked, untar, unzip
from tests.integration.servers.java import java_home
from tests.integration.servers.process import ServerProcess
from tests.ports import free_port

VERSION = "476"
CORE = MavenArtifact(
    f"io.trino:trino-server-core:{VERSION}:tar.gz",
    "0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158",
)
PLUGINS = {
    "iceberg": MavenArtifact(
        f"io.trino:trino-iceberg:{VERSION}:zip",
        "99edba5b491ed94d599aeb61e0794272d3569d8b563f3bb8569e8a49daa87b6c",
    ),
    "tpch": MavenArtifact(
        f"io.trino:trino-tpch:{VERSION}:zip",
        "d83467efe864b1e77013208c293835e197bc3135318c2895521c1efbb7f232bd",
    ),
}
UNUSED_JARS = ("*snowflake-jdbc*", "*rocksdbjni*", "*coral-*")
START_SECONDS = 180
JVM = """\
-server
-Xmx1G
-Xms256M
-XX:+UseSerialGC
-XX:+ExitOnOutOfMemoryError
-XX:ReservedCodeCacheSize=150M
-Djdk.attach.allowAttachSelf=true
-Dfile.encoding=UTF-8
--enable-native-access=ALL-UNNAMED
--sun-misc-unsafe-memory-access=allow
"""
CONFIGURATION = """\
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
node.internal-address=127.0.0.1
catalog.management=dynamic
query.max-memory=300MB
query.max-memory-per-node=300MB
memory.heap-headroom-per-node=200MB
query.client.timeout=15s
"""
ICEBERG = """\
connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={uri}
iceberg.unique-table-location=true
fs.native-s3.enabled=true
s3.endpoint={s3.endpoint}
s3.region={s3.region}
s3.path-style-access=true
s3.aws-access-key={s3.access_key}
s3.aws-secret-key={s3.secret_key}
"""


@dataclass
class Trino:
    port: int
    folder: Path
    process: ServerProcess = field(repr=False)
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """How the client of the tests gets in, where not everybody may."""

    def execute(self, sql: str) -> list[list[object]]:
        way_in = {"host": "127.0.0.1", "port": self.port, "user": "test", **self.login}
        connection = trino.dbapi.connect(max_attempts=1, request_timeout=60, **way_in)
        cursor = connection.cursor()
        cursor.execute(sql)
        rows: list[list[object]] = cursor.fetchall()
        return rows

    def start_again(self) -> None:
        """On the same port, after `process.kill()`."""
        self.process = _start(self.folder)
        self.process.await_ready(self._ready, START_SECONDS)

    def stop(self) -> None:
        self.process.kill()  # a graceful end takes 10 s

    def _ready(self) -> bool:
        """`starting: false` is not enough: it may have no nodes yet."""
        try:
            return self.execute("SELECT count(*) FROM tpch.tiny.region") == [[5]]
        except (trino.exceptions.Error, OSError):
            return False


def start_trino(
    folder: Path,
    s3: S3Connection,
    uri: str,
    more: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    login: Mapping[str, Any] | None = None,
) -> Trino:
    """`more` are further properties of the catalog `iceberg`, `config` of Trino itself."""
    port = free_port()
    etc = folder / "etc"
    (etc / "catalog").mkdir(parents=True)
    (etc / "jvm.config").write_text(JVM)
    own = CONFIGURATION.format(port=port) + _lines(config)
    (etc / "config.properties").write_text(own)
    (etc / "node.properties").write_text(
        f"node.environment=test\nnode.id=test\nnode.data-dir={folder / 'var'}\n"
    )
    catalog = ICEBERG.format(uri=uri, s3=s3) + _lines(more)
    (etc / "catalog" / "iceberg.properties").write_text(catalog)
    (etc / "catalog" / "tpch.properties").write_text("connector.name=tpch\n")
    server = Trino(port, folder, _start(folder), login or {})
    try:
        server.process.await_ready(server._ready, START_SECONDS)
    except BaseException:
        server.stop()
        raise
    return server


def _lines(properties: Mapping[str, str] | None) -> str:
    return "".join(f"{name}={value}\n" for name, value in (properties or {}).items())


def _start(folder: Path) -> ServerProcess:
    launcher = _installation() / "bin" / "launcher"
    return ServerProcess(
        [launcher, "--etc-dir", folder / "etc", "run"],
        folder=folder,
        env={"JAVA_HOME": str(java_home())},
    )


def _installation() -> Path:
    def fill(folder: Path) -> None:
        untar(CORE.path, folder)
        for name, archive in PLUGINS.items():
            unzip(archive.path, folder / "plugin" / name, strip=True)
        for pattern in UNUSED_JARS:
            for jar in (folder / "plugin").rglob(pattern):
                jar.unlink()

    return unpacked(f"trino-{VERSION}", fill)
