"""`asgard doctor`: every setting, then of each dependency what was reached, and what to do about a
failure."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from app.auth.key_ring import key_faults
from app.config import PARTS, ConfigProblem, Settings, examine_settings, unknown_variables
from app.config.reference import variable, variables
from app.doctor.authentication import door_findings
from app.doctor.engines import airbyte_findings, kubernetes_findings, trino_findings
from app.doctor.lake import lake_findings
from app.doctor.report import CheckResult, show
from app.doctor.sandbox import sandbox_findings
from app.telemetry.logs import configure_logging

Check = Callable[[Settings], Awaitable[list[CheckResult]]]
CHOOSING = frozenset({"ENVIRONMENT", "ASGARD_EMBEDDED", "ASGARD_HOME"})
"""While one of them is wrong nothing is known of what else to ask."""


def examine() -> int:
    """Prints a table of what works; returns 0, or 1 when something does not."""
    settings, faults = examine_settings(key_faults)
    configure_logging("CRITICAL", settings.secrets())
    findings = [*_of_settings(settings, faults)]
    findings += asyncio.run(_of_dependencies(settings, faults))
    return show(findings, settings.secrets())


def _of_settings(settings: Settings, faults: list[ConfigProblem]) -> Iterator[CheckResult]:
    for fault in faults:
        yield CheckResult(", ".join(fault.variables), False, fault.said, fault.advice)
    for unknown in unknown_variables():
        advice = f"Perhaps {unknown.nearest} was meant." if unknown.nearest else "Unset it."
        said = "Asgard knows no such variable."
        yield CheckResult(unknown.name, True, said, advice, is_warning=True)
    if not faults:
        embedded = [part for part in PARTS if not settings.is_production(part)]
        kept = f"; embedded under {settings.home}: {', '.join(embedded)}" if embedded else ""
        said = f"{len(settings.model_fields_set)} of {len(variables())} variables set{kept}"
        yield CheckResult("settings", True, said)


async def _of_dependencies(settings: Settings, faults: list[ConfigProblem]) -> list[CheckResult]:
    """All at once: one that is mute holds up no other. What is set wrongly is not asked."""
    wrong = {name for fault in faults for name in fault.variables}
    if wrong & CHOOSING:
        return []
    sections = {variable(name.lower()).section for name in wrong}
    asked = [check(settings) for section, check in _checks(settings) if section not in sections]
    return [finding for found in await asyncio.gather(*asked) for finding in found]


def _checks(settings: Settings) -> Iterator[tuple[str, Check]]:
    """Each with the section whose settings it needs."""
    yield variable("auth_mode").section, door_findings
    yield variable("s3_bucket").section, lake_findings
    yield variable("dbt_project_dir").section, sandbox_findings
    if settings.is_production("sql"):
        yield variable("trino_host").section, trino_findings
    if settings.is_production("ingestion"):
        yield variable("airbyte_base_url").section, airbyte_findings
    if settings.is_production("spark"):
        yield variable("spark_image").section, kubernetes_findings
