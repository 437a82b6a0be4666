"""The second identity of SeaweedFS, for code that nobody vouches for: it reads the tables of silver
and gold, and writes nothing but its own files in the staging schema.

On S3 its actions end at prefixes. The catalog asks the policy of the table bucket, which names
schemas: an action of an identity would hold for the whole bucket, `asgard.*` included.
"""

import hmac
import json
from dataclasses import replace

import anyio.to_thread

from app.errors import EngineUnreachable
from app.lakehouse.connection import Lake
from app.lakehouse.home import Shared
from app.lakehouse.storage import open_client

NAME = "builder"
OWN_FILES = "build_"
"""How each folder of the builder's begins in the staging schema. The others hold tables that a
publisher trusts."""
SEEN_TABLES = ("GetNamespace", "ListTables", "GetTable", "ListViews", "GetView")


def builder_lake(lake: Lake, shared: Shared) -> Lake:
    """`lake`, with the builder's keys."""
    access_key, secret_key = keys(shared)
    s3 = replace(lake.s3, access_key=access_key, secret_key=secret_key)
    catalog = replace(lake.catalog, credential=f"{access_key}:{secret_key}")
    return replace(lake, s3=s3, catalog=catalog)


def keys(shared: Shared) -> tuple[str, str]:
    """Access and secret key. Derived, so that every gateway of a home has them, whatever version
    wrote its `lakehouse.json`."""
    secret = hmac.digest(shared.secret_key.encode(), NAME.encode(), "sha256").hex()
    return f"{shared.access_key}-{NAME}", secret


def identities(lake: Lake, shared: Shared) -> str:
    """For `-s3.config`; the gateway's own keys come from the environment."""
    access_key, secret_key = keys(shared)
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return json.dumps(
        {"identities": [{"name": NAME, "credentials": credentials, "actions": _actions(lake)}]}
    )


def _actions(lake: Lake) -> list[str]:
    bucket = lake.catalog.warehouse
    read = [f"{bucket}/{schema}/*" for schema in _read_schemas(lake)]
    own = f"{bucket}/{lake.staging_schema}/{OWN_FILES}*"
    return [
        *(f"{action}:{place}" for action in ("Read", "List") for place in [*read, own]),
        f"Write:{own}",
    ]


async def allow_tables(lake: Lake) -> None:
    """Puts the policy of the table bucket, with the gateway's keys. SeaweedFS keeps it with its
    data. Raises `EngineUnreachable`."""
    allowed = {"Effect": "Allow", "Principal": NAME, "Resource": "*"}
    schemas = {"StringEquals": {"s3tables:namespace": _read_schemas(lake)}}
    seen = [f"s3tables:{action}" for action in SEEN_TABLES]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            # Names only; without them neither pyiceberg nor DuckDB finds a schema.
            {**allowed, "Action": "s3tables:ListNamespaces"},
            {**allowed, "Action": seen, "Condition": schemas},
        ],
    }
    await anyio.to_thread.run_sync(_put_policy, lake, json.dumps(policy))


def _put_policy(lake: Lake, policy: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = f"arn:aws:s3tables:{lake.s3.region}:000000000000:bucket/{lake.catalog.warehouse}"
    client = open_client(lake.s3, "s3tables")
    try:
        client.put_table_bucket_policy(tableBucketARN=bucket, resourcePolicy=policy)
    except (BotoCoreError, ClientError) as error:
        raise EngineUnreachable(f"SeaweedFS did not take the builder's policy: {error}") from error
    finally:
        client.close()


def _read_schemas(lake: Lake) -> list[str]:
    return [lake.silver_schema, lake.gold_schema]
