"""Checks the locations of tables. A table's metadata names its location, and every writer of the
table can change it. Asgard reads, writes and deletes only where a table of that name may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.errors import TableRefused

S3_SCHEMES = frozenset({"s3", "s3a", "s3n"})
DOTS = frozenset({".", ".."})
OWN_FOLDER = "asgard"
"""The folder in the lake's bucket for runs, locks and manifests of ingestions."""
REPAIR = (
    "Another writer of the table changed its metadata. Ask the operator of the lake to repair or "
    "remove the table."
)


class ForeignFile(PermissionError):
    """A table's metadata names a file that is not one of the table's own, or not on S3."""


@dataclass(frozen=True)
class Location:
    """A bucket and the segments of a path in it, the same for `s3` and `s3a`."""

    bucket: str
    path: tuple[str, ...]

    def holds(self, other: "Location") -> bool:
        """Return whether `other` is this place or is below it."""
        inside = other.path[: len(self.path)] == self.path
        return self.bucket == other.bucket and inside

    def overlaps(self, other: "Location") -> bool:
        return self.holds(other) or other.holds(self)


def place_of(location: str) -> Location | None:
    """Return the place of an address of S3, or None if it is not one or is ambiguous."""
    try:
        url = urlsplit(location)
    except ValueError:
        return None
    path = tuple(segment for segment in url.path.split("/") if segment)
    exact = location.split("://", 1)[-1] == f"{url.netloc}{url.path}"
    if url.scheme not in S3_SCHEMES or not url.netloc or not exact or DOTS & set(path):
        return None
    return Location(url.netloc, path)


@dataclass(frozen=True)
class TableLocations:
    """`bucket` is the one of the lake. `tables_under` is where the catalog puts the tables of all
    schemas (`s3://warehouse`), or None if the catalog of an external lake decides. `schemas`
    has the locations that Asgard gives to new schemas, by name."""

    bucket: str
    tables_under: str | None = None
    schemas: Mapping[str, str] = field(default_factory=dict)

    def location_of(self, identifier: Sequence[str]) -> str | None:
        """Return where a table of this name has to be, or None if the catalog decides."""
        if self.tables_under is None:
            return None
        return f"{self.tables_under}/{'/'.join(identifier)}"

    def require_place(
        self, identifier: Sequence[str], location: str, metadata_location: str | None
    ) -> None:
        """Raise `TableRefused` unless a table of this name may have this location."""
        name, place = ".".join(identifier), place_of(location)
        if (expected := self.location_of(identifier)) is not None:
            own = place_of(expected)
            metadata_place = place_of(metadata_location) if metadata_location else own
            if (
                place is None
                or place != own
                or metadata_place is None
                or not place.holds(metadata_place)
            ):
                raise refused(name, location, f"expected {expected}, with its metadata inside it")
            return
        if place is None or not place.path:
            raise refused(name, location, "expected a folder in a bucket: s3://BUCKET/FOLDER")
        if place.overlaps(Location(self.bucket, (OWN_FOLDER,))):
            raise refused(name, location, "expected a folder apart from Asgard's own files")

    def written(self, identifier: Sequence[str], location: str) -> Location | None:
        """Return where files of the table may be written and deleted, or None if nowhere."""
        try:
            self.require_own(identifier, location, self.schemas)
        except TableRefused:
            return None
        return place_of(location)

    def require_own(
        self, identifier: Sequence[str], location: str, schemas: Mapping[str, str]
    ) -> None:
        """Raise `TableRefused` if a drop might delete files of other schemas. `schemas` has the
        location of each schema."""
        *namespace, _ = identifier
        place, own = place_of(location), place_of(schemas.get(".".join(namespace), ""))
        others = {name: folder for name, folder in schemas.items() if name != ".".join(namespace)}
        for schema, folder in others.items():
            other = place_of(folder)
            # A schema whose folder contains this one's does not own the tables in it.
            if other is None or place is None or (own is not None and other.holds(own)):
                continue
            if place.overlaps(other):
                raise refused(
                    ".".join(identifier), location, f"schema {schema} has its files there"
                )


def refused(name: str, location: str, expected: str) -> TableRefused:
    return TableRefused(
        f"The metadata of {name} names the location {location[:200]!r}: {expected}. "
        "Asgard does not read, write or drop this table.",
        hint=REPAIR,
        table=name,
    )


def of_foreign_file(error: ForeignFile) -> TableRefused:
    return TableRefused(f"{error} Asgard does not touch this file.", hint=REPAIR)
