"""As much of a Kubernetes API server as Spark runs need, on 127.0.0.1; its tests play the operator
and the kubelet. `tests/integration/spark` runs the same adapter on a real API server."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACE = "spark"
CONTAINER = "spark-kubernetes-driver"
APPLICATIONS = re.compile(r"/apis/sparkoperator.k8s.io/v1beta2/namespaces/[^/]+/sparkapplications")
POLL = 0.02


class KubernetesStandIn:
    """`applications` and `pods` by name, as the API shows them; `logs` by the pod's name."""

    def __init__(self) -> None:
        self.applications: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.created: list[dict[str, Any]] = []
        """Every manifest that was posted."""
        self.deleted: list[str] = []
        self._changes: list[tuple[int, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._version = 1
        self._stopped = False

    def state(self, name: str, state: str, error: str = "", **status: Any) -> None:
        """As the operator writes it."""
        told = {"applicationState": {"state": state, "errorMessage": error}, **status}
        with self._changed:
            known = self.applications[name]
            self._change("MODIFIED", {**known, "status": {**known.get("status", {}), **told}})

    def driver(self, name: str, phase: str = "Running", **status: Any) -> None:
        """The driver's pod; `state` is that of its container."""
        state = status.pop("state", None)
        containers = [] if state is None else [container(state)]
        self.pods[f"{name}-driver"] = {
            "metadata": {"name": f"{name}-driver"},
            "status": {"phase": phase, "containerStatuses": containers, **status},
        }

    def say(self, name: str, text: str) -> None:
        """A piece of the driver's log."""
        pod = f"{name}-driver"
        self.logs[pod] = self.logs.get(pod, "") + text

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.created.append(manifest)
        with self._changed:
            return self._change("ADDED", manifest)

    def delete(self, name: str) -> None:
        """The application and what belongs to it."""
        self.deleted.append(name)
        with self._changed:
            self._change("DELETED", self.applications[name])
            del self.applications[name]
        self.pods.pop(f"{name}-driver", None)

    def changes_since(self, version: int) -> Iterator[dict[str, Any]]:
        """Waits for more, until the server stops."""
        while not self._stopped:
            with self._changed:
                found = [change for at, change in self._changes if at > version]
                if not found:
                    self._changed.wait(POLL)
                    continue
                version = self._version
            yield from found

    def log_of(self, pod: str) -> Iterator[str]:
        """Follows it until its container has ended, or the pod is gone."""
        sent = 0
        while not self._stopped:
            ended = self._ended(pod)
            text = self.logs.get(pod, "")
            if text[sent:]:
                yield text[sent:]
                sent = len(text)
            elif ended:
                return
            with self._changed:
                self._changed.wait(POLL)

    def version(self) -> int:
        return self._version

    def stop(self) -> None:
        self._stopped = True

    def _ended(self, pod: str) -> bool:
        found = self.pods.get(pod)
        return found is None or found["status"]["phase"] in {"Succeeded", "Failed"}

    def _change(self, kind: str, resource: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        metadata = {**resource["metadata"], "resourceVersion": str(self._version)}
        changed = {**resource, "metadata": metadata}
        self.applications[metadata["name"]] = changed
        self._changes.append((self._version, {"type": kind, "object": changed}))
        self._changed.notify_all()
        return changed


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": "spark",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


def terminated(code: int, reason: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


@contextmanager
def kubernetes_standin(kubeconfig: Path) -> Iterator[KubernetesStandIn]:
    """Writes the file by which a client finds it."""
    standin = KubernetesStandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(standin))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    kubeconfig.write_text(json.dumps(_kubeconfig(server.server_address[1])))
    try:
        yield standin
    finally:
        standin.stop()
        server.shutdown()
        server.server_close()
        thread.join()


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def _handler(standin: KubernetesStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = parse_qs(url.query)
            *_, parent, name = url.path.split("/")
            if APPLICATIONS.fullmatch(url.path):
                if "watch" in asked:
                    since = int(asked["resourceVersion"][0])
                    found = standin.changes_since(since)
                    self._stream(json.dumps(change) + "\n" for change in found)
                else:
                    version = {"resourceVersion": str(standin.version())}
                    items = list(standin.applications.values())
                    self._answer({"metadata": version, "items": items})
            elif name == "events":
                self._answer({"items": []})
            elif name == "log":
                if parent not in standin.pods:
                    self._missing(parent)
                elif asked.get("follow") == ["True"]:
                    self._stream(standin.log_of(parent))
                else:
                    self._send(200, standin.logs.get(parent, "").encode())
            else:
                known = standin.pods if parent == "pods" else standin.applications
                if name in known:
                    self._answer(known[name])
                else:
                    self._missing(name)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(standin.create(json.loads(body)), 201)

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name not in standin.applications:
                self._missing(name)
                return
            standin.delete(name)
            self._answer({"kind": "Status", "status": "Success"})

        def _missing(self, name: str) -> None:
            self._answer({"kind": "Status", "message": f'"{name}" not found'}, 404)

        def _answer(self, found: object, status: int = 200) -> None:
            self._send(status, json.dumps(found).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, pieces: Iterator[str]) -> None:
            """In chunks, until the other side hangs up."""
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for piece in pieces:
                    body = piece.encode()
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
