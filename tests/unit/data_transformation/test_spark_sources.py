from datetime import UTC, datetime

import pytest

from app.data_transformation.source_files import SourceResolver, format_of
from app.errors import InvalidRequest, SourceNotFound
from app.lakehouse.bronze.manifests import BronzePath
from app.lakehouse.storage import ObjectInfo


class Bucket:
    def __init__(self, *keys: str, size: int = 10) -> None:
        self._keys = keys
        self._size = size

    async def list(self, prefix: str) -> list[ObjectInfo]:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            ObjectInfo(key, self._size, "etag", now) for key in self._keys if key.startswith(prefix)
        ]


class Synced:
    def __init__(self, *paths: BronzePath) -> None:
        self._paths = {path.path: path for path in paths}

    async def resolve(self, path: str) -> BronzePath | None:
        return self._paths.get(path)


async def test_a_listed_path_resolves_to_its_data_files_only() -> None:
    bucket = Bucket(
        "bronze/x/b.parquet",
        "bronze/x/a/a.parquet",
        "bronze/x/_SUCCESS",
        "bronze/x/_temporary/c.parquet",
        "bronze/x/.hidden.parquet",
        "bronze/x/notes.txt",
        "bronze/xx/other.parquet",
    )
    resolved = await SourceResolver(bucket, Synced()).resolve("bronze/x", None)
    assert resolved.format == "parquet"
    assert resolved.keys == ("bronze/x/a/a.parquet", "bronze/x/b.parquet")
    assert resolved.run_ids == ()


@pytest.mark.parametrize(
    "key",
    [
        "bronze/x/{.,/}{.,/}/{.,/}{.,/}/asgard/jobs/*.json",
        *("bronze/x/a*.json", "bronze/x/a?.json", "bronze/x/[ab].json", "bronze/x/{a,b}.json"),
        *("bronze/x/a\\*.json", "bronze/x/\n../b/a.json", "bronze/x/\t..\r/b/a.json"),
        *("bronze/x/y/../../../asgard/jobs/a.json", "bronze/x//a.json", "bronze/x/y/./a.json"),
    ],
)
async def test_a_key_that_spark_would_read_as_a_pattern_is_refused(key: str) -> None:
    written = BronzePath("bronze/x", "json", (key,), ("a1",), "s")
    with pytest.raises(InvalidRequest, match="Spark could read other files instead"):
        await SourceResolver(Bucket(), Synced(written)).resolve("bronze/x", None)
    if "/." not in key:  # Other keys with such a name are hidden.
        with pytest.raises(InvalidRequest, match="Spark could read other files instead"):
            await SourceResolver(Bucket(key), Synced()).resolve("bronze/x", None)


async def test_other_unusual_keys_are_read() -> None:
    keys = (
        "bronze/x/at=2024-01-01 00%3A00/a (1).json",
        "bronze/x/%2A.json",
        "bronze/x/ä..b/c.d'$&+,;=@!~^#.json",
    )
    resolved = await SourceResolver(Bucket(*keys), Synced()).resolve("bronze/x", None)
    assert resolved.keys == tuple(sorted(keys))


async def test_a_path_may_be_a_single_file() -> None:
    resolved = await SourceResolver(Bucket("bronze/x/a.csv.gz"), Synced()).resolve(
        "bronze/x/a.csv.gz", None
    )
    assert (resolved.format, resolved.keys) == ("csv", ("bronze/x/a.csv.gz",))


async def test_an_ingested_path_resolves_to_the_files_of_its_complete_syncs() -> None:
    bucket = Bucket("bronze/x/complete.parquet", "bronze/x/half.parquet")
    synced = Synced(
        BronzePath("bronze/x", "parquet", ("bronze/x/complete.parquet",), ("ab12",), "shop")
    )
    resolved = await SourceResolver(bucket, synced).resolve("bronze/x", "parquet")
    assert resolved.keys == ("bronze/x/complete.parquet",)
    assert resolved.run_ids == ("ab12",)
    assert resolved.source == "shop"


async def test_mixed_formats_are_refused_and_named() -> None:
    bucket = Bucket("bronze/x/a.parquet", "bronze/x/b.csv", "bronze/x/c.jsonl")
    resolver = SourceResolver(bucket, Synced())
    with pytest.raises(InvalidRequest, match="csv, json, parquet") as refused:
        await resolver.resolve("bronze/x", None)
    assert refused.value.members["formats"] == ["csv", "json", "parquet"]
    assert (await resolver.resolve("bronze/x", "json")).keys == ("bronze/x/c.jsonl",)


@pytest.mark.parametrize("format_", [None, "parquet"])
async def test_a_path_without_data_files_is_not_found(format_: str | None) -> None:
    resolver = SourceResolver(Bucket("bronze/x/_SUCCESS", "bronze/x/readme.txt"), Synced())
    with pytest.raises(SourceNotFound, match="bronze/x"):
        await resolver.resolve("bronze/x", format_)


async def test_empty_objects_are_ignored() -> None:
    with pytest.raises(SourceNotFound):
        await SourceResolver(Bucket("bronze/x/", "bronze/x/a.csv", size=0), Synced()).resolve(
            "bronze/x", None
        )


async def test_a_format_without_files_is_not_found() -> None:
    with pytest.raises(SourceNotFound, match="no json files at bronze/x; it contains csv"):
        await SourceResolver(Bucket("bronze/x/a.csv"), Synced()).resolve("bronze/x", "json")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a/b.snappy.parquet", "parquet"),
        ("a/B.JSONL", "json"),
        ("a/b.json.gz", "json"),
        ("a/b.csv", "csv"),
        ("a/b.gz", None),
        ("a.csv/b", None),
        ("csv", None),
    ],
)
def test_the_format_follows_from_the_name(key: str, kind: str | None) -> None:
    assert format_of(key) == kind
