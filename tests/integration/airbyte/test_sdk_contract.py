"""Airbyte's own SDK accepts the stand-in, in every call that the adapter makes."""

from typing import Any
from uuid import uuid4

import pytest
from airbyte_api import AirbyteAPI, api, errors, models

from tests.conftest import Lakehouse
from tests.integration.servers.airbyte import TOKEN_PATH, AirbyteServer
from tests.patience import until_now

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
TOY = "00000000-0000-4000-8000-000000000001"


def sdk_of(airbyte: AirbyteServer, **security: Any) -> AirbyteAPI:
    return AirbyteAPI(server_url=airbyte.url, security=models.Security(**security))


def toy(airbyte: AirbyteServer, **config: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "definition_id": TOY,
        "workspace_id": airbyte.state.workspace,
        "configuration": {
            "sourceType": "toy",
            "rows": 3,
            "stream": "ticks",
            "password": "s3cret",
            **config,
        },
    }


def create_source(sdk: AirbyteAPI, airbyte: AirbyteServer, **config: Any) -> models.SourceResponse:
    # The SDK types known connectors' configurations only: this one goes as it would in JSON.
    request = models.SourceCreateRequest.model_construct(**toy(airbyte, **config))
    answer = sdk.sources.create_source(request=request)
    assert answer.source_response is not None
    return answer.source_response


def s3_config(lakehouse: Lakehouse, path: str) -> models.DestinationS3:
    s3 = lakehouse.lake.s3
    return models.DestinationS3.model_validate(
        {
            "destinationType": "s3",
            "s3_bucket_name": s3.bucket,
            "s3_bucket_path": path,
            "s3_bucket_region": s3.region,
            "s3_endpoint": s3.endpoint,
            "access_key_id": s3.access_key,
            "secret_access_key": s3.secret_key,
            "format": {"format_type": "Parquet"},
        }
    )


def create_destination(sdk: AirbyteAPI, airbyte: AirbyteServer, lakehouse: Lakehouse) -> str:
    destination = sdk.destinations.create_destination(
        request=models.DestinationCreateRequest(
            name="lake",
            workspace_id=airbyte.state.workspace,
            configuration=s3_config(lakehouse, "bronze/sdk"),
        )
    ).destination_response
    assert destination is not None
    return destination.destination_id


def create_connection(
    sdk: AirbyteAPI, airbyte: AirbyteServer, lakehouse: Lakehouse, **config: Any
) -> models.ConnectionResponse:
    source = create_source(sdk, airbyte, **config)
    destination = create_destination(sdk, airbyte, lakehouse)
    answer = sdk.connections.create_connection(
        request=models.ConnectionCreateRequest(
            name="ticks to lake",
            source_id=source.source_id,
            destination_id=destination,
            namespace_definition=models.NamespaceDefinitionEnum.SOURCE,
            configurations=models.StreamConfigurations(
                streams=[
                    models.StreamConfiguration(
                        name="ticks", sync_mode=models.ConnectionSyncModeEnum.INCREMENTAL_APPEND
                    )
                ]
            ),
        )
    )
    assert answer.connection_response is not None
    return answer.connection_response


def test_workspaces_and_health(airbyte: AirbyteServer) -> None:
    sdk = sdk_of(airbyte)
    assert sdk.health.get_health_check().status_code == 200
    listed = sdk.workspaces.list_workspaces(request=api.ListWorkspacesRequest(limit=100))
    assert listed.workspaces_response is not None
    assert [w.name for w in listed.workspaces_response.data] == ["main"]
    one = sdk.workspaces.get_workspace(
        request=api.GetWorkspaceRequest(workspace_id=airbyte.state.workspace)
    )
    assert one.workspace_response is not None
    assert one.workspace_response.workspace_id == airbyte.state.workspace


def test_source_definitions(airbyte: AirbyteServer) -> None:
    request = api.ListSourceDefinitionsRequest(workspace_id=airbyte.state.workspace)
    listed = sdk_of(airbyte).source_definitions.list_source_definitions(request=request)
    assert listed.definitions_response is not None
    repositories = {d.id: d.docker_repository for d in listed.definitions_response.data}
    assert repositories[TOY] == "airbyte/source-toy"


def test_sources_are_created_paged_and_deleted(airbyte: AirbyteServer) -> None:
    sdk = sdk_of(airbyte)
    created = [create_source(sdk, airbyte) for _ in range(5)]
    assert created[0].source_type == "toy"
    assert airbyte.state.sources[created[0].source_id]["configuration"]["rows"] == 3
    shown = sdk.sources.get_source(request=api.GetSourceRequest(source_id=created[0].source_id))
    assert shown.raw_response.json()["configuration"]["password"] == "**********"
    ids: list[str] = []
    while True:
        request = api.ListSourcesRequest(
            limit=2, offset=len(ids), workspace_ids=[airbyte.state.workspace]
        )
        page = sdk.sources.list_sources(request=request).sources_response
        assert page is not None
        ids += [source.source_id for source in page.data]
        if not page.next:
            break
    assert [id_ for id_ in ids if id_ in {s.source_id for s in created}] == [
        s.source_id for s in created
    ]
    for source in created:
        request = api.DeleteSourceRequest(source_id=source.source_id)
        assert sdk.sources.delete_source(request=request).status_code == 204
    everything = sdk.sources.list_sources(request=api.ListSourcesRequest(limit=100))
    assert everything.sources_response is not None
    left = {source.source_id for source in everything.sources_response.data}
    assert left.isdisjoint(source.source_id for source in created)
    with pytest.raises(errors.SDKError) as missing:
        sdk.sources.get_source(request=api.GetSourceRequest(source_id=str(uuid4())))
    assert missing.value.status_code == 404


