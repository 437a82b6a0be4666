"""Routes of `/data-products`: HTTP only."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from app.data_products.record import DataProductType, ProductStatus
from app.data_products.rules import ProductFilter
from app.data_products.schemas import ProductCreate, ProductUpdate
from app.data_products.service import DataProductService, Product
from app.data_products.views import (
    LineageView,
    PreviewView,
    ProductPage,
    ProductRunView,
    ProductView,
    StatsView,
)
from app.errors import VersionMismatch
from app.http.dependencies import (
    CallerDep,
    IdempotencyDep,
    PageDep,
    component,
    id_or_name,
    set_replayed,
)
from app.http.lists import listed
from app.http.raw_body import BriefRoute
from app.runs.waiting import SubmissionDep, WaitDep, accepted

router = APIRouter(prefix="/data-products", tags=["data products"], route_class=BriefRoute)


def _service(request: Request) -> DataProductService:
    return component(request, DataProductService)


def _expected_version(
    if_match: Annotated[
        str | None, Header(description='The `ETag` that the change is based on: `"3"`.')
    ] = None,
) -> int | None:
    """Return None if any version matches. A tag that no version has never matches (RFC 9110)."""
    if if_match is None or if_match.strip() == "*":
        return None
    tag = re.fullmatch(r'\s*"(\d{1,18})"\s*', if_match)
    if tag is None:
        raise VersionMismatch(f'If-Match is {if_match!r}: expected an ETag, for example "3".')
    return int(tag[1])


ServiceDep = Annotated[DataProductService, Depends(_service)]
DropTable = Annotated[bool, Query(description="Drop the table, too.")]
ProductRef = Annotated[
    str,
    Depends(id_or_name("product_id", "data product", lambda r, name: _service(r).id_of(name))),
]
VersionDep = Annotated[int | None, Depends(_expected_version)]


@router.post("", status_code=201)
async def create_data_product(
    body: ProductCreate,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    key: IdempotencyDep,
) -> ProductView:
    """Registers a data product. Its query is checked now and built by the first run."""
    product, claim = await service.create(body, caller, key)
    set_replayed(response, claim)
    return _view(product, response)


@router.get("", response_model=ProductPage)
async def list_data_products(
    service: ServiceDep,
    page: PageDep,
    owner: Annotated[
        str | None, Query(max_length=100, description="Only those of this owner.")
    ] = None,
    data_product_type: Annotated[
        DataProductType | None, Query(description="Only those of this type.")
    ] = None,
    tag: Annotated[
        str | None, Query(max_length=100, description="Only those with this tag.")
    ] = None,
    status: Annotated[
        ProductStatus | None, Query(description="Only those with this status.")
    ] = None,
    search: Annotated[
        str | None,
        Query(max_length=200, description="Text in the name, the description or a tag."),
    ] = None,
) -> Response:
    """Lists the data products, the newest first. `search` covers names, descriptions and tags."""
    criteria = ProductFilter(owner, data_product_type, tag, status, search)
    products, total = await service.search(criteria, page.offset, page.page_size)
    return await listed(ProductPage.of, products, total, page.page, page.page_size)


@router.get("/{product_id}")
async def get_data_product(
    product_id: ProductRef, response: Response, service: ServiceDep
) -> ProductView:
    """Returns a data product. Its version is in the `ETag` header."""
    return _view(await service.get(product_id), response)


@router.put("/{product_id}")
async def update_data_product(
    product_id: ProductRef,
    body: ProductUpdate,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    version: VersionDep,
) -> ProductView:
    """Changes the fields in the body. Once a run has used its table, a data product can be
    renamed only to a name that maps to the same table."""
    product = await service.update(product_id, body, caller, version)
    return _view(product, response)


@router.delete("/{product_id}", status_code=204)
async def delete_data_product(
    product_id: ProductRef,
    service: ServiceDep,
    caller: CallerDep,
    version: VersionDep,
    drop_table: DropTable = False,
) -> None:
    """Deletes a data product. Keeps its table unless `drop_table` is true."""
    await service.delete(product_id, caller, drop_table=drop_table, expected_version=version)


@router.post("/{product_id}/run")
async def run_data_product(
    product_id: ProductRef,
    response: Response,
    service: ServiceDep,
    caller: CallerDep,
    submission: SubmissionDep,
    wait: WaitDep,
) -> ProductRunView:
    """Builds the table and waits for it. A failed run leaves the existing table unchanged."""
    product, run, claim = await service.run(product_id, submission)
    set_replayed(response, claim)
    accepted(response, run, wait)
    return ProductRunView.of(product, run, caller)


@router.get("/{product_id}/lineage", response_model=LineageView)
async def get_data_product_lineage(product_id: ProductRef, service: ServiceDep) -> Response:
    """Returns what the table was built from and what is built from it."""
    record, lineage = await service.lineage(product_id)
    return await listed(LineageView.of, record, lineage)


@router.get("/{product_id}/stats")
async def get_data_product_stats(product_id: ProductRef, service: ServiceDep) -> StatsView:
    """Returns the size and freshness of the table, from Iceberg metadata."""
    return StatsView.of(await service.stats(product_id))


@router.get("/{product_id}/preview")
async def preview_data_product(
    product_id: ProductRef,
    service: ServiceDep,
    limit: Annotated[
        int, Query(ge=1, le=100, description="Maximum number of rows to return.")
    ] = 20,
) -> PreviewView:
    """Returns rows of the table, in no particular order."""
    return PreviewView.of(*await service.preview(product_id, limit))


def _view(product: Product, response: Response) -> ProductView:
    response.headers["ETag"] = f'"{product.record.version}"'
    return ProductView.of(product)
