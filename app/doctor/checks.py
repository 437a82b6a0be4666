"""Runs the checks of `asgard doctor`: the settings, then each dependency, with advice for each
failure."""

import asyncio
from collections.abc import Iterator

from app.auth.key_ring import key_faults
from app.config import PARTS, ConfigProblem, Settings, examine_settings, unknown_variables
from app.config.reference import variable, variables
from app.doctor.authentication import authentication_findings
from app.doctor.engines import ENGINE_CHECKS, Check
from app.doctor.lake import lake_findings
from app.doctor.report import CheckResult, show
from app.doctor.sandbox import sandbox_findings
from app.telemetry.logs import configure_logging

CHOOSING = frozenset({"ENVIRONMENT", "ASGARD_EMBEDDED", "ASGARD_HOME"})
"""While one of these is invalid, it is unknown which dependencies to check."""


def examine() -> int:
    """Print a table of results. Return 0, or 1 if a check failed."""
    settings, faults = examine_settings(key_faults)
    configure_logging("CRITICAL", settings.secrets())
    results = [*_check_settings(settings, faults)]
    results += asyncio.run(_check_dependencies(settings, faults))
    return show(results, settings.secrets())


def _check_settings(settings: Settings, faults: list[ConfigProblem]) -> Iterator[CheckResult]:
    for fault in faults:
        yield CheckResult(", ".join(fault.variables), False, fault.message, fault.advice)
    for unknown in unknown_variables():
        advice = f"Did you mean {unknown.nearest}?" if unknown.nearest else "Unset it."
        message = "Asgard has no such variable."
        yield CheckResult(unknown.name, True, message, advice, is_warning=True)
    if not faults:
        embedded = [part for part in PARTS if not settings.is_production(part)]
        home = f"; embedded under {settings.home}: {', '.join(embedded)}" if embedded else ""
        message = f"{len(settings.model_fields_set)} of {len(variables())} variables set{home}"
        yield CheckResult("settings", True, message)


async def _check_dependencies(settings: Settings, faults: list[ConfigProblem]) -> list[CheckResult]:
    """Check all dependencies at once, so that one without an answer delays no other. Those with
    invalid settings are skipped."""
    invalid = {name for fault in faults for name in fault.variables}
    if invalid & CHOOSING:
        return []
    sections = {variable(name.lower()).section for name in invalid}
    checks = [check(settings) for section, check in _checks(settings) if section not in sections]
    return [result for results in await asyncio.gather(*checks) for result in results]


def _checks(settings: Settings) -> Iterator[tuple[str, Check]]:
    """Yield each check with the section whose settings it needs."""
    yield variable("auth_mode").section, authentication_findings
    yield variable("s3_bucket").section, lake_findings
    yield variable("dbt_project_dir").section, sandbox_findings
    for part in ("sql", "ingestion", "spark"):
        technology = settings.technology_of(part)
        if technology:
            yield variable(technology.selected_by[0]).section, ENGINE_CHECKS[technology.name]
