"""Checks that the bucket and the catalog allow everything that runs, records and tables need."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.config import Settings
from app.doctor.report import BUDGET, Advice, CheckResult, finding
from app.lakehouse.catalog import Catalog, Column
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.lakehouse.external import catalog_connection, external_lake
from app.lakehouse.storage import ObjectStore, PreconditionFailed
from app.lakehouse.storage_probe import ProbeObject, Proof, prove_all
from app.lakehouse.tables import schema_of

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

S3_ADVICE = {
    "NoSuchBucket": "Create the bucket, or correct S3_BUCKET, AWS_REGION, S3_ENDPOINT.",
    "InvalidAccessKeyId": "Correct AWS_ACCESS_KEY_ID, or S3_ENDPOINT.",
    "SignatureDoesNotMatch": "Correct AWS_SECRET_ACCESS_KEY: it must belong to AWS_ACCESS_KEY_ID.",
    "AccessDenied": (
        "Allow the key s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, "
        "s3:DeleteObject on its objects."
    ),
    "Unable to locate credentials": (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role."
    ),
    "PermanentRedirect": "Correct AWS_REGION: the bucket is in another region.",
    "ignores If-None-Match": (
        "Use an S3 with conditional PUT, for example AWS, MinIO or SeaweedFS."
    ),
}
"""Advice by a text in S3's error."""


async def lake_findings(settings: Settings) -> list[CheckResult]:
    if settings.is_production("lake"):
        return await _external(settings)
    try:
        async with embedded_lakehouse(settings) as lakehouse:
            advice = "See the SeaweedFS log."
            objects = (lakehouse.probed, lakehouse.proofs)
            return await _findings(lakehouse.lake, _embedded_advice, advice, *objects)
    except Exception as error:  # noqa: BLE001
        return [CheckResult("SeaweedFS", False, str(error) or type(error).__name__, "See its log.")]


async def _external(settings: Settings) -> list[CheckResult]:
    lake = _with_short_timeouts(external_lake(settings))
    nessie = settings.nessie_uri is not None
    names = "NESSIE_URI and NESSIE_REF" if nessie else "ICEBERG_REST_URI and its credential"
    advice = f"Check {names}: docs/catalogs.md lists what each catalog needs."
    findings = await _findings(lake, _s3_advice, advice)
    if nessie and (ref := settings.nessie_records_ref) and ref != settings.nessie_ref:
        records = _with_short_timeouts(replace(lake, catalog=catalog_connection(settings, ref)))
        advice = "Create the branch NESSIE_RECORDS_REF in Nessie, or unset it."
        findings += await _catalog_findings(records, advice, f"Iceberg catalog, branch {ref}")
    return findings


def _with_short_timeouts(lake: Lake) -> Lake:
    """Shorten the timeouts: a call in a thread only ends with its own. S3 gets half, because a
    write without an answer is looked up again."""
    return replace(
        lake,
        s3=replace(lake.s3, read_timeout=BUDGET / 2),
        catalog=replace(lake.catalog, read_timeout=BUDGET),
    )


async def _findings(
    lake: Lake,
    s3_advice: Advice,
    catalog_advice: str,
    probed: Sequence[ProbeObject] = (),
    proofs: Sequence[Proof] = (),
) -> list[CheckResult]:
    store = ObjectStore(lake.s3)
    places = probed or [ProbeObject(store)]
    try:
        conditional = finding("S3 conditional PUT", lambda: _conditional_put(store), s3_advice)
        results = await asyncio.gather(
            finding("S3 put, get, list, delete", lambda: _round_trip(store), s3_advice),
            conditional,
            finding("S3 keeps objects", lambda: _check_earlier(places, proofs), s3_advice),
            _catalog_findings(lake, catalog_advice, "Iceberg catalog"),
        )
    finally:
        await store.close()
    return [*results[:3], *results[3]]


async def _check_earlier(places: Sequence[ProbeObject], proofs: Sequence[Proof]) -> str:
    """Run the check that readiness runs."""
    await prove_all(places, proofs)
    return "objects written earlier can be read"


async def _catalog_findings(lake: Lake, advice: str, what: str) -> list[CheckResult]:
    catalog = Catalog(lake)
    try:
        reached = await finding(what, lambda: _namespaces(catalog), advice)
        if not reached.ok:
            return [reached]
        allow = "Allow Asgard to create and drop namespaces and tables in the catalog."
        return [reached, await finding(f"{what}, writing", lambda: _scratch_table(catalog), allow)]
    finally:
        await catalog.close()


def _s3_advice(message: str) -> str:
    for text, advice in S3_ADVICE.items():
        if text in message:
            return advice
    return "Check S3_ENDPOINT, AWS_REGION and whether the network lets Asgard reach the endpoint."


def _embedded_advice(_: str) -> str:
    return "Check whether the disk is full, and see the SeaweedFS log."


async def _round_trip(store: ObjectStore) -> str:
    prefix, body = f"asgard/doctor/{uuid.uuid4().hex}", b"scratch"
    key = f"{prefix}/scratch"
    await store.put(key, body)
    try:
        stored, objects = await store.get(key), await store.list(prefix)
    finally:
        await store.delete(key)
    if stored is None or stored.body != body or [info.key for info in objects] != [key]:
        raise RuntimeError("a written object could not be read back")
    return f"bucket {store.bucket}"


async def _conditional_put(store: ObjectStore) -> str:
    key = f"asgard/doctor/{uuid.uuid4().hex}"
    etag = await store.create(key, b"first")
    try:
        for second in (store.create(key, b"second"), store.replace(key, b"third", '"0"')):
            try:
                await second
            except PreconditionFailed:
                continue
            raise RuntimeError("the bucket ignores If-None-Match: two writers would both win")
        await store.replace(key, b"fourth", etag)
    finally:
        await store.delete(key)
    return "a second writer is refused"


async def _namespaces(catalog: Catalog) -> str:
    names = await catalog.run(_namespace_names)
    missing = [name for name in catalog.lake.namespaces if name not in names]
    later = f"; created at the first start: {', '.join(missing)}" if missing else ""
    return f"{catalog.lake.catalog.uri}, {len(names)} namespaces{later}"


def _namespace_names(rest: "RestCatalog") -> set[str]:
    return {".".join(name) for name in rest.list_namespaces()}


async def _scratch_table(catalog: Catalog) -> str:
    await catalog.run(lambda rest: _write_and_drop(rest, catalog.lake))
    return "a table was created and dropped"


def _write_and_drop(rest: "RestCatalog", lake: Lake) -> None:
    """Use the staging schema, or a temporary namespace if it does not exist yet."""
    name = f"doctor_{uuid.uuid4().hex[:12]}"
    is_new = lake.staging_schema not in _namespace_names(rest)
    namespace = f"asgard_{name}" if is_new else lake.staging_schema
    if is_new:
        rest.create_namespace(namespace, lake.namespace_properties(namespace))
    try:
        rest.create_table(f"{namespace}.{name}", schema_of([Column("checked", "bigint")]))
        rest.purge_table(f"{namespace}.{name}")
    finally:
        if is_new:
            rest.drop_namespace(namespace)
