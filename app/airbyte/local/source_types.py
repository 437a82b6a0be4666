"""The types of sources that Asgard reads itself, one line each. Every other type is an Airbyte
connector."""

from collections.abc import Mapping

from app.airbyte.local.files.data_files import DataFiles
from app.airbyte.local.files.source import FileSource

SOURCE_TYPES: Mapping[str, type[FileSource]] = {
    "file": DataFiles,
}
