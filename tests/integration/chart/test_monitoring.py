"""Alerts and dashboard ask for series that are there, in words that Prometheus understands."""

import json
import re
from typing import Any

import promql_parser
import pytest

from app.telemetry.metrics import Metrics
from tests.integration.chart.tools import CHART, template

FROM_THE_SCRAPE = {"namespace", "service", "pod"}
FROM_CADVISOR = {
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "container_cpu_usage_seconds_total",
    "container_spec_cpu_quota",
    "container_spec_cpu_period",
}


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


def own_series() -> dict[str, set[str]]:
    """With their labels; what scrapes add is not among them."""
    found: dict[str, set[str]] = {}
    for name, collector in Metrics().registry._names_to_collectors.items():
        labels = set(getattr(collector, "_labelnames", ()))
        found[name] = labels | {"le"} if name.endswith("_bucket") else labels
    return found


@pytest.mark.parametrize("source", [alerts, panels])
def test_every_expression_is_promql_over_series_that_exist(source: Any) -> None:
    expressions: dict[str, str] = source()
    own = own_series()
    assert len(expressions) >= 5
    for name, expression in expressions.items():
        promql_parser.parse(expression)
        asked = re.findall(r"\b((?:asgard|container)_\w+)\{([^}]*)\}", expression)
        assert asked, name
        for series, matchers in asked:
            if series not in FROM_CADVISOR:
                labels = set(re.findall(r"(\w+)(?==|!)", matchers))
                assert labels <= own[series] | FROM_THE_SCRAPE, name


def test_the_documented_alerts_are_there() -> None:
    assert list(alerts()) == [
        "AsgardApiFailures",
        "AsgardSparkRunsFail",
        "AsgardDbtRunsFail",
        "AsgardS3Errors",
        "AsgardStaleDataProducts",
        "AsgardRunEndingsWait",
        "AsgardHighResourceUsage",
    ]
