"""Checks whether the settings work together, and reports all problems at once."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from app.config.authentication import AuthMode
from app.config.core import Environment
from app.config.folders import folder_faults
from app.config.placeholders import asks_to_be_replaced, is_placeholder
from app.config.problems import ConfigProblem, ConfigurationError
from app.config.reference import variable
from app.config.settings import PARTS, Settings

RESERVED_SCHEMAS = frozenset({"asgard", "asgard_staging", "bronze", "information_schema", "system"})
RECORDS = "asgard/"
"""The prefix of Asgard's own files in the bucket."""
CREDENTIAL_NAMES = ("aws_access_key_id", "airbyte_client_id")
"""Halves of credentials, which are not secret by themselves."""


def check_choice(settings: Settings) -> None:
    """Raise `ConfigurationError`, listing all problems, unless every part of Asgard has an engine:
    all parts embedded, or each chosen by its variables or by name in `ASGARD_EMBEDDED`."""
    if faults := list(find_faults(settings)):
        raise ConfigurationError.of(faults)


def find_faults(settings: Settings) -> Iterator[ConfigProblem]:
    yield from _contradictions(settings)
    yield from _missing(settings)
    yield from _half_credentials(settings)
    yield from _authentication(settings)
    yield from _names(settings)
    yield from folder_faults(settings)
    if settings.environment is Environment.PRODUCTION:
        yield from _placeholders(settings)


def _fault(variables: str, message: str, advice: str) -> ConfigProblem:
    return ConfigProblem(tuple(variables.split()), message, advice)


def _contradictions(settings: Settings) -> Iterator[ConfigProblem]:
    embedded = settings.asgard_embedded
    for part in sorted(embedded):
        if given := _given(settings, {part}):
            yield ConfigProblem(
                ("ASGARD_EMBEDDED", *given),
                f"{', '.join(given)} and ASGARD_EMBEDDED={part} contradict each other.",
                "Unset one of them.",
            )
    if embedded and settings.environment is Environment.PRODUCTION:
        yield _fault(
            "ASGARD_EMBEDDED",
            "ENVIRONMENT=production does not allow embedded engines.",
            "Unset ASGARD_EMBEDDED.",
        )
    pairs = (
        ("nessie_uri", "iceberg_rest_uri", "both name a catalog"),
        ("iceberg_rest_credential", "iceberg_rest_token", "are alternative credentials"),
        ("trino_password", "trino_jwt_token", "are alternative credentials"),
    )
    for one, other, why in pairs:
        if getattr(settings, one) and getattr(settings, other):
            names = f"{one.upper()} {other.upper()}"
            yield _fault(names, f"{names.replace(' ', ' and ')} {why}.", "Set only one of them.")
    for name in PARTS:
        if len(settings.selected(name)) > 1:
            given = _given(settings, {name})
            yield ConfigProblem(
                tuple(given),
                f"{' and '.join(given)} select different engines for {name}.",
                "Set only one of them.",
            )
    if settings.trino_http_scheme == "http" and (
        settings.trino_password or settings.trino_jwt_token
    ):
        yield _fault(
            "TRINO_HTTP_SCHEME",
            "TRINO_HTTP_SCHEME=http would send Trino's password or token unencrypted.",
            "Set TRINO_HTTP_SCHEME=https, or leave it unset.",
        )


def _missing(settings: Settings) -> Iterator[ConfigProblem]:
    production = settings.environment is Environment.PRODUCTION
    if not (production or settings.kubernetes_service_host or _given(settings, PARTS)):
        return
    why = "in production" if production else "with production engines or in Kubernetes"
    for part in PARTS:
        for name, other in _missing_of(part, settings):
            choice = f" (or {other})" if other else ""
            embed = "" if production else f" Or add {part} to ASGARD_EMBEDDED."
            yield ConfigProblem(
                (name, other) if other else (name,),
                f"{name}{choice} is missing: {why}, nothing is embedded by default.",
                f"Set it, for example: {_example(name)}.{embed}",
            )


