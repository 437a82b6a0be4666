"""`asgard doctor`."""

from app.doctor.engines import airbyte_findings, kubernetes_findings
from app.doctor.examination import examine
from app.doctor.findings import BUDGET, Finding

__all__ = ["BUDGET", "Finding", "airbyte_findings", "examine", "kubernetes_findings"]
