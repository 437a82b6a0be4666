"""`docs/benchmarks.md`: each command writes its own section and leaves those of the others."""

import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measures import Row

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
FIRST = "# Benchmarks"


def write_section(heading: str, lines: Iterable[str]) -> None:
    """Takes the place of the section of that heading, or comes last."""
    sections = re.split(r"\n(?=## )", PAGE.read_text()) if PAGE.exists() else []
    text = "\n".join([heading, *lines]).rstrip() + "\n"
    numbers = [n for n, section in enumerate(sections) if section.split("\n")[0] == heading]
    if numbers:
        sections[numbers[0]] = text
    else:
        sections.append(text)
    PAGE.write_text("\n".join(section.rstrip() + "\n" for section in sections))


def table(rows: Iterable[Row]) -> list[str]:
    lines = ["| what | measured | compared with | target | |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "reached" if row.ok else "**missed**"
        lines.append(f"| {row.what} | {row.measured} | {row.beside} | {row.reach} | {verdict} |")
    return lines
