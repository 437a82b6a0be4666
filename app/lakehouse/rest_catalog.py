"""pyiceberg's REST catalog with timeouts, and a token that is renewed before it expires.

pyiceberg alone waits forever for a catalog that accepts but does not answer, renews a token only
after it was refused, and for some calls (views) not even then. It also omits the `last-column-id`
of a new schema, without which Nessie refuses the schema.
"""

import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from pyiceberg.catalog.rest import RestCatalog, TableResponse
from pyiceberg.catalog.rest.auth import AuthManager, AuthManagerAdapter
from pyiceberg.exceptions import OAuthError
from requests.adapters import HTTPAdapter

from app.lakehouse.listeners import is_ours
from app.lakehouse.locations import TableLocations
from app.lakehouse.signed_tokens import LIFETIME, sign_token
from app.lakehouse.table_files import TableFiles, harmless
from app.lakehouse.timeouts import CONNECT_TIMEOUT, READ_TIMEOUT
from app.redaction import register_transient_secrets
from app.telemetry.calls import SILENT, Telemetry
from app.telemetry.outcomes import Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.table import (
        CommitTableResponse,
        StagedTable,
        Table,
    )
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.typedef import Identifier

POOL_SIZE = 16
RENEWAL_MARGIN = 300.0
"""Seconds before its expiry at which a token is renewed. No commit takes as long."""
DEFAULT_LIFETIME = 900.0
REFUSED_TOKEN = frozenset({401, 419})
SINGLE = frozenset({"config", "tokens", "commit", "rename", "properties", "metrics"})
RESOURCES = SINGLE | {"namespaces", "tables", "views", "transactions"}


class TimedAdapter(HTTPAdapter):
    """Gives every request a timeout, and repeats a request whose token was refused."""

    def __init__(
        self,
        credentials: "CatalogCredentials | SignedTokens | None",
        commit: "CommitInFlight",
        telemetry: Telemetry,
        read_timeout: float,
        own_user: bool,
    ) -> None:
        super().__init__(pool_connections=2, pool_maxsize=POOL_SIZE)
        self._timeout = (CONNECT_TIMEOUT, read_timeout)
        self._telemetry = telemetry
        self._credentials = credentials
        self._commit = commit
        self._own_user = own_user

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        self._commit.complete(request)
        response = self._send(request, *args, **kwargs)
        if self._credentials is None or response.status_code not in REFUSED_TOKEN:
            return response
        response.close()
        self._credentials.forget(request.headers.get("Authorization"))
        request.headers["Authorization"] = self._credentials.auth_header()
        return self._send(request, *args, **kwargs)

    def _send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        with self._telemetry.call("catalog", operation_of(request)) as call:
            try:
                if self._own_user and not is_ours(request.url or ""):
                    raise requests.ConnectionError(
                        "SeaweedFS does not listen on the catalog's port"
                    )
                response = super().send(request, *args, **kwargs)
            except requests.Timeout:
                call.outcome = Outcome.TIMEOUT
                raise
            except requests.RequestException:
                call.outcome = Outcome.UNREACHABLE
                raise
            call.outcome = Outcome.of_status(response.status_code)
            return response


def operation_of(request: requests.PreparedRequest) -> str:
    """Return the operation without names from the address, for example `GET table` or `POST
    tables`."""
    parts = urlsplit(request.url or "").path.split("/")
    kinds = [part for part in parts if part in RESOURCES]
    if not kinds:
        return f"{request.method} other"
    kind = kinds[-1]
    single = parts[-1] != kind and kind not in SINGLE
    return f"{request.method} {kind.removesuffix('s') if single else kind}"


class CommitInFlight(threading.local):
    """Facts about the table that this thread commits to, which pyiceberg has but does not send."""

    last_column_id: int | None = None

    def complete(self, request: requests.PreparedRequest) -> None:
        if self.last_column_id is None or not isinstance(request.body, bytes):
            return
        if b'"add-schema"' in request.body:
            body = json.loads(request.body)
            for update in body["updates"]:
                if update["action"] == "add-schema":
                    update["last-column-id"] = self._last_column_id(update["schema"])
            request.prepare_body(json.dumps(body).encode(), None)

    def _last_column_id(self, schema: dict[str, Any]) -> int:
        from pyiceberg.schema import Schema

        highest = Schema.model_validate(schema).highest_field_id
        return max(highest, self.last_column_id or 0)


class CatalogCredentials(AuthManager):
    """OAuth2 client credentials (RFC 6749, 4.4). Thread-safe."""

    def __init__(self, url: str, credential: str, read_timeout: float = READ_TIMEOUT) -> None:
        self._url = url
        self._timeout = (CONNECT_TIMEOUT, read_timeout)
        self._client_id, _, self._client_secret = credential.partition(":")
        self._renewing = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    def auth_header(self) -> str:
        with self._renewing:
            if self._token is None or time.monotonic() >= self._renew_at:
                self._fetch()
            return f"Bearer {self._token}"

    def forget(self, header: str | bytes | None) -> None:
        """Discard the token of a refused header, unless it has already been renewed."""
        with self._renewing:
            if header == f"Bearer {self._token}":
                self._token = None

    def _fetch(self) -> None:
        response = requests.post(
            self._url,
            data={
                "grant_type": "client_credentials",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "scope": "catalog",
            },
            timeout=self._timeout,
        )
        if response.status_code in {400, 401, 403}:
            raise OAuthError(f"the catalog refused the credential: {response.text[:200]}")
        response.raise_for_status()
        answer = response.json()
        lifetime = float(answer.get("expires_in") or DEFAULT_LIFETIME)
        self._token = answer["access_token"]
        register_transient_secrets([self._token])
        self._renew_at = time.monotonic() + max(lifetime - RENEWAL_MARGIN, lifetime / 2)


