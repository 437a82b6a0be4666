"""Keeps the current dbt project on disk, so that the stock `dbt` command can build it by hand."""

import asyncio
import gzip
import io
import tarfile
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import yaml

from app.config import ConfigurationError
from app.errors import AsgardError, InvalidBody, InvalidRequest, NotSupported
from app.lakehouse.connection import Lake
from app.processes import WorkerTimeout
from app.sql.client import SqlGuardClient
from app.sql.model import TableName
from app.warehouse.dbt import own_folder
from app.warehouse.dbt import project_files as files
from app.warehouse.dbt.profiles import ProjectTarget
from app.warehouse.dbt.project_folder import ProjectFolder, Stopped
from app.warehouse.definitions import DefinedModel

Models = Callable[[], Awaitable[list[DefinedModel]]]
Reading = tuple[str, frozenset[str]]
"""The SQL of a model, and the models that it may `ref()`."""
Text = tuple[DefinedModel, str]
"""A model and the template of its SQL, in the dialect of the project's engine."""

MARK = ".asgard"
RETRY_SECONDS = 5.0
PAUSE, LONGEST_PAUSE = 4.0, 30.0
"""The pause after writing, in which changes gather: a multiple of the time that the writing took,
and the maximum in seconds."""
REFUSALS = (InvalidRequest, InvalidBody, NotSupported)
"""Errors of one model that stay until the model changes."""
log = structlog.get_logger(__name__)


