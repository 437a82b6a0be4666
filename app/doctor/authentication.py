"""Checks how callers authenticate: the stored keys, or the issuer of tokens."""

import stat
from datetime import UTC, datetime
from pathlib import Path

from app.auth.key_store import KeysInFile
from app.auth.oidc import IssuerKeys
from app.config import AuthMode, Settings
from app.doctor.report import CheckResult, finding

READ_BY_ALL = 0o004
SIGNERS = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}
"""The prefixes of the signature algorithms of each key type."""


async def authentication_findings(settings: Settings) -> list[CheckResult]:
    match settings.authentication:
        case AuthMode.NONE:
            return [CheckResult("callers", True, "AUTH_MODE=none: anyone who can reach the port")]
        case AuthMode.API_KEY:
            return await _key_findings(settings)
        case AuthMode.OIDC:
            issuer = settings.oidc_issuer
            advice = (
                f"{issuer}/.well-known/openid-configuration must return an `issuer` that equals "
                "OIDC_ISSUER exactly, and a `jwks_uri` that can be fetched."
            )
            return [await finding("OIDC issuer", lambda: _issuer(settings), advice)]


async def _key_findings(settings: Settings) -> list[CheckResult]:
    """Check the key files. The checks of the settings have already shown that they are usable."""
    file, plain = settings.keys_file, settings.auth_api_key_file
    create = f"asgard keys create NAME --scope admin (it writes {file})."
    results = [await finding("API keys", lambda: _keys(file, is_required=plain is None), create)]
    if plain is not None:
        # A pod has no other users, and the kubelet chooses the mode.
        is_shared = settings.kubernetes_service_host is None
        advice = f"chmod 600 {plain}"
        results.append(await finding("API key file", lambda: _plain(plain, is_shared), advice))
    return results


async def _keys(file: Path, is_required: bool) -> str:
    now = datetime.now(UTC)
    live = [key for key in KeysInFile(file).read().keys if key.is_live(now)]
    if not live and is_required:
        raise RuntimeError(f"there is no valid key in {file}")
    return f"{len(live)} valid in {file} ({_mode(file)})"


async def _plain(file: Path, is_shared: bool) -> str:
    mode = _mode(file)
    if is_shared and int(mode, 8) & READ_BY_ALL:
        raise RuntimeError(f"{file} ({mode}) is readable by every user of this machine")
    return f"a key with every scope in {file} ({mode})"


def _mode(file: Path) -> str:
    return f"{stat.S_IMODE(file.stat().st_mode):04o}" if file.exists() else "does not exist"


async def _issuer(settings: Settings) -> str:
    keys = IssuerKeys(settings.oidc_issuer or "")
    try:
        types = [key.key_type for key in await keys.get(None)]
    finally:
        await keys.close()
    prefixes = tuple(prefix for type_ in types for prefix in SIGNERS.get(type_, ()))
    if not any(name.startswith(prefixes) for name in settings.oidc_algorithms if prefixes):
        allowed = ", ".join(settings.oidc_algorithms)
        available = ", ".join(sorted(set(types))) or "none"
        raise RuntimeError(f"no key of the issuer ({available}) signs with {allowed}")
    return f"{settings.oidc_issuer}, {len(types)} keys, audience {settings.oidc_audience}"
