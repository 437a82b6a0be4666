"""As much of a kubelet as `kubectl logs` needs: the API server fetches logs from here."""

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODE = "node"


class Kubelet:
    def __init__(self, home: Path) -> None:
        self.logs: dict[str, Path] = {}
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
                """`/containerLogs/{namespace}/{pod}/{container}?tailLines=`"""
                url = urlsplit(self.path)
                _, kind, _, pod, _ = url.path.split("/")
                assert kind == "containerLogs"
                lines = logs[pod].read_bytes().splitlines(keepends=True)
                tail = parse_qs(url.query).get("tailLines")
                body = b"".join(lines[-int(tail[0]) :] if tail else lines)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
