"""SeaweedFS identities in addition to the gateway's own, each with the rights its process needs.

The builder runs untrusted code: it reads the tables of silver and gold, and writes only its own
files in the staging schema. Sail runs untrusted code too: it reads the files of sources and the
tables of silver and gold, and writes nothing. The publisher writes the tables of gold, and the
silver publisher the tables of silver.

On S3, their actions are limited to prefixes. The catalog checks the policy of the table bucket,
which names schemas. An action of an identity would apply to the whole bucket, `asgard.*` included.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio.to_thread

from app.errors import EngineUnreachable
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.home import Shared
from app.lakehouse.storage import open_client

BUILDER, PUBLISHER = "builder", "publisher"
SAIL, SILVER_PUBLISHER = "sail", "silver-publisher"
IDENTITIES = (BUILDER, PUBLISHER, SAIL, SILVER_PUBLISHER)
OWN_FILES = "build_"
"""The prefix of each builder folder in the staging schema. The other folders hold tables that a
publisher trusts."""
READ_ACTIONS = ("GetNamespace", "ListTables", "GetTable", "ListViews", "GetView")
WRITE_ACTIONS = (*READ_ACTIONS, "CreateTable", "UpdateTable")


def lake_of(identity: str, lake: Lake, shared: Shared) -> Lake:
    """Return `lake` with the keys of this identity."""
    access_key, secret_key = keys(identity, shared)
    s3 = replace(lake.s3, access_key=access_key, secret_key=secret_key)
    catalog = replace(lake.catalog, credential=f"{access_key}:{secret_key}")
    return replace(lake, s3=s3, catalog=catalog)


def keys(identity: str, shared: Shared) -> tuple[str, str]:
    """Return access and secret key. They are derived, so that every gateway of a home has them,
    whichever version wrote its `lakehouse.json`."""
    secret = hmac.digest(shared.secret_key.encode(), identity.encode(), "sha256").hex()
    return f"{shared.access_key}-{identity}", secret


def secrets(shared: Shared) -> list[str]:
    return [keys(identity, shared)[1] for identity in IDENTITIES]


def identities(lake: Lake, shared: Shared, sources: Sequence[str]) -> str:
    """Return the text for `-s3.config`. `sources` are the key prefixes of the bucket that SQL may
    read. The gateway's own keys come from the environment."""
    bucket = lake.catalog.warehouse
    read = [f"{bucket}/{schema}/*" for schema in _read_schemas(lake)]
    files = [f"{lake.s3.bucket}/{prefix}*" for prefix in sources]
    own = f"{bucket}/{lake.staging_schema}/{OWN_FILES}*"
    gold, silver = f"{bucket}/{lake.gold_schema}/*", f"{bucket}/{lake.silver_schema}/*"
    restricted = [
        _identity(BUILDER, shared, reads=[*read, own], writes=[own]),
        _identity(PUBLISHER, shared, reads=[gold], writes=[gold]),
        _identity(SAIL, shared, reads=[*files, *read], writes=[]),
        _identity(SILVER_PUBLISHER, shared, reads=[silver], writes=[silver]),
    ]
    return json.dumps({"identities": restricted})


def _identity(name: str, shared: Shared, reads: list[str], writes: list[str]) -> dict[str, Any]:
    access_key, secret_key = keys(name, shared)
    read_actions = [f"{action}:{place}" for action in ("Read", "List") for place in reads]
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": [*read_actions, *(f"Write:{place}" for place in writes)],
    }


async def allow_tables(lake: Lake) -> None:
    """Put the policy of the table bucket, using the gateway's keys. SeaweedFS keeps the policy with
    its data. Raises `EngineUnreachable`."""
    statements = [
        *_statements(BUILDER, READ_ACTIONS, _read_schemas(lake)),
        *_statements(PUBLISHER, WRITE_ACTIONS, [lake.gold_schema]),
        *_statements(SAIL, READ_ACTIONS, _read_schemas(lake)),
        *_statements(SILVER_PUBLISHER, WRITE_ACTIONS, [lake.silver_schema]),
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    await anyio.to_thread.run_sync(_put_policy, lake, policy)


def _statements(name: str, actions: tuple[str, ...], schemas: list[str]) -> list[dict[str, Any]]:
    allowed = {"Effect": "Allow", "Principal": name, "Resource": "*"}
    condition = {"StringEquals": {"s3tables:namespace": schemas}}
    qualified = [f"s3tables:{action}" for action in actions]
    return [
        # This shows names only. Without them, neither pyiceberg nor DuckDB finds a schema.
        {**allowed, "Action": "s3tables:ListNamespaces"},
        {**allowed, "Action": qualified, "Condition": condition},
    ]


def _put_policy(lake: Lake, policy: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = f"arn:aws:s3tables:{lake.s3.region}:000000000000:bucket/{lake.catalog.warehouse}"
    client = open_client(lake.s3, "s3tables")
    try:
        client.put_table_bucket_policy(tableBucketARN=bucket, resourcePolicy=policy)
    except (BotoCoreError, ClientError) as error:
        raise EngineUnreachable(f"SeaweedFS did not accept the bucket policy: {error}") from error
    finally:
        client.close()


def _read_schemas(lake: Lake) -> list[str]:
    return [lake.silver_schema, lake.gold_schema]
