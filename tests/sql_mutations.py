"""Random changes of valid SQL, to find texts that the guard and an engine's parser read in two
ways."""

import re
from collections.abc import Iterator, Sequence
from random import Random

_TOKEN = re.compile(r"'[^']*'|`[^`]*`|\"[^\"]*\"|[A-Za-z_][A-Za-z0-9_]*|[0-9.]+|->|\S")
_WORDS = (
    *("SELECT", "FROM", "LATERAL", "VALUES", "UNION", "EXCEPT", "WITH", "AS", "JOIN", "CROSS"),
    *("ON", "IN", "EXISTS", "ANY", "ALL", "ARRAY", "TABLE", "ROW", "CASE", "WHEN", "END", "NOT"),
    *("(", ")", ",", ".", "*", "a", "t", "b.c", "1", "'x'", "(SELECT 1)", "VIEW", "RECURSIVE"),
    *("silver.t", "asgard.audit", "iceberg.asgard.audit", "hr.salaries", "explode(a)", "range(2)"),
    *("text.`/etc/passwd`", "sum(a)", "unnest(a)", "GROUP", "BY", "ORDER", "LIMIT", "WINDOW"),
    *("OVER", "FILTER", "WHERE", "HAVING", "TABLESAMPLE", "PIVOT", "USING", "NATURAL", "OUTER"),
)


def mutations(texts: Sequence[str], random: Random, words: Sequence[str] = ()) -> Iterator[str]:
    """Yield texts without end, each a valid one with one to three changes."""
    vocabulary = [*_WORDS, *words]
    while True:
        tokens = _TOKEN.findall(random.choice(texts))
        for _ in range(random.randint(1, 3)):
            _change(tokens, random, vocabulary)
        yield " ".join(tokens)


def _change(tokens: list[str], random: Random, vocabulary: Sequence[str]) -> None:
    at = random.randrange(len(tokens) + 1)
    match random.choice(("insert", "insert", "replace", "delete", "swap", "copy")):
        case "insert":
            tokens.insert(at, random.choice(vocabulary))
        case "replace" if at < len(tokens):
            tokens[at] = random.choice(vocabulary)
        case "delete" if at < len(tokens):
            del tokens[at]
        case "swap" if at + 1 < len(tokens):
            tokens[at], tokens[at + 1] = tokens[at + 1], tokens[at]
        case "copy":
            start = random.randrange(len(tokens) + 1)
            tokens[at:at] = tokens[start : start + random.randint(1, 6)]
