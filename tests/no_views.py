"""A SQL engine over a lake without views, for Spark runs that are not about them."""

from collections.abc import Sequence

from app.lakehouse.tables import Column


class NoViews:
    async def rebuild_views(self, table: str, before: Sequence[Column]) -> list[str]:  # noqa: ARG002 — the port's
        return []
