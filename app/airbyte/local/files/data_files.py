"""The source type `file`: data files, each of which is a stream."""

from typing import Annotated, Any

import anyio.to_thread
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from app.airbyte.file_formats import FORMAT_NAMES, FileFormat
from app.airbyte.local.files.paths import (
    FileChoice,
    SourceFile,
    bucket_streams,
    is_in_bucket,
    local_streams,
)
from app.airbyte.local.files.source import FileSource
from app.bodies import Body


def _known_format(value: str) -> str:
    if FileFormat.named(value) is None:
        raise ValueError(f"must be one of {', '.join(FORMAT_NAMES)}")
    return value


FormatName = Annotated[str, AfterValidator(_known_format)]


class FileConfig(Body):
    """A file, or a directory. Each file is a stream, named after the file up to its first dot."""

    model_config = ConfigDict(title="File source")

    url: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="A local path (relative: below $ASGARD_HOME/data), or s3://bucket/bronze/…"
    )
    dataset_name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="The stream's name, when the url is a single file."
    )
    format: FormatName | None = Field(
        None,
        description=f"Required if the file's name does not show it: {', '.join(FORMAT_NAMES)}.",
    )


class DataFiles(FileSource):
    config = FileConfig
    reader = "app.airbyte.local.files.reader"

    async def files(self, config: dict[str, Any]) -> list[SourceFile]:
        format_ = config.get("format")
        choice = FileChoice(
            url=config["url"],
            dataset_name=config.get("dataset_name"),
            format=FileFormat.named(format_) if format_ else None,
        )
        if is_in_bucket(choice.url):
            key, listed = await self.bucket_keys(choice.url)
            return await anyio.to_thread.run_sync(bucket_streams, choice, key, listed)
        return await anyio.to_thread.run_sync(local_streams, choice, self.roots, self.home)
