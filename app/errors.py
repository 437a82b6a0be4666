"""The one error tree. Each class knows its HTTP status and its problem type (RFC 9457).

    AsgardError                  500
      InvalidRequest             400
        MalformedRequest
        SqlRefused
          SqlNotParsed
          SqlNotSelect
          SqlTooLarge
          SqlJinja
          SqlFunctionRefused
          SqlTableRefused
          SqlInvalid
        TableNotFound
        SourceNotFound
          SourceUnreadable
        PathRefused
      InvalidBody                422
        SqlColumnUnnamed
        IdempotencyMismatch
      Unauthorized               401
      MissingScope               403
      CrossSite                  403
      NotFound                   404
      Gone                       410
      MethodNotAllowed           405
      Conflict                   409
      VersionMismatch            412
      RequestTooSlow             408
      BodyTooLarge               413
      TooManyRequests            429
      EngineFailed               424
        TableRefused
      NotSupported               501
      EngineUnreachable          503
      EngineTimeout              504
      AnswerTooSlow              504

Services and adapters raise these. One handler, in `app/http/problems.py`, turns them into
`application/problem+json`. Both adapters of a port raise the same class for the same fault.
`members` become extension members of the problem document. Many errors quote an engine, and are
stored in run records, so no error holds a known secret or a text of unlimited length.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from app.failure import FailureCause
from app.redaction import clean_member, clean_start
from app.shorten import LONGEST_DETAIL, LONGEST_HINT


class AsgardError(Exception):
    """An unexpected failure in Asgard. The gateway's log has the cause, under the `request_id`."""

    # The root of the tree. `detail` is a sentence for people, `problem` the stable URI path.

    status: ClassVar[int] = 500
    problem: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    cause: FailureCause = FailureCause.INTERNAL
    retryable: bool = False
    retry_after: int | None = None

    def __init_subclass__(cls) -> None:
        if "problem" in vars(cls):
            PROBLEMS[cls.problem] = cls

    def __init__(
        self,
        detail: str,
        *,
        hint: str | None = None,
        retry_after: int | None = None,
        cause: FailureCause | None = None,
        retryable: bool | None = None,
        public: str | None = None,
        **members: Any,
    ) -> None:
        """`retry_after`, `cause` and `retryable` override the defaults of the class. `public` is
        what anyone may know, even without a key: a text of ours that names no address or host."""
        self.public = public
        self.detail = clean_start(detail, LONGEST_DETAIL)
        super().__init__(self.detail)
        self.hint = clean_start(hint, LONGEST_HINT) if hint else None
        if retry_after is not None:
            self.retry_after = retry_after
        if cause is not None:
            self.cause = cause
        if retryable is not None:
            self.retryable = retryable
        self.members: dict[str, Any] = clean_member(
            {name: value for name, value in members.items() if value is not None}
        )

    def to_json(self) -> dict[str, Any]:
        """Return the error as `from_json` reads it. A class without its own problem type
        comes back as the class that it inherits the type from."""
        return {
            "problem": self.problem,
            "message": self.detail,
            "hint": self.hint,
            "retry_after": self.retry_after,
            "cause": self.cause,
            "retryable": self.retryable,
            "members": self.members,
        }

    @staticmethod
    def from_json(error: Mapping[str, Any]) -> "AsgardError":
        """Return the error that `to_json` described. Only the problem type and the message are
        required. Raises `KeyError` for an unknown problem type."""
        cause = error.get("cause")
        return PROBLEMS[error["problem"]](
            error["message"],
            hint=error.get("hint"),
            retry_after=error.get("retry_after"),
            cause=None if cause is None else FailureCause(cause),
            retryable=error.get("retryable"),
            **error.get("members", {}),
        )


PROBLEMS: dict[str, type[AsgardError]] = {AsgardError.problem: AsgardError}
"""Every problem type, and the class that it stands for."""


class InvalidRequest(AsgardError):
    """The body has the right shape, but the request is not valid."""

    status = 400
    problem = "invalid-request"
    title = "The request is not valid"


class MalformedRequest(InvalidRequest):
    """The request is not HTTP/1.1, or where it ends is ambiguous."""

    problem = "malformed-request"
    title = "The request is not valid HTTP"


class SqlRefused(InvalidRequest):
    """The SQL does not parse or may not run. `position` is `{line, column}`, both from 1."""

    problem = "sql-refused"
    title = "The SQL was refused"
    cause = FailureCause.SQL_ERROR


class SqlNotParsed(SqlRefused):
    problem = "sql-not-parsed"
    title = "The SQL does not parse"


class SqlNotSelect(SqlRefused):
    problem = "sql-not-select"
    title = "The SQL is not a SELECT"


class SqlTooLarge(SqlRefused):
    problem = "sql-too-large"
    title = "The SQL is too large or too deep"


class SqlJinja(SqlRefused):
    problem = "sql-jinja"
    title = "Template syntax is not allowed"


class SqlFunctionRefused(SqlRefused):
    problem = "sql-function-not-allowed"
    title = "The SQL calls a function that is not allowed"


