"""Handles text that dbt would read as a template. Imports nothing heavy: request schemas use this.

A model file is a Jinja template before it is SQL, and Jinja knows neither strings nor comments of
SQL, so the plain text is checked. The refusals warn callers early. Safety depends on `printed`,
because names that come with data are never refused.
"""

import re

from app.errors import SqlJinja

_OPENING = re.compile(r"\{[{%#]")
_READ = re.compile(r"[{\r\x85\u2028\u2029]|\n\Z")
"""Characters that Jinja does not print unchanged: tags begin with a brace, line ends become `\\n`,
and the last line end is dropped. YAML folds the line ends of Unicode."""


def printed(text: str) -> str:
    """Return a template that prints the text, whatever it contains."""
    return _READ.sub(lambda match: f"{{{{ {string(match.group())} }}}}", text)


def string(text: str) -> str:
    """Return the text as a Jinja string literal. Jinja reads escapes in strings as Python does."""
    plain = (c if c.isprintable() and c not in "'\\" else f"\\U{ord(c):08x}" for c in text)
    return f"'{''.join(plain)}'"


def position_at(text: str, offset: int) -> dict[str, int]:
    """Return the line and column of an offset, both from 1."""
    before = text[:offset]
    return {"line": before.count("\n") + 1, "column": offset - (before.rfind("\n") + 1) + 1}


def check_text(value: str, field: str) -> None:
    """Refuse Jinja in a text that goes into the dbt project: a name, tag, description, owner.

    Raises:
        SqlJinja: with the `field` and the position in it.
    """
    if match := _OPENING.search(value):
        raise SqlJinja(
            f"{field} contains `{match.group()}`, which dbt would read as a template. "
            "Asgard does not accept Jinja: leave it out, or put a space between the two "
            "characters.",
            position=position_at(value, match.start()),
            field=field,
        )


def check_sql_text(sql: str) -> None:
    """Refuse Jinja anywhere in SQL that becomes a dbt model, in strings and comments too."""
    if match := _OPENING.search(sql):
        raise SqlJinja(
            f"The SQL contains `{match.group()}`, which dbt would read as a template, even in "
            "strings and comments. Asgard does not accept Jinja: name tables as silver.x or "
            "gold.x; in a string, write '{' || '" + match.group()[1] + "'.",
            position=position_at(sql, match.start()),
        )
