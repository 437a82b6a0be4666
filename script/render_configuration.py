"""Writes .env.example and docs/configuration.md from the descriptions in app/config.

Usage: .venv/bin/python script/render_configuration.py [--check]
--check changes nothing, and exits with 1 if a file differs. Run it after you change a setting.
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
Copy to .env, and remove the # of the variables that you set. On a laptop, none is needed: Asgard
then runs on embedded engines. An empty variable counts as unset. Each line shows the default or, if
there is none, an example. docs/configuration.md also lists the allowed values. Rendered from
app/config by script/render_configuration.py."""
DOCS_INTRO = """# Configuration

Asgard reads these variables from the environment or from `.env` in the working directory. The
environment takes precedence. An empty variable counts as unset. This page is rendered from
`app/config` by `script/render_configuration.py`: change the settings, not this page.

- **On a laptop**, no variable needs to be set: ingestion, Spark, SQL and the lake are embedded. If
  AIRBYTE_BASE_URL, SPARK_IMAGE, TRINO_HOST, S3_BUCKET or a catalog is set, all of them must be set,
  unless ASGARD_EMBEDDED names the parts that stay embedded. The same applies in a Kubernetes
  cluster.
- **With `ENVIRONMENT=production`**, nothing is embedded. Variables marked *production* are
  required. Placeholders and well-known defaults (`your-secret-key`, `changeme`, `minioadmin` …) are
  refused.
- **With an invalid value**, Asgard does not start. The message lists all problems, each with
  the expected value. An unknown variable that begins with `ASGARD_` causes a warning that names the
  most similar variable.
- **Durations** are numbers of seconds and **sizes** are numbers of bytes, both without units. Lists
  are separated by commas.
- **To check the settings** and reach each dependency, run `asgard doctor` or
  `script/validate-production-config.sh`.

In the Helm chart, TRINO_HOST is `config.trinoHost`, and so on: see
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
    lines = textwrap.wrap(f"{variable.description}{marks}", WIDTH - 2)
    shown = variable.example if variable.default is None else variable.default
    return f"{_commented(lines)}\n# {variable.name}={shown}"


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
