"""Holds Trino's address and credentials. No child process gets them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.errors import EngineFailed
from app.failure import FailureCause

if TYPE_CHECKING:
    from requests import Response
    from trino.dbapi import Connection

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 30.0
"""Seconds to wait for a Trino that accepted a request. It answers a poll within one."""
ATTEMPTS = 3
TAG = "asgard"

OnQuery = Callable[[str], None]


@dataclass(frozen=True)
class TrinoConnection:
    """`verify` is whether the certificate is checked, or the file of the CA to trust."""

    host: str
    port: int
    user: str
    catalog: str
    schema: str
    password: str | None = field(default=None, repr=False)
    jwt_token: str | None = field(default=None, repr=False)
    http_scheme: str | None = None
    verify: bool | str = True

    @property
    def scheme(self) -> str:
        """Return the scheme. A password or a token is sent only over https."""
        return self.http_scheme or ("https" if self.password or self.jwt_token else "http")

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def connect(
        self,
        tags: Sequence[str] = (),
        on_query: OnQuery | None = None,
        abandoned: threading.Event | None = None,
        *,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
    ) -> Connection:
        """`on_query` is called with the id of every query while Trino still waits for its first
        poll. Trino runs nothing before that poll. Once `abandoned` is set, nothing is polled, so a
        statement that is posted later never runs. Attempts are those of one HTTP request: a
        statement that is posted twice runs once, since only one of the two is polled."""
        from trino.dbapi import Connection

        connection = Connection(
            host=self.host,
            port=self.port,
            user=self.user,
            catalog=self.catalog,
            schema=self.schema,
            source=TAG,
            client_tags=[TAG, *tags],
            http_scheme=self.scheme,
            auth=self._auth(),
            verify=self.verify,
            timezone="UTC",
            request_timeout=(CONNECT_TIMEOUT, read_timeout),
            max_attempts=attempts,
        )
        if self.verify is not True:
            # Otherwise requests prefers REQUESTS_CA_BUNDLE, if that is set.
            connection._http_session.trust_env = False
        hooks = connection._http_session.hooks["response"]
        if abandoned:
            hooks.append(_stop_if(abandoned))
        if on_query:
            hooks.append(_report_to(on_query))
        return connection

    def _auth(self) -> Any:
        from trino.auth import BasicAuthentication, JWTAuthentication

        if self.jwt_token:
            return JWTAuthentication(self.jwt_token)
        if self.password:
            return BasicAuthentication(self.user, self.password)
        return None


def _report_to(on_query: OnQuery) -> Callable[..., None]:
    def hook(response: Response, **_: Any) -> None:
        if response.request.method == "POST" and response.ok:
            try:
                query_id = response.json()["id"]
            except (ValueError, KeyError, TypeError):
                return  # not an answer of Trino: the client will report it
            on_query(query_id)

    return hook


def _stop_if(abandoned: threading.Event) -> Callable[..., None]:
    def hook(_: Response, **__: Any) -> None:
        if abandoned.is_set():
            raise EngineFailed("The query was abandoned.", cause=FailureCause.CANCELLED)

    return hook


def mark(run_id: str) -> str:
    """Return the comment with which every statement of a run begins. Asgard finds them by it in
    `system.runtime.queries`."""
    return f"/* asgard run {run_id} */"
