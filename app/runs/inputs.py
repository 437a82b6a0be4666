"""Checks which states of its inputs a run is known to have read."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from app.errors import AsgardError
from app.runs.model import RunInput

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog

log = structlog.get_logger()


async def known_inputs(catalog: "Catalog", planned: Sequence[RunInput]) -> tuple[RunInput, ...]:
    """Return the inputs of a run whose engine has read them.

    An engine reads the state that a table has when it comes to it. The state that was recorded
    before is known to be the one that was read only if the table still has it. Otherwise the input
    names no snapshot. This never raises, because the run may already have committed.
    """
    return tuple(await asyncio.gather(*(_known(catalog, read) for read in planned)))


async def _known(catalog: "Catalog", planned: RunInput) -> RunInput:
    if planned.snapshot_id is None:
        return planned
    try:
        table = await catalog.table(planned.table)
    except AsgardError as error:
        log.warning("input_unverified", table=planned.table, error=error.detail)
        table = None
    state = (table.table_uuid, table.snapshot_id) if table is not None else None
    if state == (planned.table_uuid, planned.snapshot_id):
        return planned
    return planned.model_copy(update={"snapshot_id": None, "metadata_location": None})
