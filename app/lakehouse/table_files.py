"""Opens the files of one table on the lake's own S3. A table's metadata cannot choose the code, the
server or the keys that are used."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyiceberg.io import InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from app.lakehouse.locations import S3_SCHEMES, ForeignFile, Location, place_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

CONTROLS_PYICEBERG = frozenset(
    {"py-io-impl", "write.py-location-provider.impl", "write.data.path", "write.metadata.path"}
)
"""Properties of a table that make pyiceberg import any callable, or write to any place."""
STORAGE = "s3."


class TableFiles(PyArrowFileIO):
    """Reads files on S3. Writes and deletes only those below `place`."""

    def __init__(self, properties: Mapping[str, str], place: Location | None) -> None:
        super().__init__({k: v for k, v in properties.items() if k.startswith(STORAGE)})
        self._place = place

    def holds(self, location: str) -> bool:
        """Return whether the file is one of the table's own."""
        file = place_of(location)
        if self._place is None or file is None:
            return False
        return self._place.holds(file) and file != self._place

    def new_input(self, location: str) -> PyArrowFile:
        if place_of(location) is None:
            raise ForeignFile(f"The metadata of a table names {location!r}, not a file on S3.")
        return super().new_input(location)

    def new_output(self, location: str) -> PyArrowFile:
        self._require_own(location)
        return super().new_output(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        self._require_own(location if isinstance(location, str) else location.location)
        super().delete(location)

    def _require_own(self, location: str) -> None:
        if not self.holds(location):
            raise ForeignFile(f"{location!r} is not a file of the table.")

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> "FileSystem":
        if scheme not in S3_SCHEMES:
            raise ForeignFile(f"Files of tables must be on S3, not at {scheme}://.")
        return super()._initialize_fs(scheme, netloc)


def harmless(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a table without those that pyiceberg must not see."""
    return {
        key: value
        for key, value in properties.items()
        if key not in CONTROLS_PYICEBERG and not key.startswith(STORAGE)
    }
