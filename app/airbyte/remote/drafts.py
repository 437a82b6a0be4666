"""The requests for new sources and destinations, and the fields that identify each of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.airbyte.bronze_paths import require_bronze
from app.airbyte.engine import S3, DestinationDraft, SourceDraft
from app.airbyte.remote import configs
from app.airbyte.remote.client import Json
from app.airbyte.remote.workspaces import Workspaces

if TYPE_CHECKING:
    from app.lakehouse.connection import S3Connection


async def source_body(
    draft: SourceDraft, workspaces: Workspaces, s3: "S3Connection", prefixes: Iterable[str]
) -> tuple[Json, Json]:
    """Returns the body and the identifying fields.

    Raises `NotSupported` for a connector that this Airbyte does not have, and `PathRefused` for a
    file of the lake's bucket that sources may not read.
    """
    workspace = await workspaces.resolve(draft.workspace)
    definition = await workspaces.definition_id(workspace, draft.type)
    config = configs.source_config(draft.type, draft.config, s3, prefixes)
    type_ = configs.airbyte_name(draft.type)
    body: Json = {
        "name": draft.name,
        "workspaceId": workspace,
        "configuration": {**config, "sourceType": type_},
    }
    if definition:
        body["definitionId"] = definition
    return body, {"name": draft.name, "workspaceId": workspace, "sourceType": type_}


async def destination_body(
    draft: DestinationDraft, workspaces: Workspaces, s3: "S3Connection"
) -> tuple[Json, Json]:
    """Returns the body and the identifying fields.

    Raises `PathRefused` for a path of the lake's bucket that is not for syncs.
    """
    config = configs.s3_config(draft.config, s3)
    require_bronze(config["s3_bucket_name"], config["s3_bucket_path"], s3.bucket)
    same = {"name": draft.name, "workspaceId": await workspaces.resolve(draft.workspace)}
    body = {
        **same,
        "definitionId": configs.S3_DESTINATION_ID,
        "configuration": {**config, "destinationType": S3},
    }
    return body, {**same, "destinationType": S3}
