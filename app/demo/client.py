"""A REST client that prints each call, a short form of its answer, and its duration."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

SHORT = 88
"""The number of characters shown of a body or an answer."""
QUIET_SECONDS = 1.0
"""An operation that takes longer shows a progress indicator."""
LINE_SECONDS = 5.0
"""The interval of progress lines, which replace the indicator if the output is not a terminal."""

POLL_SECONDS = 0.25

Answer = dict[str, Any]


class DemoFailed(Exception):
    """The gateway did not give the expected answer. The message states what it answered."""


class Client:
    def __init__(self, base_url: str, console: Console) -> None:
        self.console = console
        self._http = httpx.Client(base_url=base_url, timeout=httpx.Timeout(120, connect=5))

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, show: str = "", **params: Any) -> Answer:
        return self.call("GET", path, show=show, params=params)

    def post(self, path: str, body: Answer | None = None, show: str = "", **params: Any) -> Answer:
        return self.call("POST", path, body, show=show, params=params)

    def call(
        self,
        method: str,
        path: str,
        body: Answer | None = None,
        *,
        show: str = "",
        params: dict[str, Any] | None = None,
    ) -> Answer:
        """Call a route. `show` names the fields of the answer to print: `name, run.state`."""
        query = f"?{httpx.QueryParams(params)}" if params else ""
        self.console.print(f"[bold cyan]{method}[/] {escape(path + query)}", soft_wrap=True)
        if body:
            self.console.print(f"  [dim]{escape(_short(json.dumps(body)))}[/]", soft_wrap=True)
        with self.progress("waiting for the response"):
            started = time.perf_counter()
            response = self._http.request(method, f"/api/v1{path}", json=body, params=params)
            seconds = time.perf_counter() - started
        if response.is_error:
            raise DemoFailed(f"{method} {path}: {response.status_code} {_problem(response)}")
        answer: Answer = response.json() if response.content else {}
        fields = ", ".join(f"{name} {_pick(answer, name)}" for name in _names(show))
        self.console.print(
            f"  [green]{response.status_code}[/] in {seconds:.2f} s"
            + (f" · {escape(_short(fields, 160))}" if fields else ""),
            soft_wrap=True,
        )
        return answer

    def poll(self, path: str, done: Callable[[Answer], bool], what: str, limit: float) -> Answer:
        """Poll until `done`, showing the state, and print one line at the end. Raise after `limit`
        seconds."""
        started = time.perf_counter()
        with self.progress(what) as set_detail:
            while True:
                response = self._http.get(f"/api/v1{path}")
                if response.is_error:
                    raise DemoFailed(f"GET {path}: {response.status_code} {_problem(response)}")
                answer: Answer = response.json()
                if done(answer):
                    break
                if time.perf_counter() - started > limit:
                    text = _short(str(answer))
                    raise DemoFailed(f"{what}: not finished after {limit:.0f} s: {text}")
                set_detail(str(answer.get("engine_state") or answer.get("state") or ""))
                time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - started
        self.console.print(f"[bold cyan]GET[/] {escape(path)} [dim]until it ends[/]")
        state = answer.get("state")
        self.console.print(f"  [green]200[/] after {seconds:.2f} s · state {state}")
        return answer

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show the elapsed time after the first second. The callback sets a detail."""
        ended = threading.Event()
        detail = ""

        def set_detail(text: str) -> None:
            nonlocal detail
            detail = f" ({text})" if text else ""

        def show() -> None:
            if ended.wait(QUIET_SECONDS):
                return
            started = time.perf_counter() - QUIET_SECONDS
            if not self.console.is_terminal:
                while not ended.wait(LINE_SECONDS - QUIET_SECONDS):
                    elapsed = time.perf_counter() - started
                    self.console.print(f"  … {what}{detail}, {elapsed:.0f} s")
                return
            with self.console.status("") as status:
                while not ended.wait(0.2):
                    elapsed = time.perf_counter() - started
                    status.update(f"{what}{detail}, {elapsed:.0f} s")

        ticker = threading.Thread(target=show, daemon=True)
        ticker.start()
        try:
            yield set_detail
        finally:
            ended.set()
            ticker.join()


def _names(show: str) -> list[str]:
    return [name.strip() for name in show.split(",") if name.strip()]


def _pick(answer: Any, path: str) -> Any:
    for name in path.split("."):
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def _short(text: str, length: int = SHORT) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _problem(response: httpx.Response) -> str:
    try:
        document = response.json()
    except ValueError:
        return _short(response.text, 300)
    hint = document.get("hint")
    return f"{document.get('detail')}" + (f" {hint}" if hint else "")
