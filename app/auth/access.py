"""Checks scopes: each router states which ones it needs, and the OpenAPI document shows them."""

from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes

from app.caller import ANONYMOUS, Caller
from app.errors import MissingScope, Unauthorized

READS: dict[str, Any] = {"x-asgard-access": "read"}
"""The `openapi_extra` of a POST route that changes nothing."""
BEARER = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="An API key, or a token from the issuer."
)
API_KEY = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="apiKey", description="An API key."
)


async def current_caller(request: Request) -> Caller:
    """Return the caller that the edge authenticated."""
    caller: Caller | None = getattr(request.state, "caller", None)
    return ANONYMOUS if caller is None else caller


async def _allow(
    request: Request,
    domain: SecurityScopes,
    _: Annotated[object, Security(BEARER)],
    __: Annotated[object, Security(API_KEY)],
) -> None:
    """Refuse the request unless the edge authenticated a caller with sufficient scopes."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise Unauthorized("This request needs a key or a token.")
    extra = request.scope["route"].openapi_extra or {}
    needed = scope_of(domain.scopes[0], request.method, extra)
    if not caller.may(needed):
        raise MissingScope(
            f"The key or token lacks the scope {needed}.",
            hint="Ask the issuer of the key or token for one that has this scope.",
            missing=needed,
        )


def needs(domain: str) -> Any:
    """Return the dependency of a router or route. See `scope_of`."""
    return Security(_allow, scopes=[domain])


def scope_of(domain: str, method: str, extra: dict[str, Any]) -> str:
    """Return `DOMAIN:read` for GET and `DOMAIN:write` for other methods. A domain with a colon, or
    `admin`, is the scope itself."""
    if ":" in domain or domain == "admin":
        return domain
    reads = method in {"GET", "HEAD"} or extra.get("x-asgard-access") == "read"
    return f"{domain}:{'read' if reads else 'write'}"


def describe(document: dict[str, Any], is_closed: bool) -> dict[str, Any]:
    """Name the scope in each operation of an OpenAPI document. An open gateway has none."""
    if not is_closed:
        document.get("components", {}).pop("securitySchemes", None)
    for path in document["paths"].values():
        for method, operation in path.items():
            security = operation.pop("security", None)
            if not is_closed or security is None:
                continue
            operation["security"] = [
                {name: [scope_of(domain, method.upper(), operation)] for name, (domain,) in item}
                for item in (entry.items() for entry in security)
            ]
            scope = next(iter(operation["security"][0].values()))[0]
            description = operation.get("description", "")
            operation["description"] = f"{description}\n\nNeeds the scope `{scope}`.".strip()
    return document


CallerDep = Annotated[Caller, Depends(current_caller)]
