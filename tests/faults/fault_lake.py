"""Reads the lake from outside, through pyiceberg and boto3 with the keys of `ASGARD_HOME`."""

import io
import json
from pathlib import Path
from typing import Any

RUN_ID = "asgard.run_id"
LAKE, WAREHOUSE = "lake", "warehouse"


class LakeView:
    def __init__(self, home: Path) -> None:
        self.shared = json.loads((home / "lakehouse.json").read_text())
        self._catalog: Any = None
        self._s3: Any = None

    @property
    def catalog(self) -> Any:
        if self._catalog is None:
            from pyiceberg.catalog import load_catalog

            uri = f"http://127.0.0.1:{self.shared['ports']['s3.port.iceberg']}"
            key, secret = self.shared["access_key"], self.shared["secret_key"]
            self._catalog = load_catalog(
                "outside",
                type="rest",
                uri=uri,
                warehouse=WAREHOUSE,
                credential=f"{key}:{secret}",
                **{
                    "oauth2-server-uri": f"{uri}/v1/oauth/tokens",
                    "s3.endpoint": self._endpoint,
                    "s3.access-key-id": key,
                    "s3.secret-access-key": secret,
                    "s3.region": "us-east-1",
                    "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
                },
            )
        return self._catalog

    @property
    def s3(self) -> Any:
        if self._s3 is None:
            import boto3
            from botocore.config import Config

            self._s3 = boto3.client(
                "s3",
                endpoint_url=self._endpoint,
                aws_access_key_id=self.shared["access_key"],
                aws_secret_access_key=self.shared["secret_key"],
                region_name="us-east-1",
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._s3

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self.shared['ports']['s3.port']}"

    def run_ids(self, table: str) -> list[str]:
        """Return the run ids of the table's snapshots, oldest first. Every snapshot must have
        one."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            found = self.catalog.load_table(table)
        except NoSuchTableError:
            return []
        in_order = sorted(found.snapshots(), key=lambda s: s.sequence_number)
        return [snapshot.summary.additional_properties[RUN_ID] for snapshot in in_order]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.catalog.load_table(table).scan().to_arrow().to_pylist()

    def tables(self, namespace: str) -> list[str]:
        return [name for _, name in self.catalog.list_tables(namespace)]

    def keys(self, prefix: str, bucket: str = LAKE) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def table_files(self, table: str) -> list[str]:
        location = self.catalog.load_table(table).location()
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        return self.keys(f"{prefix}/", bucket)

    def body(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=LAKE, Key=key)["Body"].read()

    def manifest(self, ingestion_id: str) -> dict[str, Any]:
        return json.loads(self.body(f"asgard/bronze/{ingestion_id}.json"))

    def bronze_rows(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        files = [file["key"] for s in manifest["streams"].values() for file in s["files"]]
        return [r for key in files for r in pq.read_table(io.BytesIO(self.body(key))).to_pylist()]