class DbtProject:
    """Rewrites the project in the background after each `changed()`, each file by rename. A model
    that cannot be written is left out and named in README.md, so the others are still written."""

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
        self._files = ProjectFolder(project_dir)
        self._rendering = asyncio.Lock()
        self._changed = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._texts: dict[Reading, str] = {}
        self._reads: dict[str, tuple[TableName, ...]] = {}
        self._refused: dict[tuple[str, frozenset[str] | None], AsgardError] = {}
        self._left_out: set[str] = set()
        self._rendered: dict[tuple[Hashable, str], dict[str, str]] = {}

    def follow(self, models: Models) -> None:
        """Add the models of a domain to the project."""
        self._sources.append(models)

    def changed(self) -> None:
        self._changed.set()

    async def open(self) -> None:
        """Raises `ConfigurationError` if one of the directories cannot be written."""
        await asyncio.to_thread(self._prepare)
        self._changed.set()
        self._writer = asyncio.create_task(self._keep_writing(), name="dbt project")

    async def close(self) -> None:
        self._files.stop()
        if self._writer:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def write(self) -> None:
        while True:
            generation = await asyncio.to_thread(self._files.generation)
            content = await self._content()
            if await asyncio.to_thread(self._write, content, generation):
                return

    async def archive(self) -> bytes:
        """Return a `.tar.gz` without secrets: the profile names environment variables."""
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
            started = time.monotonic()
            try:
                await self.write()
                took = time.monotonic() - started
                await asyncio.sleep(min(PAUSE * took, LONGEST_PAUSE))
            except Stopped:
                return
            except (AsgardError, OSError) as error:
                log.warning("dbt_project_not_written", error=str(error), folder=str(self._folder))
                await self._try_again_later()
            except Exception:
                # One model must not end the writing of all others.
                log.exception("dbt_project_not_written", folder=str(self._folder))
                await self._try_again_later()

    async def _try_again_later(self) -> None:
        self._changed.set()
        await asyncio.sleep(RETRY_SECONDS)

    async def _content(self) -> dict[str, str]:
        async with self._rendering:
            defined = [model for models in self._sources for model in await models()]
            reads, left_out = await self._readable(defined)
            models, refs = await self._model_texts(defined, reads, left_out)
            self._log_once(left_out)
            # In threads: callers decide the number and the length of the texts.
            return await asyncio.to_thread(self._render, defined, models, reads, refs, left_out)

    def _render(
        self,
        defined: Sequence[DefinedModel],
        models: Sequence[Text],
        reads: Mapping[str, tuple[TableName, ...]],
        refs: Mapping[str, Set[str]],
        left_out: Mapping[str, AsgardError],
    ) -> dict[str, str]:
        """Return the files of the project. Only those of changed models are rendered again."""
        self._forget_former_sql({model.sql for model in defined})
        gold = self._lake.gold_schema
        sources = {
            table
            for name, tables in reads.items()
            for table in tables
            if table.schema != gold or table.name not in refs[name]
        }
        database, previous = self._target.views_database, self._rendered
        self._rendered = {
            (model.version, text): previous.get((model.version, text))
            or files.model_files(files.ModelText(model.spec(), text), database)
            for model, text in models
        }
        project = {
            "dbt_project.yml": files.project_file(self._lake, self._target.settings),
            "README.md": self._target.readme + files.left_out_text(left_out),
            "macros/lake.sql": self._target.macros,
            "models/sources.yml": files.sources_file(sources, self._lake),
        }
        for model_files in self._rendered.values():
            project |= model_files
        return project

    async def _readable(
        self, defined: Sequence[DefinedModel]
    ) -> tuple[dict[str, tuple[TableName, ...]], dict[str, AsgardError]]:
        """Return the tables that each model reads, and the models that are refused."""
        refused: dict[str, AsgardError] = {}
        unread = await asyncio.to_thread(
            lambda: {model.sql for model in defined if model.sql not in self._reads}
        )
        for sql in unread:
            try:
                self._reads[sql] = await self._tables(sql)
            except REFUSALS as refusal:
                refused[sql] = refusal

        def by_name() -> tuple[dict[str, tuple[TableName, ...]], dict[str, AsgardError]]:
            reads = {m.name: self._reads[m.sql] for m in defined if m.sql not in refused}
            return reads, {m.name: refused[m.sql] for m in defined if m.sql in refused}

        return await asyncio.to_thread(by_name)

    async def _model_texts(
        self,
        defined: Sequence[DefinedModel],
        reads: dict[str, tuple[TableName, ...]],
        left_out: dict[str, AsgardError],
    ) -> tuple[list[Text], dict[str, set[str]]]:
        """Return the models and their refs. Refused ones are moved from `reads` to `left_out`, and
        the others are written again without refs to them."""
        while True:
            refs = await asyncio.to_thread(self._refs, defined, reads)
            missing = await asyncio.to_thread(self._untranslated, defined, refs)
            refused: dict[str, AsgardError] = {}
            for key, names in missing.items():
                try:
                    self._texts[key] = await self._text(*key)
                except REFUSALS as refusal:
                    refused |= dict.fromkeys(names, refusal)
            if not refused:
                return await asyncio.to_thread(self._texts_of, defined, refs), refs
            left_out |= refused
            for name in refused:
                del reads[name]

    def _refs(
        self, defined: Sequence[DefinedModel], reads: Mapping[str, tuple[TableName, ...]]
    ) -> dict[str, set[str]]:
        views = {model.name for model in defined if model.is_view}
        gold = self._lake.gold_schema
        names = {n: [t.name for t in tables if t.schema == gold] for n, tables in reads.items()}
        return files.allowed_refs(names, views)

    def _untranslated(
        self, defined: Sequence[DefinedModel], refs: Mapping[str, set[str]]
    ) -> dict[Reading, list[str]]:
        """Return the SQL that has no text yet, with the names of its models."""
        missing: dict[Reading, list[str]] = {}
        for model in defined:
            if model.name in refs:
                key = model.sql, frozenset(refs[model.name])
                if key not in self._texts:
                    missing.setdefault(key, []).append(model.name)
        return missing

    def _texts_of(
        self, defined: Sequence[DefinedModel], refs: Mapping[str, set[str]]
    ) -> list[Text]:
        return [
            (model, self._texts[model.sql, frozenset(refs[model.name])])
            for model in sorted(defined, key=lambda model: model.name)
            if model.name in refs
        ]

    def _log_once(self, left_out: dict[str, AsgardError]) -> None:
        for name, refusal in left_out.items():
            if name not in self._left_out:
                log.warning("dbt_model_left_out", model=name, error=str(refusal))
        self._left_out = set(left_out)

    async def _tables(self, sql: str) -> tuple[TableName, ...]:
        with self._remembered(sql, None):
            return (await self._sql_guard.check_query(sql)).tables

    async def _text(self, sql: str, refs: frozenset[str]) -> str:
        with self._remembered(sql, refs):
            return await self._sql_guard.to_dbt_model(sql, set(refs), self._target.dialect)

    def _forget_former_sql(self, current: Set[str]) -> None:
        self._reads = {sql: tables for sql, tables in self._reads.items() if sql in current}
        self._texts = {key: text for key, text in self._texts.items() if key[0] in current}
        self._refused = {key: error for key, error in self._refused.items() if key[0] in current}

    @contextmanager
    def _remembered(self, sql: str, refs: frozenset[str] | None) -> Iterator[None]:
        """Raise a refusal again without asking again: one may cost seconds of processor time. Only
        a model that took too long by the clock is tried again: the workers may have been busy."""
        if (sql, refs) in self._refused:
            raise self._refused[sql, refs]
        try:
            yield
        except REFUSALS as refusal:
            if not isinstance(refusal.__cause__, WorkerTimeout):
                self._refused[sql, refs] = refusal
            raise

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
                f"DBT_PROFILES_DIR: {self._profiles}/profiles.yml is not valid YAML"
            ) from error

    def _write(self, content: Mapping[str, str], generation: str) -> bool:
        # Other gateways may write to the same directory.
        lock = self._files.lock(self._folder / MARK)
        try:
            is_current = self._files.update(content, generation)
            own_folder.write_file(self._profiles, "profiles.yml", self._merged_profiles())
        finally:
            lock.close()
        return is_current

    def _merged_profiles(self) -> str:
        """Return profiles.yml with our profile. Other profiles in it are left alone."""
        path = self._profiles / "profiles.yml"
        existing = yaml.safe_load(path.read_text("utf-8")) if path.exists() else None
        profiles: dict[str, Any] = existing if isinstance(existing, dict) else {}
        profiles[files.PROJECT] = files.rendered(self._target.disk_profile(self._folder))
        text: str = yaml.safe_dump(profiles, sort_keys=False)
        return text


def _packed(content: dict[str, str]) -> bytes:
    """Pack the files. The same project gives the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in sorted(content.items()):
            body = text.encode()
            entry = tarfile.TarInfo(f"asgard-dbt/{name}")
            entry.size, entry.mode = len(body), 0o600
            archive.addfile(entry, io.BytesIO(body))
    return gzip.compress(raw.getvalue(), mtime=0)
