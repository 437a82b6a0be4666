"""The console command: `asgard serve | demo | doctor | schemas | openapi | keys`."""

import contextlib
import importlib.metadata
import json
import resource
import socket
from typing import Annotated

import typer

from app.auth.key_ring import key_faults
from app.cli.examples import examples
from app.cli.keys import keys
from app.config import ConfigurationError, Settings, load_settings

KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers usually keep an idle connection (60 s). If the gateway closed it
first, a request in transit would be answered 502."""
DRAIN_SECONDS = 20
"""The seconds that requests may take after the server is told to stop. The chart's
terminationGracePeriodSeconds allows for it."""

MOST_DESCRIPTORS = 65_536

PortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Default: PORT, or 8000 if it is unset.")
]

main = typer.Typer(
    name="asgard",
    no_args_is_help=True,
    add_completion=False,
    epilog=examples("asgard demo", "asgard serve", "asgard --version"),
)


main.add_typer(keys, name="keys")


def _show_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"asgard {importlib.metadata.version('asgard')}")
        raise typer.Exit


@main.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """The lakehouse gateway."""


@main.command(
    epilog=examples(
        "asgard serve",
        "asgard serve --port 9000",
        "asgard serve --host 0.0.0.0 2>asgard.log   (JSON lines)",
    )
)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: PortOption = None,
) -> None:
    """Serve the API until interrupted."""
    port = port or _settings().port
    _refuse_taken_port(host, port)
    _raise_descriptor_limit()
    import uvicorn

    uvicorn.run(
        "app.main:app",
        host=host,
        port=port,
        http="app.edge.wire:Wire",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # Asgard evaluates X-Forwarded-For itself: see TRUSTED_PROXIES.
        proxy_headers=False,
    )


def _raise_descriptor_limit() -> None:
    """Allow as many open files as the system permits. The usual 1,024 are few for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # Some systems permit less than they say.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@main.command(epilog=examples("asgard openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import app

    typer.echo(json.dumps(app.openapi(), indent=2))


@main.command(
    epilog=examples("asgard doctor", "AIRBYTE_BASE_URL=http://airbyte:8000 asgard doctor")
)
def doctor() -> None:
    """Check the settings and every dependency. Exit with 1 if a check fails."""
    from app.doctor import examine

    raise typer.Exit(examine())


@main.command(epilog=examples("asgard schemas"))
def schemas() -> None:
    """Create the schemas of the configured catalog, as `serve` does. Exit with 1 on failure."""
    from app.cli.create_schemas import create_schemas

    raise typer.Exit(create_schemas())


@main.command(
    epilog=examples("asgard demo", "asgard demo --port 9000", "asgard demo --check --seed 7")
)
def demo(
    port: PortOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check all figures against the raw data, then stop.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="First change the data at random, with this seed.")
    ] = None,
) -> None:
    """Take real data from a source to a data product, as a REST client would."""
    from app.demo.run import run

    raise typer.Exit(run(port=port or _settings().port, check=check, seed=seed))


def _settings() -> Settings:
    try:
        return load_settings(key_faults)
    except ConfigurationError as error:
        typer.echo(f"Asgard cannot start: {error}", err=True)
        raise typer.Exit(1) from None


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            typer.echo(f"Port {port} on {host} cannot be used: {error.strerror}.", err=True)
            typer.echo(f"Choose another: PORT={port + 1} asgard serve", err=True)
            raise typer.Exit(2) from None
