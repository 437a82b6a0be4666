"""Trino's address and credentials. No child process gets them."""

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
"""Seconds until a Trino that accepted and stays mute is given up; it answers a poll within one."""
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
        """A password or a token goes over https alone."""
        return self.http_scheme or ("https" if self.password or self.jwt_token else "http")

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def connect(
        self,
        tags: Sequence[str] = (),
        on_query: OnQuery | None = None,
        left: threading.Event | None = None,
        *,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
    ) -> Connection:
        """`on_query` is called with the id of every query while Trino still waits for its first
        poll. Trino runs nothing before that poll. Once `left` is set, nothing is polled, so a
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
            # Else requests takes REQUESTS_CA_BUNDLE, where that is set, for better advice.
            connection._http_session.trust_env = False
        hooks = connection._http_session.hooks["response"]
        if left:
            hooks.append(_stop(left))
        if on_query:
            hooks.append(_tell(on_query))
        return connection

    def _auth(self) -> Any:
        from trino.auth import BasicAuthentication, JWTAuthentication

        if self.jwt_token:
            return JWTAuthentication(self.jwt_token)
        if self.password:
            return BasicAuthentication(self.user, self.password)
        return None


def _tell(on_query: OnQuery) -> Callable[..., None]:
    def hook(response: Response, **_: Any) -> None:
        if response.request.method == "POST" and response.ok:
            try:
                query_id = response.json()["id"]
            except (ValueError, KeyError, TypeError):
                return  # not an answer of Trino's: the client will say so
            on_query(query_id)

    return hook


def _stop(left: threading.Event) -> Callable[..., None]:
    def hook(_: Response, **__: Any) -> None:
        if left.is_set():
            raise EngineFailed("Nobody is waiting for the query.", cause=FailureCause.CANCELLED)

    return hook


def mark(run_id: str) -> str:
    """A comment in every statement of a run, by which `system.runtime.queries` shows them."""
    return f"asgard run {run_id}"
