"""Finds every door of a process and of its children, and tries what a stranger gets there.

A door is a TCP port or a Unix socket that a process listens on. The kernel's tables list the doors,
so a test needs no list of its own. A stranger has no key, and no certificate that a server knows. A
stranger gets a refusal, or an `Answer`.
"""

import socket
import ssl
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PATIENCE = 5.0
"""Seconds until a port that does not answer counts as closed."""
FOREIGN = {
    "Host": "evil.example",
    "Origin": "http://evil.example",
    "Sec-Fetch-Site": "cross-site",
}
REFUSING = frozenset({400, 401, 403, 404, 405, 421})
REFUSALS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@dataclass(frozen=True)
class Door:
    process: str
    port: int | None = None
    socket: str | None = None

    def __str__(self) -> str:
        return f"{self.process} {self.socket or self.port}"

    @property
    def target(self) -> str:
        """Return the address for gRPC."""
        return f"unix:{self.socket}" if self.socket else f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Request:
    method: str
    path: str


@dataclass(frozen=True)
class Answer:
    """Something a stranger got instead of a refusal."""

    door: Door
    how: str
    """`GET /path`, or the gRPC method; with `tls ` before it."""
    said: str


def doors_of(pid: int) -> list[Door]:
    """Return the doors of the process and of all its descendants."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sorted({door for process in family for door in _doors(process)}, key=str)


def _doors(process: psutil.Process) -> Iterator[Door]:
    with suppress(psutil.NoSuchProcess):
        name, folder = process.name(), Path(process.cwd())
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield Door(name, port=connection.laddr.port)
        for connection in process.net_connections("unix"):
            if connection.laddr:
                yield Door(name, socket=str(folder / connection.laddr))


def network_of(pid: int) -> Path:
    """Return the name of the process's network namespace."""
    return Path(f"/proc/{pid}/ns/net").readlink()


def inner_ports(pid: int) -> set[int]:
    """Return the open TCP ports in the process's network, which may be a private one. In the
    kernel's table, only listening entries (state 0A) count."""
    listening = "0A"
    return {
        int(columns[1].rpartition(":")[2], 16)
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        if (columns := line.split())[3] == listening
    }


def knock(
    doors: Iterable[Door], requests: Sequence[Request], methods: Sequence[str]
) -> list[Answer]:
    """Try every request and every gRPC method at every door: in plain text, over TLS without a
    certificate, and over TLS with a certificate that the stranger made."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "stranger.pem"
        own.write_bytes(_certificate())
        return [
            answer
            for door in doors
            for answer in (*_by_http(door, requests, own), *_by_grpc(door, methods, own))
        ]


def _by_http(door: Door, requests: Sequence[Request], own: Path) -> Iterator[Answer]:
    anyone, stranger = (ssl.create_default_context() for _ in range(2))
    for context in (anyone, stranger):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stranger.load_cert_chain(own)
    for said, scheme, context in (
        ("", "http", anyone),
        ("tls ", "https", anyone),
        ("own tls ", "https", stranger),
    ):
        transport = httpx.HTTPTransport(verify=context, uds=door.socket)
        address = f"{scheme}://127.0.0.1:{door.port or 80}"
        with httpx.Client(transport=transport, timeout=PATIENCE) as client:
            if scheme == "https" and not _speaks_tls(client, address):
                continue
            for request in requests:
                yield from _asked(client, door, address, request, said)


def _speaks_tls(client: httpx.Client, address: str) -> bool:
    try:
        client.get(address)
    except httpx.TransportError as error:
        return "WRONG_VERSION_NUMBER" not in str(error)
    return True


def _asked(
    client: httpx.Client, door: Door, address: str, request: Request, said: str
) -> Iterator[Answer]:
    try:
        answer = client.request(request.method, address + request.path, headers=FOREIGN)
    except httpx.TransportError:
        return
    if answer.status_code not in REFUSING:
        how = f"{said}{request.method} {request.path}"
        yield Answer(door, how, f"{answer.status_code} {answer.text[:200]}")


def _by_grpc(door: Door, methods: Sequence[str], own: Path) -> Iterator[Answer]:
    for method in (REFLECTION, *methods):
        yield from _called(grpc.insecure_channel(door.target), door, method, method)
    if (seen := _seen_certificate(door)) is None:
        return
    options = [("grpc.ssl_target_name_override", _name_in(seen))]
    key = own.read_bytes()
    for said, credentials in (
        ("tls ", grpc.ssl_channel_credentials(seen)),
        ("own tls ", grpc.ssl_channel_credentials(seen, key, key)),
    ):
        for method in (REFLECTION, *methods):
            channel = grpc.secure_channel(door.target, credentials, options)
            yield from _called(channel, door, method, said + method)


def _called(channel: grpc.Channel, door: Door, method: str, how: str) -> Iterator[Answer]:
    with closing(channel):
        call = channel.unary_unary(method, _unchanged, _unchanged)
        try:
            answer = call(b"", timeout=PATIENCE)
        except grpc.RpcError as error:
            # A server of HTTP/1 or of other paths refuses in its own way.
            is_refusal = error.code() in REFUSALS or "http2 header" in (error.details() or "")
            if not is_refusal:
                yield Answer(door, how, f"{error.code().name} {error.details()}")
        else:
            yield Answer(door, how, repr(answer[:200]))


def _unchanged(message: bytes) -> bytes:
    return message


def _seen_certificate(door: Door) -> bytes | None:
    """Return the certificate that the server shows, so that the client's checks do not fail."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    kind = socket.AF_UNIX if door.socket else socket.AF_INET
    with suppress(OSError), socket.socket(kind) as plain:
        plain.settimeout(PATIENCE)
        plain.connect(door.socket or ("127.0.0.1", door.port))
        with context.wrap_socket(plain) as wrapped:
            if seen := wrapped.getpeercert(binary_form=True):
                return ssl.DER_cert_to_PEM_cert(seen).encode()
    return None


def _name_in(certificate: bytes) -> str:
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return str(names.value.get_values_for_type(x509.IPAddress)[0])


def _certificate() -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "asgard-seaweedfs")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
