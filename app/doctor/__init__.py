"""`asgard doctor`."""

from app.doctor.checks import examine
from app.doctor.engines import airbyte_findings, kubernetes_findings
from app.doctor.report import BUDGET, Finding

__all__ = ["BUDGET", "Finding", "airbyte_findings", "examine", "kubernetes_findings"]
