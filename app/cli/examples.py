"""Shows examples at the end of the help of a command."""


def examples(*commands: str) -> str:
    """Return an epilog with each example on its own line."""
    return "\n\n".join(("Examples:", *commands))
