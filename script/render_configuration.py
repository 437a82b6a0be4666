"""Writes .env.example and docs/configuration.md, which say what app/config says of each variable.

Usage: .venv/bin/python script/render_configuration.py [--check]
--check changes nothing: exit 1 when one of the files differs. Run it after a setting was changed.
"""

import sys
import textwrap
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from app.config.reference import SET_BY_KUBERNETES, Variable, variables

ROOT = Path(__file__).parent.parent
WIDTH = 100
ENV_INTRO = """\
Copy to .env, and take the # from what you set. On a laptop nothing has to be: with all of it
commented out, Asgard runs on embedded engines. A variable that is empty counts as unset. What is
shown is the default or, where there is none, an example. docs/configuration.md has the same with
what each value may be. Rendered from app/config by script/render_configuration.py."""
DOCS_INTRO = """# Configuration

Every variable that Asgard reads, from the environment or from `.env` in the working directory (the
environment goes first). An empty one counts as unset. Rendered from `app/config` by
`script/render_configuration.py`: change the settings, not this page.

- **On a laptop** nothing has to be set: ingestion, Spark, SQL and the lake are embedded. As soon as
  AIRBYTE_BASE_URL, SPARK_IMAGE, TRINO_HOST, S3_BUCKET or a catalog is set, all of them have to be,
  unless ASGARD_EMBEDDED names the parts that stay embedded. So it is inside a Kubernetes cluster.
- **With `ENVIRONMENT=production`** nothing is embedded. Those marked *production* have to be set;
  placeholders and well-known defaults (`your-secret-key`, `changeme`, `minioadmin` …) are refused.
- **A value that cannot be right is no start.** The message lists everything that is wrong at once,
  with what each value has to be. An unknown variable that begins with `ASGARD_` is a warning that
  names the nearest known one.
- **Durations** are numbers of seconds, **sizes** numbers of bytes, without units. Lists are
  separated by commas.
- `asgard doctor`, or `script/validate-production-config.sh`, checks all of it and then reaches each
  dependency.

With the Helm chart, `config.trinoHost` is TRINO_HOST and so on: see
[helmchart/README.md](../helmchart/README.md). Authentication is explained in
[authentication.md](authentication.md), catalogs in [catalogs.md](catalogs.md)."""


def env_example() -> str:
    blocks = [_commented(ENV_INTRO.split("\n"))]
    for section, known in _sections(v for v in variables() if v.name not in SET_BY_KUBERNETES):
        blocks.append(f"# {section} ".ljust(WIDTH, "-"))
        blocks += [_env_block(variable) for variable in known]
    return "\n\n".join(blocks) + "\n"


def _env_block(variable: Variable) -> str:
    marks = " Required in production." if variable.is_required else ""
    said = textwrap.wrap(f"{variable.description}{marks}", WIDTH - 2)
    shown = variable.example if variable.default is None else variable.default
    return f"{_commented(said)}\n# {variable.name}={shown}"


def _commented(lines: Iterable[str]) -> str:
    return "\n".join(f"# {line}" for line in lines)


def configuration_page() -> str:
    blocks = [DOCS_INTRO]
    for section, known in _sections(variables()):
        rows = ["| variable | meaning | default | example |", "|---|---|---|---|"]
        blocks += [f"## {section}", "\n".join([*rows, *map(_row, known)])]
    return "\n\n".join(blocks) + "\n"


def _row(variable: Variable) -> str:
    kind = f"{variable.kind[0].upper()}{variable.kind[1:]}"
    cells = (
        f"`{variable.name}`",
        f"{variable.description} *{kind}.*",
        _default(variable),
        f"`{variable.example}`" if variable.example else "",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(variable: Variable) -> str:
    default = "" if variable.default is None else f"`{variable.default}`"
    return ", ".join(part for part in (default, "*production*" * variable.is_required) if part)


def _sections(known: Iterable[Variable]) -> Iterable[tuple[str, Iterable[Variable]]]:
    return groupby(known, key=lambda variable: variable.section)


FILES = {
    ROOT / ".env.example": env_example,
    ROOT / "docs" / "configuration.md": configuration_page,
}


def main(arguments: list[str]) -> int | str:
    match arguments:
        case []:
            for path, render in FILES.items():
                path.write_text(render())
            return 0
        case ["--check"]:
            old = [path.name for path, render in FILES.items() if path.read_text() != render()]
            return f"out of date: {', '.join(old)}" if old else 0
        case ["--help"]:
            print(__doc__)
            return 0
        case _:
            return "see --help"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
