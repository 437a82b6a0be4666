"""Addresses and credentials of the lake, as plain values that can be passed to child processes."""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.lakehouse.locations import TableLocations
from app.lakehouse.signed_tokens import WORKER_LIFETIME, sign_token
from app.lakehouse.timeouts import CONNECT_TIMEOUT, READ_TIMEOUT

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from app.telemetry.calls import Telemetry


@dataclass(frozen=True)
class S3Connection:
    """`endpoint` is None for AWS itself. With an endpoint, buckets are addressed by path."""

    endpoint: str | None
    region: str
    access_key: str | None
    """Without keys, AWS's own credential chain is used."""
    secret_key: str | None = field(repr=False)
    bucket: str
    read_timeout: float = READ_TIMEOUT
    own_user: bool = False
    """Whether the server runs as our own user. No request goes to a server of another user."""


@dataclass(frozen=True)
class CatalogConnection:
    """An Iceberg REST catalog. `credential` is `CLIENT_ID:CLIENT_SECRET`, for OAuth2, `token` a
    bearer token that is renewed elsewhere."""

    uri: str
    warehouse: str | None
    ref: str = "main"
    credential: str | None = field(default=None, repr=False)
    oauth2_server_uri: str | None = None
    signs_tokens: bool = False
    """Whether clients sign tokens with `credential` themselves, and never send it."""
    token: str | None = field(default=None, repr=False)
    read_timeout: float = READ_TIMEOUT
    own_user: bool = False
    """As for S3."""
    hides_history: bool = False
    """Whether the catalog shows only the newest snapshot of a table, as Nessie does."""

    @property
    def token_url(self) -> str:
        """Return the URL that issues tokens: by default the catalog's own."""
        return self.oauth2_server_uri or f"{self.uri.rstrip('/')}/v1/oauth/tokens"

    def worker_token(self) -> str | None:
        """Return a token for an engine that cannot renew it, or None if only an OAuth2 server gives
        one for `credential`."""
        if self.credential and self.signs_tokens:
            return sign_token(self.credential, WORKER_LIFETIME)
        return self.token


@dataclass(frozen=True)
class Lake:
    s3: S3Connection
    catalog: CatalogConnection
    catalog_name: str = "iceberg"
    silver_schema: str = "silver"
    gold_schema: str = "gold"
    staging_schema: str = "asgard_staging"
    records_schema: str = "asgard"
    namespaces_under: str | None = None
    """The location of new namespaces (`s3://bucket`). None leaves it to the catalog."""
    tables_under: str | None = None
    """The location below which the catalog has the table `schema.name`, as `schema/name`. None
    allows any location that the catalog gives."""

    def to_json(self) -> str:
        """Return JSON that contains secrets. Pass it to a child over its stdin, never by argv or
        environment."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Lake":
        values = json.loads(text)
        s3 = S3Connection(**values.pop("s3"))
        catalog = CatalogConnection(**values.pop("catalog"))
        return cls(s3=s3, catalog=catalog, **values)

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Return the hosts of S3 and the catalog, all that a process needs to read the lake."""
        urls = [self.catalog.uri, self.catalog.oauth2_server_uri or self.catalog.uri]
        urls += [self.s3.endpoint] if self.s3.endpoint else self._aws_endpoints()
        return tuple(dict.fromkeys(_address(url) for url in urls))

    def _aws_endpoints(self) -> list[str]:
        """Return the endpoints with the bucket in the host name, and without it."""
        buckets = dict.fromkeys((self.s3.bucket, self.catalog.warehouse or self.s3.bucket))
        domains = (f"s3.{self.s3.region}.amazonaws.com", "s3.amazonaws.com")
        hosts = [
            host for domain in domains for host in (domain, *(f"{b}.{domain}" for b in buckets))
        ]
        return [f"https://{host}" for host in hosts]

    @property
    def places(self) -> TableLocations:
        locations = {
            name: self.namespace_properties(name).get("location") for name in self.namespaces
        }
        schemas = {name: location for name, location in locations.items() if location}
        return TableLocations(self.s3.bucket, self.tables_under, schemas)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Return every namespace that has to exist in the catalog."""
        schemas = ("bronze", self.silver_schema, self.gold_schema)
        return tuple(dict.fromkeys((*schemas, self.records_schema, self.staging_schema)))

    def namespace_properties(self, name: str) -> dict[str, str]:
        """Return the properties to create a namespace with."""
        if self.namespaces_under is None:
            return {}
        # The bucket's `asgard/` holds runs and locks. The tables of records are in another folder.
        folder = "asgard_records" if name == self.records_schema else name
        return {"location": f"{self.namespaces_under}/{folder}"}

    def pyiceberg_properties(self) -> dict[str, str]:
        """Return the properties for `load_catalog("lake", **properties)`."""
        properties = {
            "type": "rest",
            "uri": self.catalog.uri,
            "view-endpoints-supported": "true",
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            "s3.region": self.s3.region,
            "s3.connect-timeout": str(CONNECT_TIMEOUT),
            "s3.request-timeout": str(self.s3.read_timeout),
        }
        if self.catalog.warehouse:
            properties["warehouse"] = self.catalog.warehouse
        if self.s3.access_key and self.s3.secret_key:
            properties["s3.access-key-id"] = self.s3.access_key
            properties["s3.secret-access-key"] = self.s3.secret_key
        if self.s3.endpoint:
            properties |= {"s3.endpoint": self.s3.endpoint, "s3.path-style-access": "true"}
        if self.catalog.credential:
            properties["credential"] = self.catalog.credential
            properties["oauth2-server-uri"] = self.catalog.token_url
        if self.catalog.token:
            properties["token"] = self.catalog.token
        return properties

    def open_catalog(self, telemetry: "Telemetry | None" = None) -> "RestCatalog":
        """Open the catalog, which blocks for a round trip or two. Its HTTP session has timeouts
        and renews its token."""
        from app.lakehouse.rest_catalog import TimedRestCatalog

        seconds, properties = self.catalog.read_timeout, self.pyiceberg_properties()
        return TimedRestCatalog(
            "lake",
            self.places,
            telemetry,
            seconds,
            signs_tokens=self.catalog.signs_tokens,
            own_user=self.catalog.own_user,
            **properties,
        )


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