class SqlTableRefused(SqlRefused):
    """The SQL names a table, schema, catalog or path that clients may not read."""

    problem = "sql-table-not-allowed"
    title = "The SQL reads something that is not allowed"
    cause = FailureCause.PERMISSION_DENIED


class SqlInvalid(SqlRefused):
    """The engine's planner refuses the SQL: an unknown column, a type mismatch, …"""

    problem = "sql-invalid"
    title = "The SQL cannot be planned"


class TableNotFound(InvalidRequest):
    """The SQL names a table that does not exist. `missing` names it, and `suggested_tables` lists
    tables with similar names."""

    problem = "table-not-found"
    title = "The table does not exist"
    cause = FailureCause.TABLE_NOT_FOUND


class SourceNotFound(InvalidRequest):
    """The file or path to read does not exist or has no readable files."""

    problem = "source-not-found"
    title = "There is nothing to read at that path"
    cause = FailureCause.TABLE_NOT_FOUND


class SourceUnreadable(SourceNotFound):
    """The file exists, but its content does not match its name or its `format`."""

    problem = "source-unreadable"
    title = "The file cannot be read"


class PathRefused(InvalidRequest):
    problem = "path-not-allowed"
    title = "The path is not allowed"
    cause = FailureCause.PERMISSION_DENIED


class InvalidBody(AsgardError):
    """The body or a parameter has the wrong shape or is unknown. `unknown` lists unknown names."""

    status = 422
    problem = "invalid-body"
    title = "The request has the wrong shape"


class SqlColumnUnnamed(InvalidBody):
    """A model's query leaves a column without a name. `column` is its number, from 1."""

    problem = "sql-column-unnamed"
    title = "A column of the query has no name"


class IdempotencyMismatch(InvalidBody):
    problem = "idempotency-key-reused"
    title = "The idempotency key was used with another body"


class Unauthorized(AsgardError):
    """The key or token is missing, malformed, unknown or expired."""

    status = 401
    problem = "unauthorized"
    title = "A valid key or token is required"
    cause = FailureCause.PERMISSION_DENIED


class MissingScope(AsgardError):
    """The key or token is valid, but does not allow this. `missing` names the scope."""

    status = 403
    problem = "missing-scope"
    title = "The key does not allow this"
    cause = FailureCause.PERMISSION_DENIED


class CrossSite(AsgardError):
    """A browser sent a change on behalf of a page on another site."""

    status = 403
    problem = "cross-site"
    title = "Pages on other sites may not make changes"
    cause = FailureCause.PERMISSION_DENIED


class NotFound(AsgardError):
    status = 404
    problem = "not-found"
    title = "Not found"


class Gone(AsgardError):
    """An earlier request with this Idempotency-Key created a resource that has since been
    deleted."""

    status = 410
    problem = "gone"
    title = "The resource was deleted"


class MethodNotAllowed(AsgardError):
    status = 405
    problem = "method-not-allowed"
    title = "The path does not support this method"


class Conflict(AsgardError):
    """The request conflicts with an existing resource or run. `conflicting_id` or `ids` names it,
    if it has an id."""

    status = 409
    problem = "conflict"
    title = "Conflict"


class VersionMismatch(AsgardError):
    status = 412
    problem = "version-mismatch"
    title = "The version is not the current one"


class RequestTooSlow(AsgardError):
    status = 408
    problem = "request-too-slow"
    title = "The request did not arrive in time"
    cause = FailureCause.TIMEOUT
    retryable = True


class BodyTooLarge(AsgardError):
    status = 413
    problem = "body-too-large"
    title = "The body is too large"


class TooManyRequests(AsgardError):
    status = 429
    problem = "too-many-requests"
    title = "Too many requests"
    retryable = True


class EngineFailed(AsgardError):
    """An engine reported a failure."""

    status = 424
    problem = "engine-failed"
    title = "The engine failed"


class TableRefused(EngineFailed):
    """The metadata of a table points to a location that a table of this name cannot have. `table`
    names the table."""

    problem = "table-refused"
    title = "The metadata of the table is not trustworthy"


class NotSupported(AsgardError):
    """The configured engine does not support this. `setting` names the variable that enables it."""

    status = 501
    problem = "not-supported"
    title = "Not supported by the configured engine"


class EngineUnreachable(AsgardError):
    """A dependency (S3, catalog, engine) cannot be reached at the moment."""

    status = 503
    problem = "engine-unreachable"
    title = "A dependency cannot be reached"
    cause = FailureCause.ENGINE_UNREACHABLE
    retryable = True
    retry_after = 5


class EngineTimeout(AsgardError):
    status = 504
    problem = "engine-timeout"
    title = "A dependency did not respond in time"
    cause = FailureCause.TIMEOUT
    retryable = True


class AnswerTooSlow(AsgardError):
    """Asgard itself did not respond in time. The work may still complete, so check before you
    send the request again."""

    status = 504
    problem = "answer-too-slow"
    title = "The response took too long"
    cause = FailureCause.TIMEOUT
