"""The rules of `/airbyte`, for every engine."""

import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from app.airbyte.engine import (
    CheckResult,
    Connector,
    Destination,
    DestinationDraft,
    EngineJob,
    Ingestion,
    IngestionChange,
    IngestionDraft,
    IngestionEngine,
    IngestionStatus,
    Source,
    SourceDraft,
    Stream,
)
from app.airbyte.run_handler import InstallWork, SyncWork
from app.airbyte.secrets import mask_in, sure_secrets
from app.caller import Caller
from app.config import Settings
from app.errors import Conflict, EngineFailed, EngineUnreachable, InvalidBody, NotFound
from app.idempotency import Claim, IdempotencyKey, IdempotencyStore
from app.names import Named, id_of
from app.redaction import register_caller_secrets
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import Prepare, RunRequest, Submission, nothing

INSTALL_RETRY_SECONDS = 5


@dataclass(frozen=True)
class CreatedSource:
    """A source, and in `install` the run that installs its connector, if that is needed."""

    source: Source
    claim: Claim
    install: Run | None


class AirbyteService:
    def __init__(
        self,
        *,
        engine: IngestionEngine,
        runs: RunService,
        idempotency: IdempotencyStore,
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._runs = runs
        self._idempotency = idempotency
        self._wait_seconds = settings.wait_seconds

    async def connectors(self) -> tuple[Connector, ...]:
        return await self._engine.connectors()

    async def source_id(self, reference: str) -> str:
        """Returns the id of the source with this id or name, as `names.id_of` does."""
        return await id_of(reference, "source", lambda: _named(self._engine.sources()))

    async def destination_id(self, reference: str) -> str:
        return await id_of(reference, "destination", lambda: _named(self._engine.destinations()))

    async def ingestion_id(self, reference: str) -> str:
        return await id_of(reference, "ingestion", lambda: _named(self._engine.ingestions()))

    async def create_source(self, draft: SourceDraft, submission: Submission) -> CreatedSource:
        """Creates the source at once. A separate run installs its connector.

        Raises:
            NotSupported: The configured engine has no such connector.
            InvalidBody: The config does not fit the connector's spec.
            PathRefused, SourceNotFound: A file source cannot be read.
        """
        _refuse_masks(draft.config)
        register_caller_secrets(sure_secrets(draft.config))
        await self._engine.validate_source(draft)
        claim = await self._idempotency.claim(submission.key, str(uuid4()))
        created: list[Source] = []

        async def create() -> None:
            existing = await self._existing_source(claim)
            created.append(
                existing or await self._engine.create_source(claim.id, draft, submission.caller)
            )

        # The key belongs to the source. Equal installations are joined.
        install = await self._start_install(draft.type, replace(submission, key=None), create)
        if not created:
            await create()
        if install is not None and submission.wait_seconds:
            install = await self._runs.wait(install.run_id, submission.wait_seconds)
        return CreatedSource(created[0], claim, install)

    async def sources(self) -> list[Source]:
        return await self._engine.sources()

    async def source(self, source_id: str) -> Source:
        return await self._engine.source(source_id)

    async def delete_source(self, source_id: str, caller: Caller) -> None:
        source = await self._engine.source(source_id)
        for ingestion in await self._engine.ingestions():
            if ingestion.source_id == source.id:
                raise _in_use("source", ingestion)
        await self._engine.delete_source(source.id, caller)

    async def check_source(self, source_id: str, caller: Caller) -> CheckResult:
        await self._require_connector(await self._engine.source(source_id), caller)
        return await self._engine.check_source(source_id)

    async def streams(self, source_id: str) -> tuple[Stream, ...]:
        """Starts nothing. Raises `Conflict` if nobody is installing the missing connector."""
        source = await self._engine.source(source_id)
        if connector := await self._engine.missing_connector(source.type):
            await self._await_install(source, await self._open_install(source, connector))
        return await self._engine.discover(source_id)

    async def create_destination(
        self, draft: DestinationDraft, caller: Caller, key: IdempotencyKey | None = None
    ) -> tuple[Destination, Claim]:
        _refuse_masks(draft.config or {})
        register_caller_secrets(sure_secrets(draft.config or {}))
        await self._engine.validate_destination(draft)
        claim = await self._idempotency.claim(key, str(uuid4()))
        if claim.replayed:
            try:
                return await self._engine.destination(claim.id), claim
            except NotFound:
                pass  # the first request died between its claim and its record
        return await self._engine.create_destination(claim.id, draft, caller), claim

    async def destinations(self) -> list[Destination]:
        return await self._engine.destinations()

    async def destination(self, destination_id: str) -> Destination:
        return await self._engine.destination(destination_id)

    async def delete_destination(self, destination_id: str, caller: Caller) -> None:
        destination = await self._engine.destination(destination_id)
        for ingestion in await self._engine.ingestions():
            if ingestion.destination_id == destination.id:
                raise _in_use("destination", ingestion)
        await self._engine.delete_destination(destination.id, caller)

    async def create_ingestion(
        self, draft: IngestionDraft, caller: Caller, key: IdempotencyKey | None = None
    ) -> tuple[Ingestion, Claim]:
        """Raises `Conflict` when another ingestion writes one of its bronze paths."""
        draft = draft.model_copy(
            update={
                "source_id": await self.source_id(draft.source_id),
                "destination_id": await self.destination_id(draft.destination_id),
            }
        )
        await self._engine.destination(draft.destination_id)
        await self._require_connector(await self._engine.source(draft.source_id), caller)
        if key is None:
            claim = Claim(str(uuid4()), replayed=False)
        else:
            claim = await self._claim_ingestion(draft, key)
        if claim.replayed:
            try:
                return await self._engine.ingestion(claim.id), claim
            except NotFound:
                pass
        return await self._engine.create_ingestion(claim.id, draft, caller), claim

    async def ingestions(self) -> list[Ingestion]:
        return await self._engine.ingestions()

    async def ingestion(self, ingestion_id: str) -> Ingestion:
        return await self._engine.ingestion(ingestion_id)

    async def update_ingestion(
        self, ingestion_id: str, change: IngestionChange, caller: Caller
    ) -> Ingestion:
        ingestion = await self._engine.ingestion(ingestion_id)
        if change.streams is not None or change.all_streams:
            await self._refuse_while_running(ingestion)
            await self._require_connector(await self._engine.source(ingestion.source_id), caller)
        return await self._engine.update_ingestion(ingestion.id, change, caller)

    async def delete_ingestion(self, ingestion_id: str, caller: Caller) -> None:
        ingestion = await self._engine.ingestion(ingestion_id)
        await self._refuse_while_running(ingestion)
        await self._engine.delete_ingestion(ingestion.id, caller)

    async def last_sync(self, ingestion_id: str) -> tuple[Ingestion, Run | None, EngineJob | None]:
        """Returns the last run, and the sync that the engine started by itself since, if any."""
        ingestion = await self._engine.ingestion(ingestion_id)
        run = (await self._runs.latest({ingestion.id})).get(ingestion.id)
        return ingestion, run, await self._engine.later_job(ingestion.id, run)

    async def sync(self, ingestion_id: str, submission: Submission) -> tuple[Run, Claim]:
        """Starts a sync, or joins the running one. Raises `Conflict` for an inactive ingestion."""
        ingestion = await self._engine.ingestion(ingestion_id)
        if ingestion.status is not IngestionStatus.ACTIVE:
            raise _not_active(ingestion)
        work = SyncWork(ingestion_id=ingestion.id)
        request = RunRequest(
            kind=RunKind.INGESTION,
            target=work.target,
            spec=work.model_dump(),
            subject_id=ingestion.id,
            fingerprint=_fingerprint(work.target),
        )
        return await self._runs.submit(request, submission)

    async def _claim_ingestion(self, draft: IngestionDraft, key: IdempotencyKey) -> Claim:
        """Claims the key, if the draft is valid. A repeated request may conflict with the ingestion
        that it created before."""
        try:
            await self._engine.validate_ingestion(draft)
        except Conflict as conflict:
            existing = str(conflict.members.get("conflicting_id"))
            claim = await self._idempotency.claim(key, str(uuid4()))
            if existing != await self._created_with(claim):
                raise
            return claim
        return await self._idempotency.claim(key, str(uuid4()))

    async def _created_with(self, claim: Claim) -> str | None:
        """Returns the engine's id of the ingestion that was created with the claim."""
        try:
            return (await self._engine.ingestion(claim.id)).id
        except NotFound:
            return None

    async def _existing_source(self, claim: Claim) -> Source | None:
        if not claim.replayed:
            return None
        try:
            return await self._engine.source(claim.id)
        except NotFound:
            return None  # the first request died between its claim and its record

    async def _refuse_while_running(self, ingestion: Ingestion) -> None:
        run = await self._runs.using(ingestion.id)
        if run is not None:
            raise Conflict(
                f"The ingestion {ingestion.name} is syncing.",
                hint=f"Wait for the run {run.run_id}, or cancel it.",
                conflicting_id=run.run_id,
            )

    async def _start_install(
        self, source_type: str, submission: Submission, prepare: Prepare = nothing
    ) -> Run | None:
        """Starts or joins the run that installs the connector. Returns None if it is installed."""
        connector = await self._engine.missing_connector(source_type)
        if connector is None:
            return None
        work = InstallWork(connector=connector)
        request = RunRequest(
            kind=RunKind.INGESTION,
            target=work.target,
            spec=work.model_dump(),
            fingerprint=_fingerprint(work.target),
        )
        return (await self._runs.start(request, submission, prepare=prepare)).run

    async def _require_connector(self, source: Source, caller: Caller) -> None:
        """Raises `EngineUnreachable` (retry later) while it is still being installed."""
        run = await self._start_install(source.type, Submission(caller))
        if run is not None:
            await self._await_install(source, run)

    async def _open_install(self, source: Source, connector: str) -> Run:
        target = InstallWork(connector=connector).target
        newest = (await self._runs.list(target=target, limit=1)).runs
        if not newest or newest[0].state.is_terminal:
            raise Conflict(
                f"The connector {source.type} is not installed.",
                hint=f"POST /airbyte/datasource/{source.id}/check installs it. That needs the "
                "scope airbyte:write.",
            )
        return newest[0]

    async def _await_install(self, source: Source, run: Run) -> None:
        run = await self._runs.wait(run.run_id, self._wait_seconds)
        if run.failure is not None:
            raise EngineFailed(
                f"The connector {source.type} could not be installed: {run.failure.message}",
                cause=run.failure.cause,
                hint=run.failure.hint,
                run_id=run.run_id,
            )
        if run.state is not RunState.SUCCEEDED:
            raise EngineUnreachable(
                f"The connector {source.type} is being installed.",
                retry_after=INSTALL_RETRY_SECONDS,
                run_id=run.run_id,
            )


async def _named(
    existing: Awaitable[Sequence[Source | Destination | Ingestion]],
) -> list[Named]:
    return [(resource.id, resource.name) for resource in await existing]


def _refuse_masks(config: Mapping[str, Any]) -> None:
    if field := mask_in(config):
        raise InvalidBody(
            f"config.{field} is the mask that responses show; expected the secret itself.",
            hint="Send the secret. Responses always mask it.",
        )


def _not_active(ingestion: Ingestion) -> Conflict:
    locked = ingestion.status is IngestionStatus.LOCKED
    return Conflict(
        f"The ingestion {ingestion.name} is {ingestion.status}.",
        hint="Airbyte has locked it, and only Airbyte can unlock it."
        if locked
        else 'PATCH it with {"status": "active"} first.',
        conflicting_id=ingestion.id,
    )


def _in_use(what: str, ingestion: Ingestion) -> Conflict:
    return Conflict(
        f"The {what} is used by the ingestion {ingestion.name}.",
        hint="Delete that ingestion first.",
        conflicting_id=ingestion.id,
    )


def _fingerprint(target: str) -> str:
    return hashlib.sha256(target.encode()).hexdigest()
