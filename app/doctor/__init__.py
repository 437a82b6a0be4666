"""Implements `asgard doctor`."""

from app.doctor.checks import examine
from app.doctor.engines import airbyte_findings, kubernetes_findings
from app.doctor.report import BUDGET, CheckResult

__all__ = ["BUDGET", "CheckResult", "airbyte_findings", "examine", "kubernetes_findings"]
