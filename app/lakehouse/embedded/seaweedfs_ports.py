"""Secures the ports that SeaweedFS opens for its own parts, a dozen ports and sockets for HTTP and
gRPC. Each requires a certificate that only these parts have. S3 and the catalog require keys
instead.
"""

import hmac
import time
from ipaddress import IPv4Address
from pathlib import Path

from app.files import replace_atomically
from app.lakehouse.embedded.home import Home, Shared

GRPC = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
HTTP = ("MASTER", "VOLUME", "FILER", "ADMIN", "CLIENT")
HOST = IPv4Address("127.0.0.1")
OPTIONS = (
    # Only people and browsers use their HTTP. One GET to the master could delete every volume.
    "-disableHttp",
    "-s3.allowedOrigins=http://127.0.0.1",
    "-filer.allowedOrigins=http://127.0.0.1",
    # Sockets in the folder of SeaweedFS, which only our user can enter, instead of /tmp.
    "-filer.localSocket=filer.sock",
    "-s3.localSocket=s3.sock",
)
DAY = 24 * 60 * 60.0
RENEWED_AFTER = 365 * DAY
"""Seconds. The next start after that renews the certificate."""
VALID_DAYS = 10 * 365


def environment(home: Home, shared: Shared) -> dict[str, str]:
    pem = str(_certificate(home.path / "seaweedfs.pem"))
    grpc = {f"WEED_GRPC_{caller}_{part}": pem for caller in GRPC for part in ("CERT", "KEY")}
    http = {f"WEED_HTTPS_{caller}_{part}": pem for caller in HTTP for part in ("CERT", "KEY", "CA")}
    return {
        "WEED_CORS_ALLOWED_ORIGINS_VALUES": "http://127.0.0.1",
        "WEED_FILER_EXPOSE_DIRECTORY_METADATA_ENABLED": "false",
        "WEED_GRPC_CA": pem,
        "WEED_HTTPS_CLIENT_ENABLED": "true",
        **grpc,
        **http,
        **{f"WEED_JWT_{listener}_KEY": key for listener, key in jwt_keys(shared).items()},
    }


def jwt_keys(shared: Shared) -> dict[str, str]:
    def key(listener: str) -> str:
        return hmac.digest(shared.secret_key.encode(), listener.encode(), "sha256").hex()

    listeners = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
    return {listener: key(listener) for listener in listeners}


def _certificate(path: Path) -> Path:
    """Return the file with key and certificate. SeaweedFS's parts trust no other certificate."""
    if not path.exists() or time.time() - path.stat().st_mtime > RENEWED_AFTER:
        replace_atomically(path, _new_certificate().encode())
    return path


def _new_certificate() -> str:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "asgard-seaweedfs")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is set back must not make the certificate invalid.
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()
