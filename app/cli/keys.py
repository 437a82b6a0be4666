"""Implements `asgard keys create | list | rotate | revoke`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from app.auth.key_store import Change, KeysInFile, KeysInSecret, KeyStore, KeyStoreError
from app.auth.keys import KeyFile, KnownKey, make_key
from app.cli.examples import examples
from app.config import examine_settings

keys = typer.Typer(
    no_args_is_help=True,
    help="Manage the API keys of AUTH_MODE=api_key.",
    epilog=examples("asgard keys create ci --scope dbt:read", "asgard keys list"),
)
DURATION = re.compile(r"^(\d{1,5})([mhd])$")
OWN_VARIABLES = frozenset({"ASGARD_HOME", "AUTH_KEYS_FILE", "KUBECONFIG"})
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="NAMESPACE/NAME",
        help="Use the keys in this Kubernetes Secret, with your kubeconfig. "
        "Default: AUTH_KEYS_FILE.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="Name or id of the key.")]


@keys.command(
    epilog=examples(
        "asgard keys create ci --scope dbt:read --scope dbt:write --expires 90d",
        "asgard keys create admin --scope admin --secret data/asgard-keys",
    )
)
def create(
    name: Annotated[str, typer.Argument(help="The person or program that will use the key.")],
    scope: Annotated[
        list[str], typer.Option(help="Scope of the key, for example dbt:read. Repeatable.")
    ],
    expires: Annotated[
        str | None, typer.Option(help="Lifetime, for example 90d, 12h or 30m.")
    ] = None,
    secret: SecretOption = None,
) -> None:
    """Create a key and print it once."""
    lifetime = _duration(expires) if expires else None
    try:
        new_key = make_key(name, scope, lifetime)
    except ValidationError as error:
        _fail("; ".join(item["msg"] for item in error.errors()))

    def add(keys: KeyFile) -> KeyFile:
        if any(key.is_live(datetime.now(UTC)) for key in keys.find(name)):
            _fail(
                f"A key named {name} already exists: rotate or revoke it, or choose another name."
            )
        return keys.with_key(new_key.known)

    _change(secret, add)
    typer.echo("The key (shown only once):", err=True)
    typer.echo(new_key.plain)


@keys.command(
    "list", epilog=examples("asgard keys list", "asgard keys list --secret data/asgard-keys")
)
def show(secret: SecretOption = None) -> None:
    """List all keys: id, name, scopes, creation time, expiry time, state."""
    now = datetime.now(UTC)
    for key in _read(secret).keys:
        expires = f"{key.expires:%Y-%m-%dT%H:%MZ}" if key.expires else "-"
        scopes = ",".join(key.scopes)
        created = f"{key.created:%Y-%m-%dT%H:%MZ}"
        typer.echo("\t".join((key.id, key.name, scopes, created, expires, _state(key, now))))


@keys.command(epilog=examples("asgard keys rotate ci", "asgard keys rotate ci --grace 1h"))
def rotate(
    name: NameArgument,
    grace: Annotated[str, typer.Option(help="How long the old key stays valid.")] = "24h",
    expires: Annotated[
        str | None,
        typer.Option(help="Lifetime of the new key, for example 90d. Default: the old key's."),
    ] = None,
    secret: SecretOption = None,
) -> None:
    """Create a new key with the same name and scopes. The old key expires after the grace time."""
    grace_end = datetime.now(UTC) + _duration(grace)
    plain = ""

    def replace(keys: KeyFile) -> KeyFile:
        nonlocal plain
        old = _newest(keys, name)
        lifetime = old.expires - old.created if old.expires else None
        new_key = make_key(old.name, old.scopes, _duration(expires) if expires else lifetime)
        plain = new_key.plain
        old_expires = min(grace_end, old.expires) if old.expires else grace_end
        old = old.model_copy(update={"expires": old_expires})
        return keys.with_key(old).with_key(new_key.known)

    _change(secret, replace)
    typer.echo("The new key (shown only once):", err=True)
    typer.echo(plain)


@keys.command(epilog=examples("asgard keys revoke ci"))
def revoke(name: NameArgument, secret: SecretOption = None) -> None:
    """Revoke a key (or every key with this name). Takes effect within a second."""

    def mark_revoked(keys: KeyFile) -> KeyFile:
        matches = keys.find(name)
        if not matches:
            _fail(f"There is no key {name} to revoke.")
        for key in matches:
            keys = keys.with_key(key.model_copy(update={"revoked": datetime.now(UTC)}))
        return keys

    _change(secret, mark_revoked)
    typer.echo(f"{name} is revoked.", err=True)


def _newest(keys: KeyFile, name: str) -> KnownKey:
    """Return the newest key of the name. The others are in their grace time."""
    live = [key for key in keys.find(name) if key.is_live(datetime.now(UTC))]
    if not live:
        _fail(f"There is no valid key {name}.")
    return max(live, key=lambda key: key.created)


def _state(key: KnownKey, now: datetime) -> str:
    if key.revoked is not None:
        return "revoked"
    return "live" if key.is_live(now) else "expired"


def _duration(text: str) -> timedelta:
    match = DURATION.match(text)
    if match is None:
        _fail(f"{text} is not a valid duration: expected, for example, 90d, 12h or 30m.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _read(secret: str | None) -> KeyFile:
    try:
        return _store(secret).read()
    except KeyStoreError as error:
        _fail(str(error))


def _change(secret: str | None, change: Change) -> None:
    try:
        _store(secret).change(change)
    except (KeyStoreError, OSError) as error:
        _fail(str(error))


def _store(secret: str | None) -> KeyStore:
    settings, faults = examine_settings()
    # Problems of other settings do not affect keys.
    if own := [fault.message for fault in faults if OWN_VARIABLES.intersection(fault.variables)]:
        _fail(" ".join(own))
    if secret is None:
        return KeysInFile(settings.keys_file)
    namespace, slash, name = secret.partition("/")
    if not slash or not namespace or not name:
        _fail("--secret is invalid: expected NAMESPACE/NAME.")
    return KeysInSecret(namespace, name, settings.kubeconfig)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
