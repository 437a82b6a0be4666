"""As much of a kubelet as `kubectl logs` needs: the API server fetches logs from here."""

import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODE = "node"


LOOK_EVERY = 0.05


@dataclass(frozen=True)
class ContainerLog:
    file: Path
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when the container has ended, so that its log does not grow any more."""


class Kubelet:
    def __init__(self, home: Path) -> None:
        self.logs: dict[str, ContainerLog] = {}
        """By the pod's name."""
        key, certificate = home / "kubelet.key", home / "kubelet.crt"
        self_signed = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subprocess.run(
            [*self_signed, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def register(self, core: Any) -> None:
        """`core` is an admin's `CoreV1Api`."""
        core.create_node({"metadata": {"name": NODE}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        core.patch_node_status(NODE, {"status": status})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        logs = self.logs

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """`/containerLogs/{namespace}/{pod}/{container}?follow=&tailLines=`"""
                url = urlsplit(self.path)
                _, kind, _, pod, _ = url.path.split("/")
                assert kind == "containerLogs"
                query = parse_qs(url.query)
                if query.get("follow") == ["true"]:
                    self._follow(logs[pod])
                else:
                    self._show(logs[pod], query.get("tailLines"))

            def _show(self, log: ContainerLog, tail: list[str] | None) -> None:
                lines = log.file.read_bytes().splitlines(keepends=True)
                body = b"".join(lines[-int(tail[0]) :] if tail else lines)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _follow(self, log: ContainerLog) -> None:
                """From the beginning until the container ends; then the connection closes."""
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                with log.file.open("rb") as file:
                    while True:
                        ended = log.ended.is_set()
                        self.wfile.write(file.read())
                        self.wfile.flush()
                        if ended:
                            return
                        log.ended.wait(LOOK_EVERY)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