def test_streams(airbyte: AirbyteServer, lakehouse: Lakehouse) -> None:
    sdk = sdk_of(airbyte)
    source = create_source(sdk, airbyte, namespace="shop")
    destination = create_destination(sdk, airbyte, lakehouse)
    request = api.GetStreamPropertiesRequest(
        source_id=source.source_id, destination_id=destination, ignore_cache=True
    )
    response = sdk.streams.get_stream_properties(request=request).stream_properties_response
    assert response is not None
    first = response[0]
    assert (first.stream_name, first.streamnamespace) == ("ticks", "shop")
    assert first.source_defined_primary_key == [["n"]]
    assert first.property_fields == [["n"], ["at"], ["odd"], ["inner"]]
    assert models.ConnectionSyncModeEnum.INCREMENTAL_APPEND in (first.sync_modes or [])


def test_connections_and_their_jobs(airbyte: AirbyteServer, lakehouse: Lakehouse) -> None:
    sdk = sdk_of(airbyte)
    connection = create_connection(sdk, airbyte, lakehouse, rows=25)
    assert connection.namespace_definition is models.NamespaceDefinitionEnum.SOURCE
    assert connection.schedule.schedule_type.value == "manual"
    patched = sdk.connections.patch_connection(
        request=api.PatchConnectionRequest(
            connection_id=connection.connection_id,
            connection_patch_request=models.ConnectionPatchRequest(
                name="renamed",
                schedule=models.AirbyteAPIConnectionSchedule(
                    schedule_type=models.ScheduleTypeEnum.CRON, cron_expression="0 0 3 * * ? UTC"
                ),
            ),
        )
    ).connection_response
    assert patched is not None
    assert (patched.name, patched.schedule.cron_expression) == ("renamed", "0 0 3 * * ? UTC")
    start = models.JobCreateRequest(
        connection_id=connection.connection_id, job_type=models.JobTypeEnum.SYNC
    )
    job = sdk.jobs.create_job(request=start).job_response
    assert job is not None

    def status() -> models.JobResponse:
        response = sdk.jobs.get_job(request=api.GetJobRequest(job_id=job.job_id)).job_response
        assert response is not None
        return response

    until_now(lambda: status().status is models.JobStatusEnum.SUCCEEDED)
    assert status().rows_synced == 25
    listed = sdk.jobs.list_jobs(
        request=api.ListJobsRequest(
            connection_id=connection.connection_id, order_by="createdAt|DESC", limit=10
        )
    ).jobs_response
    assert listed is not None
    assert [each.job_id for each in listed.data] == [job.job_id]
    connections = sdk.connections.list_connections(request=api.ListConnectionsRequest(limit=100))
    assert connections.connections_response is not None
    ids = [each.connection_id for each in connections.connections_response.data]
    assert connection.connection_id in ids
    request = api.DeleteConnectionRequest(connection_id=connection.connection_id)
    assert sdk.connections.delete_connection(request=request).status_code == 204


def test_a_running_job_is_cancelled(airbyte: AirbyteServer, lakehouse: Lakehouse) -> None:
    sdk = sdk_of(airbyte)
    connection = create_connection(sdk, airbyte, lakehouse, rows=25, hang_after=5)
    start = models.JobCreateRequest(
        connection_id=connection.connection_id, job_type=models.JobTypeEnum.SYNC
    )
    job = sdk.jobs.create_job(request=start).job_response
    assert job is not None
    with pytest.raises(errors.SDKError) as conflict:
        sdk.jobs.create_job(request=start)
    assert conflict.value.status_code == 409
    sdk.jobs.cancel_job(request=api.CancelJobRequest(job_id=job.job_id))
    until_now(lambda: airbyte.state.jobs[job.job_id].status == "cancelled")


def test_basic_auth(airbyte: AirbyteServer) -> None:
    airbyte.auth.username, airbyte.auth.password = "airbyte", "pass"
    authenticated = sdk_of(
        airbyte, basic_auth=models.SchemeBasicAuth(username="airbyte", password="pass")
    )
    assert (
        authenticated.workspaces.list_workspaces(request=api.ListWorkspacesRequest()).status_code
        == 200
    )
    wrong = sdk_of(airbyte, basic_auth=models.SchemeBasicAuth(username="airbyte", password="no"))
    with pytest.raises(errors.SDKError) as refused:
        wrong.workspaces.list_workspaces(request=api.ListWorkspacesRequest())
    assert refused.value.status_code == 401


def test_client_credentials(airbyte: AirbyteServer) -> None:
    airbyte.auth.client_id, airbyte.auth.client_secret = "id", "s3cret"
    credentials = models.SchemeClientCredentials(
        client_id="id", client_secret="s3cret", token_url=airbyte.host_url + TOKEN_PATH
    )
    sdk = sdk_of(airbyte, client_credentials=credentials)
    for _ in range(2):
        listed = sdk.sources.list_sources(request=api.ListSourcesRequest())
        assert listed.status_code == 200
    assert airbyte.calls("POST /applications/token") == 1
