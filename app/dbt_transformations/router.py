"""Routes of `/dbt`: HTTP only."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.dbt_transformations.record import TransformationStatus
from app.dbt_transformations.schemas import RunRequestBody, SqlToValidate, TransformationCreate
from app.dbt_transformations.service import DbtService
from app.dbt_transformations.views import (
    GoldTableList,
    SourceTableList,
    TransformationDetail,
    TransformationPage,
    TransformationView,
    ValidationView,
)
from app.http.dependencies import (
    READS,
    CallerDep,
    PageDep,
    component,
    id_or_name,
    set_replayed,
)
from app.http.lists import listed
from app.http.raw_body import BriefRoute
from app.runs.waiting import SubmissionDep, WaitDep, accepted

router = APIRouter(prefix="/dbt", tags=["dbt"], route_class=BriefRoute)

ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}
}


def _service(request: Request) -> DbtService:
    return component(request, DbtService)


ServiceDep = Annotated[DbtService, Depends(_service)]
DropTable = Annotated[bool, Query(description="Drop the table, too.")]
TransformationRef = Annotated[
    str,
    Depends(
        id_or_name("transformation_id", "transformation", lambda r, name: _service(r).id_of(name))
    ),
]


@router.post("/transform")
async def create_transformation(
    body: TransformationCreate,
    response: Response,
    service: ServiceDep,
    submission: SubmissionDep,
    wait: WaitDep,
    replace: Annotated[
        bool, Query(description="Let a table become a view, or a view a table.")
    ] = False,
) -> TransformationView:
    """Defines a transformation, builds its gold table and waits for the build. An existing name
    gets a new version. A failed build returns 200 with status `failed` and leaves the existing
    table unchanged."""
    item, claim = await service.create_transformation(body, submission, replace=replace)
    set_replayed(response, claim)
    if item.run:
        accepted(response, item.run, wait)
    return TransformationView.of(item)


@router.get("/transformations", response_model=TransformationPage)
async def list_transformations(
    service: ServiceDep,
    page: PageDep,
    status: Annotated[
        TransformationStatus | None, Query(description="Only transformations with this status.")
    ] = None,
) -> Response:
    """Lists the transformations, the newest first."""
    shown, total = await service.search(status, page.offset, page.page_size)
    return await listed(TransformationPage.of, shown, total, page.page, page.page_size)


@router.get("/transformations/{transformation_id}")
async def get_transformation(
    transformation_id: TransformationRef, service: ServiceDep, caller: CallerDep
) -> TransformationDetail:
    """Returns a transformation with its compiled SQL and its newest runs."""
    return TransformationDetail.of(*await service.get(transformation_id), caller)


@router.delete("/transformations/{transformation_id}", status_code=204)
async def delete_transformation(
    transformation_id: TransformationRef,
    service: ServiceDep,
    caller: CallerDep,
    drop_table: DropTable = False,
) -> None:
    """Deletes a transformation. Keeps its table unless `drop_table` is true."""
    await service.delete(transformation_id, caller, drop_table=drop_table)


@router.post("/transformations/{transformation_id}/run")
async def run_transformation(
    transformation_id: TransformationRef,
    response: Response,
    service: ServiceDep,
    submission: SubmissionDep,
    wait: WaitDep,
    body: RunRequestBody | None = None,
    full_refresh: Annotated[
        bool, Query(description="Rebuild an incremental table from scratch.")
    ] = False,
) -> TransformationView:
    """Builds the table again and waits for the build. `full_refresh` may be in the
    body or in the query."""
    rebuild = full_refresh or bool(body and body.full_refresh)
    item, claim = await service.run_again(transformation_id, submission, full_refresh=rebuild)
    set_replayed(response, claim)
    if item.run:
        accepted(response, item.run, wait)
    return TransformationView.of(item)


@router.post("/validate-sql", openapi_extra=READS)
async def validate_sql(body: SqlToValidate, service: ServiceDep) -> ValidationView:
    """Parses, checks and plans the SQL, but runs nothing. Always returns 200."""
    return ValidationView.of(await service.validate(body.sql_query))


@router.get("/sources/silver", response_model=SourceTableList)
async def list_silver_tables(service: ServiceDep) -> Response:
    """Lists the silver tables that SQL can read, from Iceberg's metadata."""
    return await listed(SourceTableList.of, await service.silver_sources(), service.catalog_name)


@router.get("/tables/gold", response_model=GoldTableList)
async def list_gold_tables(service: ServiceDep) -> Response:
    """Lists the gold tables, from Iceberg's metadata."""
    return await listed(GoldTableList.of, await service.gold_tables())


@router.get("/project", response_class=Response, responses=ARCHIVE)
async def download_dbt_project(service: ServiceDep) -> Response:
    """Returns the whole dbt project as a `.tar.gz`. Its profile names the environment variables for
    the credentials. Once they are set, `dbt build` runs it unchanged."""
    return Response(
        await service.project_archive(),
        media_type="application/gzip",
        headers={"Content-Disposition": 'attachment; filename="asgard-dbt.tar.gz"'},
    )
