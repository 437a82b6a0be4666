"""Who gets in: the keys that are kept, or the issuer of tokens."""

import stat
from datetime import UTC, datetime
from pathlib import Path

from app.auth.key_store import KeysInFile
from app.auth.oidc import IssuerKeys
from app.config import AuthMode, Settings
from app.doctor.report import CheckResult, finding

READ_BY_ALL = 0o004
SIGNERS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
"""The signatures that each type of key makes, by how their names begin."""


async def door_findings(settings: Settings) -> list[CheckResult]:
    match settings.authentication:
        case AuthMode.NONE:
            return [CheckResult("callers", True, "AUTH_MODE=none: whoever reaches the port")]
        case AuthMode.API_KEY:
            return await _key_findings(settings)
        case AuthMode.OIDC:
            issuer = settings.oidc_issuer
            advice = (
                f"{issuer}/.well-known/openid-configuration has to answer with `issuer` the same "
                "as OIDC_ISSUER to the letter, and with a `jwks_uri` that answers."
            )
            return [await finding("OIDC issuer", lambda: _issuer(settings), advice)]


async def _key_findings(settings: Settings) -> list[CheckResult]:
    """That the files can be used is known by now: it is among the settings' own checks."""
    file, plain = settings.keys_file, settings.auth_api_key_file
    make = f"asgard keys create NAME --scope admin (it writes {file})."
    found = [await finding("API keys", lambda: _keys(file, is_enough=plain is None), make)]
    if plain is not None:
        # In a pod nobody else is there, and the kubelet chooses the mode.
        is_shared = settings.kubernetes_service_host is None
        advice = f"chmod 600 {plain}"
        found.append(await finding("API key file", lambda: _plain(plain, is_shared), advice))
    return found


async def _keys(file: Path, is_enough: bool) -> str:
    now = datetime.now(UTC)
    live = [key for key in KeysInFile(file).read().keys if key.is_live(now)]
    if not live and is_enough:
        raise RuntimeError(f"there is no key that opens anything in {file}")
    return f"{len(live)} live in {file} ({_mode(file)})"


async def _plain(file: Path, is_shared: bool) -> str:
    mode = _mode(file)
    if is_shared and int(mode, 8) & READ_BY_ALL:
        raise RuntimeError(f"{file} ({mode}) can be read by everybody on this machine")
    return f"a key with every scope in {file} ({mode})"


def _mode(file: Path) -> str:
    return f"{stat.S_IMODE(file.stat().st_mode):04o}" if file.exists() else "not there"


async def _issuer(settings: Settings) -> str:
    keys = IssuerKeys(settings.oidc_issuer or "")
    try:
        found = [key.key_type for key in await keys.having(None)]
    finally:
        await keys.close()
    signatures = tuple(begin for kind in found for begin in SIGNERS.get(kind, ()))
    if not any(name.startswith(signatures) for name in settings.oidc_algorithms if signatures):
        allowed = ", ".join(settings.oidc_algorithms)
        kinds = ", ".join(sorted(set(found))) or "none"
        raise RuntimeError(f"no key of the issuer ({kinds}) makes signatures by {allowed}")
    return f"{settings.oidc_issuer}, {len(found)} keys, audience {settings.oidc_audience}"
