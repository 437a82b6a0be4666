"""Random changes of valid SQL, to find texts that the guard and an engine's parser read in two
ways."""

import os
import re
from collections.abc import Iterator, Sequence
from random import Random

SEED = int(os.environ.get("ASGARD_SQL_SEED", "0")) or Random().randrange(1, 2**31)
"""Set it to repeat a failure."""
_TOKEN = re.compile(r"'[^']*'|`[^`]*`|\"[^\"]*\"|[A-Za-z_][A-Za-z0-9_]*|[0-9.]+|->|\S")
_WORDS = (
    *("SELECT", "FROM", "LATERAL", "VALUES", "UNION", "EXCEPT", "WITH", "AS", "JOIN", "CROSS"),
    *("ON", "IN", "EXISTS", "ANY", "ALL", "ARRAY", "TABLE", "ROW", "CASE", "WHEN", "END", "NOT"),
    *("(", ")", ",", ".", "*", "a", "t", "b.c", "1", "'x'", "(SELECT 1)", "VIEW", "RECURSIVE"),
    *("silver.t", "asgard.audit", "iceberg.asgard.audit", "hr.salaries", "explode(a)", "range(2)"),
    *("text.`/etc/passwd`", "sum(a)", "unnest(a)", "GROUP", "BY", "ORDER", "LIMIT", "WINDOW"),
    *("OVER", "FILTER", "WHERE", "HAVING", "TABLESAMPLE", "PIVOT", "USING", "NATURAL", "OUTER"),
    *("(hr.s)", ", (hr.s)", "(hr.s, a)", "()", "TABLE hr.s", "IDENTIFIER('hr.s')", "a.*", "#1"),
    *("STRUCT", "MAP", "INTERVAL", "DAY", "CAST", "NULL", "=>", "::", "[", "]", "{", "}", "?", "@"),
    *("VERSION", "OF", "TIMESTAMP", "UNPIVOT", "FOR", "SEMI", "ANTI", "FULL", "MINUS", "SOME"),
    *(
        "CUBE",
        "ROLLUP",
        "GROUPING",
        "SETS",
        "QUALIFY",
        "CLUSTER",
        "SORT",
        "struct(a AS b)",
        "x.f(1)",
    ),
)


def mutations(texts: Sequence[str], random: Random, words: Sequence[str] = ()) -> Iterator[str]:
    """Yield texts without end, each a valid one with one to three changes."""
    vocabulary = [*_WORDS, *words]
    valid = [_TOKEN.findall(text) for text in texts]
    while True:
        tokens = list(random.choice(valid))
        for _ in range(random.randint(1, 3)):
            _change(tokens, random, vocabulary, random.choice(valid))
        yield " ".join(tokens)


def _change(
    tokens: list[str], random: Random, vocabulary: Sequence[str], other: Sequence[str]
) -> None:
    at = random.randrange(len(tokens) + 1)
    until = at + random.randint(1, 6)
    match random.choice(("insert", "insert", "replace", "delete", "swap", "copy", "mix", "wrap")):
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
        case "mix":
            start = random.randrange(len(other))
            tokens[at : at + random.randint(0, 2)] = other[start : start + random.randint(1, 9)]
        case "wrap":
            tokens[at:until] = ["(", *tokens[at:until], ")"]
