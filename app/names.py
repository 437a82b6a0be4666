"""Finds a resource by its name wherever its id is expected."""

from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from app.errors import Conflict

MOST_IDS = 20
"""The maximum number of ids that a refusal lists."""
Named = tuple[str, str]
"""The id and the name of a resource."""


async def id_of(
    reference: str, what: str, existing: Callable[[], Awaitable[Iterable[Named]]]
) -> str:
    """Return the id that `reference` stands for, or `reference` itself if nothing has that name.

    An id wins over a name. Text in the form of an id costs no lookup: it is always taken as one, in
    lower case. An engine may ignore the case, but runs, locks and owners are found by the exact id.

    Raises:
        Conflict: Several resources have the name. It lists their ids.
    """
    if _is_id(reference):
        return reference.lower()
    resources = list(await existing())
    if any(id_ == reference for id_, _ in resources):
        return reference
    ids = [id_ for id_, name in resources if name == reference]
    if len(ids) > 1:
        raise Conflict(
            f"There are {len(ids)} {what}s with the name {reference!r}.",
            hint="Use one of the ids in `ids`.",
            ids=ids[:MOST_IDS],
        )
    return ids[0] if ids else reference


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
