"""Bucket and catalog: is everything allowed there that runs, records and tables need?"""

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
    "NoSuchBucket": "Make the bucket, or correct S3_BUCKET, AWS_REGION, S3_ENDPOINT.",
    "InvalidAccessKeyId": "Correct AWS_ACCESS_KEY_ID, or S3_ENDPOINT.",
    "SignatureDoesNotMatch": "Correct AWS_SECRET_ACCESS_KEY; it belongs to AWS_ACCESS_KEY_ID.",
    "AccessDenied": (
        "Allow the key s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, "
        "s3:DeleteObject on what is in it."
    ),
    "Unable to locate credentials": (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role."
    ),
    "PermanentRedirect": "Correct AWS_REGION: the bucket is in another one.",
    "ignores If-None-Match": "Use an S3 with conditional PUT: AWS, MinIO, SeaweedFS have it.",
}
"""By what S3's refusal holds."""


async def lake_findings(settings: Settings) -> list[CheckResult]:
    if settings.is_production("lake"):
        return await _external(settings)
    try:
        async with embedded_lakehouse(settings) as lakehouse:
            log, kept = "See the SeaweedFS log.", (lakehouse.probed, lakehouse.proofs)
            return await _findings(lakehouse.lake, _embedded_advice, log, *kept)
    except Exception as error:  # noqa: BLE001
        return [CheckResult("SeaweedFS", False, str(error) or type(error).__name__, "See its log.")]


async def _external(settings: Settings) -> list[CheckResult]:
    lake = _impatient(external_lake(settings))
    nessie = settings.nessie_uri is not None
    names = "NESSIE_URI and NESSIE_REF" if nessie else "ICEBERG_REST_URI and its credential"
    advice = f"Check {names}: docs/catalogs.md says what each catalog needs."
    findings = await _findings(lake, _s3_advice, advice)
    if nessie and (ref := settings.nessie_records_ref) and ref != settings.nessie_ref:
        records = _impatient(replace(lake, catalog=catalog_connection(settings, ref)))
        advice = "Make the branch NESSIE_RECORDS_REF in Nessie, or unset it."
        findings += await _catalog_findings(records, advice, f"Iceberg catalog, branch {ref}")
    return findings


def _impatient(lake: Lake) -> Lake:
    """A call in a thread ends with its time-out alone. A write without an answer is looked for."""
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
        found = await asyncio.gather(
            finding("S3 put, get, list, delete", lambda: _round_trip(store), s3_advice),
            conditional,
            finding("S3 keeps objects", lambda: _kept(places, proofs), s3_advice),
            _catalog_findings(lake, catalog_advice, "Iceberg catalog"),
        )
    finally:
        await store.close()
    return [*found[:3], *found[3]]


async def _kept(places: Sequence[ProbeObject], proofs: Sequence[Proof]) -> str:
    """Runs the check that readiness runs."""
    await prove_all(places, proofs)
    return "objects written earlier can be read"


async def _catalog_findings(lake: Lake, advice: str, what: str) -> list[CheckResult]:
    catalog = Catalog(lake)
    try:
        reached = await finding(what, lambda: _namespaces(catalog), advice)
        if not reached.ok:
            return [reached]
        allow = "Allow Asgard to make and drop namespaces and tables in the catalog."
        return [reached, await finding(f"{what}, writing", lambda: _scratch_table(catalog), allow)]
    finally:
        await catalog.close()


def _s3_advice(said: str) -> str:
    for sign, advice in S3_ADVICE.items():
        if sign in said:
            return advice
    return "Check S3_ENDPOINT, AWS_REGION and whether the network lets Asgard reach them."


def _embedded_advice(_: str) -> str:
    return "Is the disk full? See the SeaweedFS log."


async def _round_trip(store: ObjectStore) -> str:
    prefix, body = f"asgard/doctor/{uuid.uuid4().hex}", b"scratch"
    key = f"{prefix}/scratch"
    await store.put(key, body)
    try:
        found, listed = await store.get(key), await store.list(prefix)
    finally:
        await store.delete(key)
    if found is None or found.body != body or [info.key for info in listed] != [key]:
        raise RuntimeError("what was written could not be read back")
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
    found = await catalog.run(_named)
    missing = [name for name in catalog.lake.namespaces if name not in found]
    later = f"; made at the first start: {', '.join(missing)}" if missing else ""
    return f"{catalog.lake.catalog.uri}, {len(found)} namespaces{later}"


def _named(rest: "RestCatalog") -> set[str]:
    return {".".join(name) for name in rest.list_namespaces()}


async def _scratch_table(catalog: Catalog) -> str:
    await catalog.run(lambda rest: _write_and_drop(rest, catalog.lake))
    return "a table was made and dropped"


def _write_and_drop(rest: "RestCatalog", lake: Lake) -> None:
    """In the staging schema; where it is not there yet, in a namespace of its own."""
    name = f"doctor_{uuid.uuid4().hex[:12]}"
    is_new = lake.staging_schema not in _named(rest)
    namespace = f"asgard_{name}" if is_new else lake.staging_schema
    if is_new:
        rest.create_namespace(namespace, lake.namespace_properties(namespace))
    try:
        rest.create_table(f"{namespace}.{name}", schema_of([Column("checked", "bigint")]))
        rest.purge_table(f"{namespace}.{name}")
    finally:
        if is_new:
            rest.drop_namespace(namespace)