def _missing_of(part: str, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each missing variable, with its alternative or an empty string."""
    if part in settings.asgard_embedded:
        return
    if part != "lake":
        if not _given(settings, {part}):
            yield PARTS[part][0].upper(), ""
        return
    if not settings.s3_bucket:
        yield "S3_BUCKET", ""
    if not (settings.nessie_uri or settings.iceberg_rest_uri):
        yield "NESSIE_URI", "ICEBERG_REST_URI"


def _half_credentials(settings: Settings) -> Iterator[ConfigProblem]:
    pairs = (
        ("airbyte_username", "airbyte_password"),
        ("airbyte_client_id", "airbyte_client_secret"),
        ("aws_access_key_id", "aws_secret_access_key"),
    )
    for pair in pairs:
        given = [name for name in pair if getattr(settings, name)]
        if len(given) == 1:
            names = " ".join(pair).upper()
            yield _fault(
                names,
                f"{names.replace(' ', ' and ')} must be set together.",
                "Set both or neither.",
            )
    embedded = settings.asgard_embedded & {"spark", "sql"}
    if settings.s3_bucket and embedded and not settings.aws_access_key_id:
        yield _fault(
            "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY",
            "Embedded engines on S3_BUCKET need AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            "Set both.",
        )


def _authentication(settings: Settings) -> Iterator[ConfigProblem]:
    if settings.auth_mode is None and settings.environment is Environment.PRODUCTION:
        yield _fault(
            "AUTH_MODE",
            "AUTH_MODE is missing.",
            "Set api_key or oidc. An explicit none admits everyone who can reach the port.",
        )
    if settings.auth_mode is AuthMode.OIDC:
        for name in ("OIDC_ISSUER", "OIDC_AUDIENCE"):
            if not getattr(settings, name.lower()):
                yield _fault(
                    name, f"AUTH_MODE=oidc needs {name}.", f"Set it, for example: {_example(name)}."
                )
    if settings.oidc_issuer and not _is_guarded(settings.oidc_issuer):
        yield _fault(
            "OIDC_ISSUER",
            "OIDC_ISSUER is not https: its keys could be replaced in transit.",
            "Set its https:// address.",
        )


def _names(settings: Settings) -> Iterator[ConfigProblem]:
    for name in ("SILVER_SCHEMA", "GOLD_SCHEMA"):
        if (schema := getattr(settings, name.lower())) in RESERVED_SCHEMAS:
            yield _fault(name, f"{name}={schema} is a reserved schema.", "Choose another name.")
    for prefix in settings.s3_allowed_prefixes:
        if prefix.startswith(RECORDS):
            yield _fault(
                "S3_ALLOWED_PREFIXES",
                f"S3_ALLOWED_PREFIXES={prefix} contains Asgard's own files.",
                "Choose another prefix.",
            )
    verify = settings.trino_verify
    if verify.lower() not in {"true", "false"} and not Path(verify).is_file():
        yield _fault(
            "TRINO_VERIFY",
            f"TRINO_VERIFY={verify} names a file that does not exist.",
            "Set true, false, or the PEM file of a CA to trust.",
        )


def _placeholders(settings: Settings) -> Iterator[ConfigProblem]:
    for field, value in settings:
        name = field.upper()
        if isinstance(value, SecretStr):
            shown = is_placeholder(value.get_secret_value())
        elif field in CREDENTIAL_NAMES:
            shown = value is not None and is_placeholder(value)
        elif isinstance(value, str):
            shown = asks_to_be_replaced(value) or is_placeholder_inside(value)
        else:
            continue
        if shown:
            yield _fault(
                name,
                f"{name} is a placeholder or a well-known default.",
                "In production, set your own value.",
            )


def is_placeholder_inside(url: str) -> bool:
    """Return whether the password in an address is a placeholder."""
    if "://" not in url:
        return False
    password = urlsplit(url).password
    return bool(password) and is_placeholder(unquote(password or ""))


def _example(name: str) -> str:
    return f"{name}={variable(name.lower()).example}"


def _is_guarded(url: str) -> bool:
    """Return whether the URL is https, or of this machine, where nobody is in between."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1", "::1"}


def _given(settings: Settings, parts: Iterable[str]) -> list[str]:
    """Return the variables that are set and select production for these parts."""
    names = (name for part in PARTS if part in parts for name in PARTS[part])
    return [name.upper() for name in names if getattr(settings, name)]