class SignedTokens(AuthManager):
    """Thread-safe."""

    def __init__(self, credential: str) -> None:
        self._credential = credential
        self._renewing = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    def auth_header(self) -> str:
        with self._renewing:
            if self._token is None or time.time() >= self._renew_at:
                self._token = sign_token(self._credential, LIFETIME)
                self._renew_at = time.time() + LIFETIME / 2
            return f"Bearer {self._token}"

    def forget(self, header: str | bytes | None) -> None:
        """This header was refused, for example because the clock was set forward."""
        with self._renewing:
            if header == f"Bearer {self._token}":
                self._token = None


class TimedRestCatalog(RestCatalog):
    """Gives each table only the files of its own place on the lake's own S3, whatever its
    properties and the catalog's response say, because every writer of a table can change its
    metadata."""

    def __init__(
        self,
        name: str,
        places: TableLocations,
        telemetry: Telemetry | None = None,
        read_timeout: float = READ_TIMEOUT,
        signs_tokens: bool = False,
        own_user: bool = False,
        **properties: str,
    ) -> None:
        self._telemetry = telemetry or SILENT
        self._read_timeout = read_timeout
        self._own_user = own_user
        self._credentials: CatalogCredentials | SignedTokens | None = None
        self._commit = CommitInFlight()
        self._places = places
        self._given = properties
        if credential := properties.get("credential"):
            self._credentials = (
                SignedTokens(credential)
                if signs_tokens
                else CatalogCredentials(properties["oauth2-server-uri"], credential, read_timeout)
            )
        # The credential is not passed on, or pyiceberg would also request tokens.
        rest = {key: value for key, value in properties.items() if key != "credential"}
        super().__init__(name, **rest)

    def commit_table(
        self,
        table: "Table",
        requirements: "tuple[TableRequirement, ...]",
        updates: "tuple[TableUpdate, ...]",
    ) -> "CommitTableResponse":
        self._commit.last_column_id = table.metadata.last_column_id
        try:
            response: CommitTableResponse = super().commit_table(table, requirements, updates)
        finally:
            self._commit.last_column_id = None
        return response.model_copy(update={"metadata": _harmless(response.metadata)})

    def _create_table(
        self,
        identifier: "str | Identifier",
        schema: "Schema | pa.Schema",
        location: str | None = None,
        *more: Any,
        **options: Any,
    ) -> TableResponse:
        """Name the location. SeaweedFS chooses another one if files are already there, from a
        second writer that creates the table at the same time or from a creation that died, and
        Asgard would then refuse the table."""
        location = location or self._places.location_of(self.identifier_to_tuple(identifier))
        response: TableResponse = super()._create_table(
            identifier, schema, location, *more, **options
        )
        return response

    def _response_to_table(
        self, identifier_tuple: tuple[str, ...], table_response: TableResponse
    ) -> "Table":
        safe = self._safe(identifier_tuple, table_response)
        table: Table = super()._response_to_table(identifier_tuple, safe)
        table.io = self._files(table)
        return table

    def _response_to_staged_table(
        self, identifier_tuple: tuple[str, ...], table_response: TableResponse
    ) -> "StagedTable":
        safe = self._safe(identifier_tuple, table_response)
        table: StagedTable = super()._response_to_staged_table(identifier_tuple, safe)
        table.io = self._files(table)
        return table

    def _safe(self, identifier: tuple[str, ...], response: TableResponse) -> TableResponse:
        """Return the response with only what Asgard trusts. Raises `TableRefused`."""
        metadata = response.metadata
        self._places.require_place(identifier, metadata.location, response.metadata_location)
        # Asgard has its own keys for the whole lake, and accepts none from a catalog.
        return response.model_copy(
            update={"metadata": _harmless(metadata), "config": {}, "storage_credentials": []}
        )

    def _files(self, table: "Table") -> TableFiles:
        return TableFiles(self._given, self._places.written(table.name(), table.location()))

    def _load_file_io(self, *_: object) -> TableFiles:
        return TableFiles(self._given, None)

    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        # A proxy of the environment would get what is meant for a server of this user.
        session.trust_env = not self._own_user
        for scheme in ("http://", "https://"):
            adapter = TimedAdapter(
                self._credentials,
                self._commit,
                self._telemetry,
                self._read_timeout,
                self._own_user,
            )
            session.mount(scheme, adapter)
        if self._credentials:
            self._auth_manager = self._credentials
            session.auth = AuthManagerAdapter(self._credentials)
        return session


def _harmless(metadata: "TableMetadata") -> "TableMetadata":
    return metadata.model_copy(update={"properties": harmless(metadata.properties)})
