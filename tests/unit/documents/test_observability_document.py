"""The table of metrics in the document is the one that the code makes."""

import re
from pathlib import Path

import pytest

from app.telemetry.metrics import Metrics
from app.telemetry.outcomes import Outcome

DOCUMENT = Path(__file__).parents[3] / "docs" / "observability.md"
CHART = Path(__file__).parents[3] / "helmchart"


def table() -> str:
    rows = ["| metric | type | labels | |", "|---|---|---|---|"]
    seen = set()
    for collector in Metrics().registry._names_to_collectors.values():
        if id(collector) in seen:
            continue
        seen.add(id(collector))
        [family] = list(collector.collect())
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(collector, "_labelnames", ()))
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def test_every_metric_is_in_the_document_as_it_is() -> None:
    assert table() in DOCUMENT.read_text()


def test_so_is_every_outcome() -> None:
    text = DOCUMENT.read_text()
    assert [outcome for outcome in Outcome if f"`{outcome}`" not in text] == []


def test_so_is_every_alert_of_the_chart() -> None:
    rule = (CHART / "templates" / "prometheusrule.yaml").read_text()
    alerts = set(re.findall(r"\bAsgard[A-Z]\w+", rule))
    assert set(re.findall(r"^\| (Asgard\w+) ", DOCUMENT.read_text(), re.MULTILINE)) == alerts


@pytest.mark.parametrize("name", list(Metrics().registry._names_to_collectors))
def test_names_follow_the_conventions_of_prometheus(name: str) -> None:
    assert re.fullmatch(r"asgard_[a-z0-9]+(_[a-z0-9]+)*", name)
