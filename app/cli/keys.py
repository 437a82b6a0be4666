"""`asgard keys create | list | rotate | revoke`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from app.auth.key_store import Change, KeysInFile, KeysInSecret, KeyStore, KeyStoreError
from app.auth.keys import KeyFile, KnownKey, make_key
from app.config import examine_settings

keys = typer.Typer(no_args_is_help=True, help="API keys of AUTH_MODE=api_key.")
DURATION = re.compile(r"^(\d{1,5})([mhd])$")
OWN_VARIABLES = frozenset({"ASGARD_HOME", "AUTH_KEYS_FILE", "KUBECONFIG"})
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="NAMESPACE/NAME",
        help="Keep the keys in this Kubernetes Secret, by your kubeconfig. Else AUTH_KEYS_FILE.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="Name or id of the key.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[list[str], typer.Option(help="What it allows: `dbt:read`. Repeatable.")],
    expires: Annotated[str | None, typer.Option(help="For how long: 90d, 12h, 30m.")] = None,
    secret: SecretOption = None,
) -> None:
    """Make a key and print it, this once."""
    lifetime = _duration(expires) if expires else None
    try:
        made = make_key(name, scope, lifetime)
    except ValidationError as error:
        _fail("; ".join(item["msg"] for item in error.errors()))

    def add(known: KeyFile) -> KeyFile:
        if any(key.is_live(datetime.now(UTC)) for key in known.find(name)):
            _fail(f"There is a key named {name}: rotate or revoke it, or choose another name.")
        return known.with_key(made.known)

    _change(secret, add)
    typer.echo("The key, shown this once:", err=True)
    typer.echo(made.plain)


@keys.command("list")
def show(secret: SecretOption = None) -> None:
    """Show every key: id, name, scopes, when made, until when, state."""
    now = datetime.now(UTC)
    for key in _read(secret).keys:
        until = f"{key.expires:%Y-%m-%dT%H:%MZ}" if key.expires else "-"
        scopes = ",".join(key.scopes)
        made = f"{key.created:%Y-%m-%dT%H:%MZ}"
        typer.echo("\t".join((key.id, key.name, scopes, made, until, _state(key, now))))


@keys.command()
def rotate(
    name: NameArgument,
    grace: Annotated[str, typer.Option(help="How long the old key still opens.")] = "24h",
    expires: Annotated[str | None, typer.Option(help="Of the new key: 90d.")] = None,
    secret: SecretOption = None,
) -> None:
    """Make a new key of the same name and scopes; the old one ends after the grace time."""
    old_ends = datetime.now(UTC) + _duration(grace)
    lifetime = _duration(expires) if expires else None
    plain = ""

    def turn(known: KeyFile) -> KeyFile:
        nonlocal plain
        old = _only(known, name)
        made = make_key(old.name, old.scopes, lifetime)
        plain = made.plain
        until = min(old_ends, old.expires) if old.expires else old_ends
        return known.with_key(old.model_copy(update={"expires": until})).with_key(made.known)

    _change(secret, turn)
    typer.echo("The new key, shown this once:", err=True)
    typer.echo(plain)


@keys.command()
def revoke(name: NameArgument, secret: SecretOption = None) -> None:
    """End a key (all that have the name), within a second where its file is watched."""

    def end(known: KeyFile) -> KeyFile:
        found = known.find(name)
        if not found:
            _fail(f"There is no key {name} that is not revoked.")
        for key in found:
            known = known.with_key(key.model_copy(update={"revoked": datetime.now(UTC)}))
        return known

    _change(secret, end)
    typer.echo(f"{name} opens nothing any more.", err=True)


def _only(known: KeyFile, name: str) -> KnownKey:
    """The newest of the name: the others of that name are in their grace time."""
    live = [key for key in known.find(name) if key.is_live(datetime.now(UTC))]
    if not live:
        _fail(f"There is no key {name} that opens anything.")
    return max(live, key=lambda key: key.created)


def _state(key: KnownKey, now: datetime) -> str:
    if key.revoked is not None:
        return "revoked"
    return "live" if key.is_live(now) else "expired"


def _duration(text: str) -> timedelta:
    found = DURATION.match(text)
    if found is None:
        _fail(f"{text} is no duration: write 90d, 12h or 30m.")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


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
    # What else is wrong is nothing to a key.
    if own := [fault.said for fault in faults if OWN_VARIABLES.intersection(fault.variables)]:
        _fail(" ".join(own))
    if secret is None:
        return KeysInFile(settings.keys_file)
    namespace, slash, name = secret.partition("/")
    if not slash or not namespace or not name:
        _fail("--secret is NAMESPACE/NAME.")
    return KeysInSecret(namespace, name, settings.kubeconfig)


def _fail(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(2)
