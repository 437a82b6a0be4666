"""The whole current dbt project, kept on disk so that the stock `dbt` command builds it by hand."""

import asyncio
import fcntl
import gzip
import io
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import yaml

from app.config import ConfigurationError
from app.errors import AsgardError
from app.lakehouse.connection import Lake
from app.sql.client import SqlGuardClient
from app.sql.model import TableName
from app.warehouse.dbt import own_folder
from app.warehouse.dbt import project_files as files
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.engine import ModelSpec

Models = Callable[[], Awaitable[list[ModelSpec]]]

MARK = ".asgard"
RETRY_SECONDS = 5.0
log = structlog.get_logger(__name__)


class DbtProject:
    """Written anew in the background after every `changed()`, each file by rename."""

    def __init__(
        self,
        *,
        lake: Lake,
        target: ProjectTarget,
        sql_guard: SqlGuardClient,
        project_dir: Path,
        profiles_dir: Path,
    ) -> None:
        self._lake = lake
        self._target = target
        self._sql_guard = sql_guard
        self._folder = project_dir
        self._profiles = profiles_dir
        self._sources: list[Models] = []
        self._changed = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._texts: dict[tuple[str, frozenset[str]], str] = {}
        self._reads: dict[str, tuple[TableName, ...]] = {}

    def follow(self, models: Models) -> None:
        """Models of this domain belong to the project as well."""
        self._sources.append(models)

    def changed(self) -> None:
        self._changed.set()

    async def open(self) -> None:
        """Raises `ConfigurationError` when one of the directories cannot be written."""
        await asyncio.to_thread(self._prepare)
        self._changed.set()
        self._writer = asyncio.create_task(self._keep_writing(), name="dbt project")

    async def close(self) -> None:
        if self._writer:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def write(self) -> None:
        content = await self._content()
        await asyncio.to_thread(self._write, content)

    async def archive(self) -> bytes:
        """A `.tar.gz` without a secret: the profile names environment variables."""
        content = await self._content()
        variables = files.variables(self._target.secrets())
        profile = self._target.profile(variables)
        content["profiles.yml"] = yaml.safe_dump(
            {files.PROJECT: files.rendered(profile)}, sort_keys=False
        )
        content["README.md"] += files.VARIABLES.format(names=", ".join(variables))
        return await asyncio.to_thread(_packed, content)

    async def _keep_writing(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.write()
            except (AsgardError, OSError) as error:
                log.warning("dbt project not written", error=str(error), folder=str(self._folder))
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _content(self) -> dict[str, str]:
        specs = [spec for models in self._sources for spec in await models()]
        reads = {spec.name: await self._tables(spec.sql) for spec in specs}
        gold = self._lake.gold_schema
        names = {n: [t.name for t in tables if t.schema == gold] for n, tables in reads.items()}
        views = {spec.name for spec in specs if spec.materialization.is_view}
        refs = files.allowed_refs(names, views)
        models = [
            files.ModelText(spec, await self._text(spec.sql, frozenset(refs[spec.name])))
            for spec in sorted(specs, key=lambda spec: spec.name)
        ]
        sources = [
            table
            for name, tables in reads.items()
            for table in tables
            if table.schema != gold or table.name not in refs[name]
        ]
        return {
            "dbt_project.yml": files.project_file(self._lake, self._target.settings),
            "README.md": self._target.readme,
            "macros/lake.sql": self._target.macros,
            "models/sources.yml": files.sources_file(sources, self._lake),
            "models/gold/models.yml": files.properties_file(models, self._target.views_database),
            **{f"models/gold/{m.spec.name}.sql": files.model_file(m) for m in models},
        }

    async def _tables(self, sql: str) -> tuple[TableName, ...]:
        if sql not in self._reads:
            self._reads[sql] = (await self._sql_guard.check_query(sql)).tables
        return self._reads[sql]

    async def _text(self, sql: str, refs: frozenset[str]) -> str:
        if (sql, refs) not in self._texts:
            self._texts[sql, refs] = await self._sql_guard.to_dbt_model(
                sql, set(refs), self._target.dialect
            )
        return self._texts[sql, refs]

    def _prepare(self) -> None:
        for folder, variable in (
            (self._folder, "DBT_PROJECT_DIR"),
            (self._profiles, "DBT_PROFILES_DIR"),
        ):
            try:
                own_folder.make_folder(folder, private=folder == self._folder)
                own_folder.write_file(folder, MARK, "Written by Asgard.\n")
            except OSError as error:
                raise ConfigurationError(
                    f"{variable}: {folder} cannot be written: {error.strerror}"
                ) from error
        try:
            self._merged_profiles()
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"DBT_PROFILES_DIR: {self._profiles}/profiles.yml is no YAML"
            ) from error

    def _write(self, content: dict[str, str]) -> None:
        with _locked(self._folder / MARK):
            for name, text in content.items():
                own_folder.write_file(self._folder, name, text)
            own_folder.remove_files(self._folder, "models", ".sql", content)
            own_folder.write_file(self._profiles, "profiles.yml", self._merged_profiles())

    def _merged_profiles(self) -> str:
        """Other profiles in the directory are left alone."""
        path = self._profiles / "profiles.yml"
        known = yaml.safe_load(path.read_text("utf-8")) if path.exists() else None
        profiles: dict[str, Any] = known if isinstance(known, dict) else {}
        profiles[files.PROJECT] = files.rendered(self._target.kept_profile(self._folder))
        text: str = yaml.safe_dump(profiles, sort_keys=False)
        return text


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two gateways may keep the same directory."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _packed(content: dict[str, str]) -> bytes:
    """The same project gives the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in sorted(content.items()):
            body = text.encode()
            entry = tarfile.TarInfo(f"asgard-dbt/{name}")
            entry.size, entry.mode = len(body), 0o600
            archive.addfile(entry, io.BytesIO(body))
    return gzip.compress(raw.getvalue(), mtime=0)
