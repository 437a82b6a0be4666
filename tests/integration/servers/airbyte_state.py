"""The state of the stand-in Airbyte: workspaces, sources, destinations, connections and jobs."""

import copy
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jsonschema

from tests.integration.servers.airbyte_jobs import Job, run_job
from tests.integration.servers.airbyte_specs import DEFINITIONS, SPECS, Definition, discover

Answer = tuple[int, Any]
Query = dict[str, list[str]]
Resource = dict[str, Any]
MASK = "**********"
DETAILS = {
    "bad-request": "The request could not be understood by the server due to malformed syntax.",
    "forbidden": "The request is forbidden.",
    "resource-not-found": "The requested resource could not be found.",
    "state-conflict": "State conflict",
    "try-again-later": "Please try again later.",
    "unexpected-problem": (
        "An unexpected problem has occurred. If this is an error that needs to be addressed, "
        "please submit a pull request or github issue."
    ),
    "unprocessable-entity": "The body of the request was not understood",
}
"""Airbyte's constants by type of problem, from its API documents."""
MIN_YEAR = 2000
"""Quartz's seventh field is a year."""
LARGEST_PAGE = 100
NAMING = ("namespaceDefinition", "namespaceFormat", "prefix")
S3_MODES = ("full_refresh_overwrite", "full_refresh_append", "incremental_append")


