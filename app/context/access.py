"""Creates the authenticator that `AUTH_MODE` selects."""

from contextlib import AsyncExitStack

from app.auth.authenticator import Anybody, Authenticator, ByKey, ByToken
from app.auth.key_ring import KeyRing
from app.auth.oidc import Issuer, TokenVerifier
from app.config import AuthMode, Settings


def authenticator(settings: Settings, stack: AsyncExitStack) -> Authenticator:
    match settings.authentication:
        case AuthMode.NONE:
            return Anybody()
        case AuthMode.API_KEY:
            return ByKey(KeyRing(settings.keys_file, settings.auth_api_key_file))
        case AuthMode.OIDC:
            verifier = TokenVerifier(_issuer(settings))
            stack.push_async_callback(verifier.close)
            return ByToken(verifier)


def _issuer(settings: Settings) -> Issuer:
    return Issuer(
        url=settings.oidc_issuer or "",
        audience=settings.oidc_audience or "",
        algorithms=settings.oidc_algorithms,
        clock_skew=settings.oidc_clock_skew,
        roles_claim=settings.oidc_roles_claim,
        role_scopes=settings.oidc_role_scopes,
    )
