"""The help of each command shows examples, and the command shows its version."""

import importlib.metadata

import pytest
from typer.testing import CliRunner

from app.cli.main import main

COMMANDS = [
    [],
    *([name] for name in ("serve", "openapi", "doctor", "schemas", "demo", "keys")),
    *(["keys", name] for name in ("create", "list", "rotate", "revoke")),
]


def test_every_command_is_listed_here() -> None:
    groups = [
        (main, []),
        *((group.typer_instance, [group.name]) for group in main.registered_groups),
    ]
    names = [
        [*path, command.name or command.callback.__name__]
        for app, path in groups
        for command in app.registered_commands
    ]
    names = [["keys", "list"] if name[-1] == "show" else name for name in names]
    assert sorted([[], ["keys"], *names]) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_shows_examples(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    lines = [line.strip() for line in result.output.splitlines()]
    shown = lines[lines.index("Examples:") + 1 :]
    start = " ".join(("asgard", *command))
    assert any(line.startswith(start) for line in shown), result.output


def test_the_version_is_shown_without_a_command() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (
        0,
        f"asgard {importlib.metadata.version('asgard')}\n",
    )
