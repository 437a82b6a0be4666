"""Alerts and dashboard ask for series that are there, in words that Prometheus understands."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest

from app.telemetry import Metrics
from tests.integration.chart.tools import CHART, template

FROM_CADVISOR = {
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "container_cpu_usage_seconds_total",
    "container_spec_cpu_quota",
    "container_spec_cpu_period",
}
AHEAD = {"asgard_s3_errors_total"}
"""Named before the application has it."""


def alerts() -> dict[str, str]:
    documents = template("--set", "s3Bucket=lake", "--set", "prometheusRule.enabled=true")
    rule: dict[str, Any] = next(d for d in documents if d["kind"] == "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    return {alert["alert"]: alert["expr"] for alert in group["rules"]}


def panels() -> dict[str, str]:
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$namespace", "asgard")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def own_series() -> Iterator[str]:
    for family in Metrics().registry.collect():
        yield from {
            "counter": [f"{family.name}_total"],
            "histogram": [f"{family.name}_bucket", f"{family.name}_count", f"{family.name}_sum"],
        }.get(family.type, [family.name])


@pytest.mark.parametrize("source", [alerts, panels])
def test_every_expression_is_promql_over_series_that_exist(source: Any) -> None:
    expressions: dict[str, str] = source()
    known = {*own_series(), *FROM_CADVISOR, *AHEAD}
    assert len(expressions) >= 5
    for name, expression in expressions.items():
        promql_parser.parse(expression)
        assert set(re.findall(r"\b(?:asgard|container)_\w+(?=\{)", expression)) <= known, name
        assert re.search(r"\b(?:asgard|container)_\w+\{", expression), name


def test_the_documented_five_are_there() -> None:
    assert list(alerts()) == [
        "AsgardApiFailures",
        "AsgardSparkRunsFail",
        "AsgardDbtRunsFail",
        "AsgardS3Errors",
        "AsgardHighResourceUsage",
    ]
