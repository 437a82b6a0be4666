"""`/dbt`: HTTP only."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.dbt_transformations.record import TransformationStatus
from app.dbt_transformations.schemas import (
    GoldTableList,
    GoldTableView,
    RunRequestBody,
    SourceTableList,
    SourceTableView,
    SqlToValidate,
    TransformationCreate,
    TransformationDetail,
    TransformationPage,
    TransformationView,
    ValidationView,
)
from app.dbt_transformations.service import DbtService, Submission
from app.http.dependencies import (
    READS,
    CallerDep,
    IdempotencyDep,
    PageDep,
    RequestIdDep,
    component,
    set_replayed,
)
from app.runs.schemas import RunView
from app.runs.waiting import Wait, WaitDep, accepted

router = APIRouter(prefix="/dbt", tags=["dbt"])

ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}
}


def _service(request: Request) -> DbtService:
    return component(request, DbtService)


def _asked(
    caller: CallerDep, key: IdempotencyDep, request_id: RequestIdDep, wait: WaitDep
) -> tuple[Submission, Wait]:
    return Submission(caller, key, request_id, wait.seconds), wait


ServiceDep = Annotated[DbtService, Depends(_service)]
AskedDep = Annotated[tuple[Submission, Wait], Depends(_asked)]


@router.post("/transform")
async def transform(
    body: TransformationCreate,
    response: Response,
    service: ServiceDep,
    asked: AskedDep,
    replace: Annotated[
        bool, Query(description="A table may become a view, or a view a table.")
    ] = False,
) -> TransformationView:
    """Defines a transformation and builds its gold table, and waits for that. A name that exists
    gets a new version. A run that fails is a 200 with status `failed`; it leaves the former table
    as it was."""
    item, claim = await service.create_transformation(body.fields(), asked[0], replace=replace)
    set_replayed(response, claim)
    if item.run:
        accepted(response, item.run, asked[1])
    return TransformationView.of(item)


@router.get("/transformations")
async def list_transformations(
    service: ServiceDep, page: PageDep, status: TransformationStatus | None = None
) -> TransformationPage:
    """The newest first."""
    found = await service.search(status)
    shown = found[page.offset : page.offset + page.page_size]
    return TransformationPage(
        transformations=[TransformationView.of(item) for item in shown],
        total_count=len(found),
        page=page.page,
        page_size=page.page_size,
    )


@router.get("/transformations/{transformation_id}")
async def get_transformation(
    transformation_id: str, service: ServiceDep, caller: CallerDep
) -> TransformationDetail:
    item, compiled, runs = await service.get(transformation_id)
    return TransformationDetail(
        **TransformationView.fields_of(item),
        sql_query=item.record.doc.sql_query,
        compiled_sql=compiled,
        runs=[RunView.of(run, caller) for run in runs],
    )


@router.delete("/transformations/{transformation_id}", status_code=204)
async def delete_transformation(
    transformation_id: str, service: ServiceDep, caller: CallerDep, drop_table: bool = False
) -> None:
    """Keeps the table unless `drop_table` is true."""
    await service.delete(transformation_id, caller, drop_table=drop_table)


@router.post("/transformations/{transformation_id}/run")
async def run_transformation(
    transformation_id: str,
    response: Response,
    service: ServiceDep,
    asked: AskedDep,
    body: RunRequestBody | None = None,
    full_refresh: bool = False,
) -> TransformationView:
    """Builds the table again, and waits for that. `full_refresh` is taken from body or query."""
    anew = full_refresh or bool(body and body.full_refresh)
    item, claim = await service.run_again(transformation_id, asked[0], full_refresh=anew)
    set_replayed(response, claim)
    if item.run:
        accepted(response, item.run, asked[1])
    return TransformationView.of(item)


@router.post("/validate-sql", openapi_extra=READS)
async def validate_sql(body: SqlToValidate, service: ServiceDep) -> ValidationView:
    """Parses, judges and plans the SQL; nothing runs. Always 200."""
    return ValidationView.of(await service.validate(body.sql_query))


@router.get("/sources/silver")
async def silver_sources(service: ServiceDep) -> SourceTableList:
    """The tables that SQL can read, from Iceberg's metadata."""
    found = await service.silver_sources()
    return SourceTableList(
        sources=[SourceTableView.of(info, service.catalog_name) for info in found],
        total_count=len(found),
    )


@router.get("/tables/gold")
async def list_gold_tables(service: ServiceDep) -> GoldTableList:
    found = await service.gold_tables()
    return GoldTableList(
        tables=[GoldTableView.of(table) for table in found], total_count=len(found)
    )


@router.get("/project", response_class=Response, responses=ARCHIVE)
async def project(service: ServiceDep) -> Response:
    """The whole dbt project as a `.tar.gz`. Its profile names the environment variables that have
    to hold the credentials; then `dbt build` runs it as it is."""
    return Response(
        await service.project_archive(),
        media_type="application/gzip",
        headers={"Content-Disposition": 'attachment; filename="asgard-dbt.tar.gz"'},
    )