class Problem(Exception):
    """Airbyte's own error document: `detail` has the type of problem, `data` the reason."""

    def __init__(self, status: int, title: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.title, self.reason = status, title, reason

    def document(self) -> Resource:
        return {
            "status": self.status,
            "type": "https://reference.airbyte.com/reference/errors",
            "title": self.title,
            "detail": DETAILS.get(self.title, self.title),
            "documentationUrl": None,
            "data": {"message": self.reason},
        }


class AirbyteState:
    def __init__(self, url: str) -> None:
        self.url = url
        self.workspaces: dict[str, Resource] = {}
        self.sources: dict[str, Resource] = {}
        self.destinations: dict[str, Resource] = {}
        self.connections: dict[str, Resource] = {}
        self.jobs: dict[int, Job] = {}
        self.deleted: set[str] = set()
        """The ids of deleted resources. Their rows stay, and only lists omit them."""
        self.modes: tuple[str, ...] = S3_MODES
        """The modes that a source and a destination have in common."""
        self.is_admin = True
        """Whether the caller is an admin of the instance. Others have no role in the unknown
        workspace of an unknown id."""
        self.broken_tombstones = False
        """Whether reading a deleted source or destination is a 500."""
        self.stream_states: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()
        self._clock = 0
        self.workspace = self.add_workspace("main")

    def close(self) -> None:
        for job in list(self.jobs.values()):
            job.cancelled.set()
        for job in list(self.jobs.values()):
            if job.thread is not None:
                job.thread.join(10)

    def add_workspace(self, name: str) -> str:
        workspace = str(uuid4())
        self.workspaces[workspace] = {
            "workspaceId": workspace, "name": name, "dataResidency": "auto", "notifications": {},
        }  # fmt: skip
        return workspace

    def answer(self, method: str, path: str, query: Query, body: Any) -> Answer:
        for verb, pattern, call in _ROUTES:
            match = re.fullmatch(pattern, path)
            if verb == method and match:
                with self._lock:
                    return call(self, match, query, body)
        raise Problem(404, "not-found", f"There is no {method} {path}.")

    # Lists

    def _page(self, path: str, items: list[Resource], query: Query) -> Answer:
        limit, offset = int(_one(query, "limit", "20")), int(_one(query, "offset", "0"))
        if not 1 <= limit <= LARGEST_PAGE:
            raise Problem(400, "bad-request", f"limit is from 1 to {LARGEST_PAGE}")
        requested = query.get("workspaceIds")
        if requested:
            items = [item for item in items if item.get("workspaceId") in requested]
        page: Resource = {"data": [_shown(item) for item in items[offset : offset + limit]]}
        rest = f"{self.url}{path}?limit={limit}&offset="
        page["next"] = f"{rest}{offset + limit}" if offset + limit < len(items) else ""
        page["previous"] = f"{rest}{max(0, offset - limit)}" if offset else ""
        return 200, page

    def list_workspaces(self, _: Any, query: Query, __: Any) -> Answer:
        return self._page("/workspaces", list(self.workspaces.values()), query)

    def list_sources(self, _: Any, query: Query, __: Any) -> Answer:
        return self._page("/sources", self._alive(self.sources), query)

    def list_destinations(self, _: Any, query: Query, __: Any) -> Answer:
        return self._page("/destinations", self._alive(self.destinations), query)

    def list_connections(self, _: Any, query: Query, __: Any) -> Answer:
        return self._page("/connections", self._alive(self.connections), query)

    def _alive(self, resources: dict[str, Resource]) -> list[Resource]:
        return [item for id_, item in resources.items() if id_ not in self.deleted]

    def list_jobs(self, _: Any, query: Query, __: Any) -> Answer:
        jobs = [job.document() for job in self.jobs.values()]
        for name in ("connectionId", "status", "jobType"):
            requested = _one(query, name, "")
            jobs = [job for job in jobs if not requested or job[name] == requested]
        jobs.sort(key=lambda job: job["jobId"], reverse="DESC" in _one(query, "orderBy", ""))
        return self._page("/jobs", jobs, query)

    def list_definitions(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        self._get(self.workspaces, "workspace", match[1])
        kind = match[2].removesuffix("s")
        data = [each.document() for each in DEFINITIONS if each.kind == kind]
        return 200, {"data": data, "next": "", "previous": ""}

    # Sources and destinations

    def create_source(self, _: Any, __: Query, body: Resource) -> Answer:
        created = self._actor("source", body)
        self.sources[created["sourceId"]] = created
        return 200, _shown(created)

    def create_destination(self, _: Any, __: Query, body: Resource) -> Answer:
        created = self._actor("destination", body)
        self.destinations[created["destinationId"]] = created
        return 200, _shown(created)

    def _actor(self, kind: str, body: Resource) -> Resource:
        self._get(self.workspaces, "workspace", body["workspaceId"])
        config = copy.deepcopy(body["configuration"])
        type_ = config.pop(f"{kind}Type", None)
        definition = _definition(kind, type_, body.get("definitionId"))
        if type_ != definition.type:
            # Airbyte itself lets it pass, but its API document requires it.
            reason = f"configuration.{kind}Type is {type_}, not {definition.type}"
            raise Problem(400, "bad-request", reason)
        _judge(definition, config)
        return {
            f"{kind}Id": str(uuid4()),
            "name": body["name"],
            f"{kind}Type": definition.type,
            "definitionId": definition.id,
            "workspaceId": body["workspaceId"],
            "configuration": config,
            "createdAt": int(time.time()),
        }

    def get_workspace(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        return 200, self._get(self.workspaces, "workspace", match[1])

    def get_source(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        return self._get_actor(self.sources, "source", match[1])

    def get_destination(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        return self._get_actor(self.destinations, "destination", match[1])

    def _get_actor(self, resources: dict[str, Resource], kind: str, id_: str) -> Answer:
        actor = self._get(resources, kind, id_)
        if id_ in self.deleted and self.broken_tombstones:
            raise Problem(500, "unexpected-problem", 'argument "content" is null')
        return 200, _shown(actor)

    def delete_source(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        self._delete(self.sources, "source", match[1])["configuration"] = None
        return 204, None

    def delete_destination(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        self._delete(self.destinations, "destination", match[1])["configuration"] = None
        return 204, None

    def streams(self, _: Any, query: Query, __: Any) -> Answer:
        source = self._get(self.sources, "source", _one(query, "sourceId", ""))
        destination = _one(query, "destinationId", "")
        if destination:
            self._get(self.destinations, "destination", destination)
        broken, streams = discover(source["sourceType"], source["configuration"])
        if broken:
            raise Problem(500, "unexpected-problem", broken)
        return 200, [
            {
                "streamName": stream["name"],
                **({"streamnamespace": stream["namespace"]} if stream.get("namespace") else {}),
                "syncModes": list(self.modes) if destination else None,
                "defaultCursorField": stream["cursor"],
                "sourceDefinedCursorField": True,
                "sourceDefinedPrimaryKey": [[name] for name in stream["key"]],
                "propertyFields": [[name] for name in stream["fields"]],
            }
            for stream in streams
        ]

    # Connections

    def create_connection(self, _: Any, __: Query, body: Resource) -> Answer:
        source = self._get(self.sources, "source", body["sourceId"])
        self._get(self.destinations, "destination", body["destinationId"])
        created = {
            "connectionId": str(uuid4()),
            "name": body.get("name") or "unnamed",
            "sourceId": body["sourceId"],
            "destinationId": body["destinationId"],
            "workspaceId": source["workspaceId"],
            "status": body.get("status", "active"),
            "schedule": _schedule(body),
            "namespaceDefinition": "destination",
            "prefix": "",
            **{name: body[name] for name in NAMING if name in body},
            "nonBreakingSchemaUpdatesBehavior": "ignore",
            "configurations": self._configured(source, body.get("configurations")),
            "tags": [],
            "createdAt": int(time.time()),
        }
        self.connections[created["connectionId"]] = created
        return 200, created

    def patch_connection(self, match: re.Match[str], _: Query, body: Resource) -> Answer:
        connection = self._get(self.connections, "connection", match[1])
        if connection["status"] == "locked":
            raise Problem(409, "state-conflict", "The connection is locked.")
        for name in ("name", "status", *NAMING):
            if name in body:
                connection[name] = body[name]
        if "schedule" in body:
            connection["schedule"] = _schedule(body)
        if "configurations" in body:
            source = self._get(self.sources, "source", connection["sourceId"])
            connection["configurations"] = self._configured(source, body["configurations"])
        return 200, connection

    def _configured(self, source: Resource, requested: Resource | None) -> Resource:
        _, discovered = discover(source["sourceType"], source["configuration"])
        streams = {stream["name"]: stream for stream in discovered}
        chosen = (requested or {}).get("streams") or [{"name": name} for name in streams]
        configured = []
        for stream in chosen:
            if stream["name"] not in streams:
                raise Problem(
                    400, "bad-request", f"Invalid stream found: {stream['name']}. "
                    f"The list of valid streams include: {sorted(streams)}.",
                )  # fmt: skip
            configured.append({"syncMode": "full_refresh_overwrite", "mappers": [], **stream})
        return {"streams": configured}

    def get_connection(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        return 200, self._get(self.connections, "connection", match[1])

    def delete_connection(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        self._delete(self.connections, "connection", match[1])["status"] = "deprecated"
        return 204, None

    # Jobs

    def create_job(self, _: Any, __: Query, body: Resource) -> Answer:
        connection = self._get(self.connections, "connection", body["connectionId"])
        if connection["status"] != "active":
            raise Problem(400, "bad-request", "The connection is not active.")
        if any(
            job.connection_id == connection["connectionId"] and not job.ended
            for job in self.jobs.values()
        ):
            raise Problem(409, "try-again-later", "A sync is already running for this connection.")
        self._clock = max(self._clock + 1, int(time.time() * 1000))
        job = Job(id=len(self.jobs) + 1, connection_id=connection["connectionId"], at=self._clock)
        self.jobs[job.id] = job
        job.thread = threading.Thread(target=run_job, args=(self, job), daemon=True)
        job.thread.start()
        return 200, job.document()

    def get_job(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        return 200, self._job(match[1]).document()

    def cancel_job(self, match: re.Match[str], _: Query, __: Any) -> Answer:
        job = self._job(match[1])
        job.cancelled.set()
        return 200, job.document()

    def job_info(self, job_id: int) -> Answer:
        """Answer as the configuration API does, which alone says why a job failed."""
        job = self._job(str(job_id))
        failures = [job.failure] if job.failure else []
        summary = {"failures": failures, "partialSuccess": bool(job.rows)}
        attempt = {"id": 0, "failureSummary": summary if failures else None}
        return 200, {"job": {"id": job.id}, "attempts": [{"attempt": attempt}]}

    def _job(self, job_id: str) -> Job:
        job = self.jobs.get(int(job_id))
        if job is None:
            raise Problem(404, "resource-not-found", f"Could not find a resource for: {job_id}")
        return job

    def _get(self, resources: dict[str, Resource], kind: str, id_: str) -> Resource:
        if id_ not in resources:
            if not self.is_admin:
                raise Problem(403, "forbidden", "These credentials have no role there.")
            raise Problem(404, "resource-not-found", f"Could not find a {kind} for: {id_}")
        return resources[id_]

    def _delete(self, resources: dict[str, Resource], kind: str, id_: str) -> Resource:
        self.deleted.add(id_)
        return self._get(resources, kind, id_)


def _one(query: Query, name: str, default: str) -> str:
    return query.get(name, [default])[0]


def _definition(kind: str, type_: str | None, id_: str | None) -> Definition:
    for each in DEFINITIONS:
        if each.kind == kind and ((id_ and each.id == id_) or (not id_ and each.type == type_)):
            return each
    raise Problem(404, "resource-not-found", f"Could not find a definition for: {id_ or type_}")


def _judge(definition: Definition, config: Resource) -> None:
    judge = jsonschema.Draft7Validator(SPECS.get(definition.type, {}))
    wrong = [f"$.{'.'.join(map(str, e.path))}: {_message(e)}" for e in judge.iter_errors(config)]
    if wrong:
        raise Problem(
            422,
            "unprocessable-entity",
            "The provided configuration does not fulfill the specification. Errors: "
            "json schema validation failed when comparing the data to the json schema. "
            f"\nErrors: {', '.join(sorted(wrong))}",
        )


def _message(error: jsonschema.ValidationError) -> str:
    if error.validator == "required":
        return f"{error.message.split(chr(39))[1]} is missing but it is required"
    if error.validator == "type":
        return f"{type(error.instance).__name__} found, {error.validator_value} expected"
    return f"violates {error.validator} {error.validator_value}"


def _schedule(body: Resource) -> Resource:
    schedule = body.get("schedule") or {"scheduleType": "manual"}
    if schedule["scheduleType"] not in {"manual", "cron"}:
        raise Problem(400, "bad-request", "scheduleType is manual or cron.")
    cron = schedule.get("cronExpression")
    if cron and re.fullmatch(r"(\S+ ){6}\d{4}", cron) and int(cron[-4:]) < MIN_YEAR:
        raise Problem(400, "bad-request", f"The cron expression {cron} is not valid: it is over.")
    return dict(schedule)


def _shown(resource: Resource) -> Resource:
    """Mask secrets, which Airbyte never returns."""
    if not resource.get("configuration"):
        return resource
    kind = "sourceType" if "sourceType" in resource else "destinationType"
    spec = SPECS.get(resource[kind], {})
    secret = {n for n, p in spec.get("properties", {}).items() if p.get("airbyte_secret")}
    config = {k: MASK if k in secret else v for k, v in resource["configuration"].items()}
    if kind == "destinationType":
        config = {**config, kind: resource[kind]}  # the SDK tells destinations apart by it
    return {**resource, "configuration": config}


_ID = "([0-9a-fA-F-]+)"
_Call = Callable[[AirbyteState, Any, Query, Any], Answer]
_ROUTES: list[tuple[str, str, _Call]] = [
    ("GET", "/health", lambda *_: (200, "Successful operation")),
    ("GET", "/workspaces", AirbyteState.list_workspaces),
    ("GET", f"/workspaces/{_ID}", AirbyteState.get_workspace),
    ("GET", f"/workspaces/{_ID}/definitions/(sources|destinations)", AirbyteState.list_definitions),
    ("GET", "/sources", AirbyteState.list_sources),
    ("POST", "/sources", AirbyteState.create_source),
    ("GET", f"/sources/{_ID}", AirbyteState.get_source),
    ("DELETE", f"/sources/{_ID}", AirbyteState.delete_source),
    ("GET", "/destinations", AirbyteState.list_destinations),
    ("POST", "/destinations", AirbyteState.create_destination),
    ("GET", f"/destinations/{_ID}", AirbyteState.get_destination),
    ("DELETE", f"/destinations/{_ID}", AirbyteState.delete_destination),
    ("GET", "/connections", AirbyteState.list_connections),
    ("POST", "/connections", AirbyteState.create_connection),
    ("GET", f"/connections/{_ID}", AirbyteState.get_connection),
    ("PATCH", f"/connections/{_ID}", AirbyteState.patch_connection),
    ("DELETE", f"/connections/{_ID}", AirbyteState.delete_connection),
    ("GET", "/streams", AirbyteState.streams),
    ("GET", "/jobs", AirbyteState.list_jobs),
    ("POST", "/jobs", AirbyteState.create_job),
    ("GET", "/jobs/([0-9]+)", AirbyteState.get_job),
    ("DELETE", "/jobs/([0-9]+)", AirbyteState.cancel_job),
]
