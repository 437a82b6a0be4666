"""S3 and the catalog stop answering or disappear during a run, or a disk is full, and recover."""

import asyncio
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.lakehouse.timeouts import READ_TIMEOUT
from tests.faults.fault_feeding import ended_runs
from tests.faults.fault_gateway import Gateway, problem, running
from tests.faults.fault_kinds import BASE, IDS, created, make_base
from tests.faults.fault_lake import LakeView

pytestmark = pytest.mark.timeout(600)

TRUE_ENDS = {"lost", "engine_unreachable", "timeout", "internal"}
ROOM = 512 * 2**20
"""SeaweedFS alone takes 30 MB of it, and needs a hundredth of it free. Runs leave 256 MB free."""
PUTS = 150


async def _table_of(gateway: Gateway, number: int, name: str = "away") -> httpx.Response:
    body = {"name": name, "sql_query": f"SELECT {number} AS number, id FROM {BASE}"}
    return await gateway.api.post("/dbt/transform", params={"wait_seconds": 60}, json=body)


def _numbers(lake: LakeView, table: str) -> list[tuple[int, int]]:
    return sorted((row["number"], row["id"]) for row in lake.rows(table))


async def test_a_silent_lakehouse_gives_503_in_time_and_the_running_run_ends_correctly(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path / "home")
    async with running(gateway):
        await make_base(gateway)
        first = await _table_of(gateway, 1)
        assert first.json()["status"] == "completed", first.text
        known = first.json()["run_id"]
        body = {"name": "away", "sql_query": f"SELECT 2 AS number, id FROM {BASE}"}
        asked = await gateway.api.post("/dbt/transform", params={"wait_seconds": 0}, json=body)
        assert asked.status_code == 202, asked.text

        (weed,) = gateway.children("lakehouse")
        weed.send_signal(signal.SIGSTOP)
        try:
            slowest = await _all_refused(gateway)
            alive = await gateway.api.get(f"http://127.0.0.1:{gateway.port}/health")
            assert alive.status_code == 200
            asked_at = time.monotonic()
            ready = await gateway.api.get(f"http://127.0.0.1:{gateway.port}/health/ready")
            assert time.monotonic() - asked_at < 3
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        finally:
            weed.send_signal(signal.SIGCONT)
        print(f"the slowest refusal took {slowest:.1f} s")

        runs = {run["run_id"]: run for run in await ended_runs(gateway, target="gold.away")}
        assert len(runs) == 2
        lake = LakeView(gateway.home)
        in_flight = runs[asked.json()["run_id"]]
        print(f"the run in flight {in_flight['state']}: {in_flight['failure']}")
        snapshots, rows = await asyncio.to_thread(
            lambda: (lake.run_ids("gold.away"), _numbers(lake, "gold.away"))
        )
        if in_flight["state"] == "succeeded":
            assert snapshots == [known, in_flight["run_id"]]
            assert rows == [(2, n) for n in IDS]
        else:
            assert in_flight["failure"]["cause"] in TRUE_ENDS, in_flight
            assert snapshots == [known]
            assert rows == [(1, n) for n in IDS]
        after = await _table_of(gateway, 3)
        assert after.json()["status"] == "completed", after.text
        assert await asyncio.to_thread(_numbers, lake, "gold.away") == [(3, n) for n in IDS]


async def _all_refused(gateway: Gateway) -> float:
    """Return the longest time that a response took."""
    calls = [
        ("GET", "/data-products", None),
        ("GET", "/dbt/transformations", None),
        ("GET", "/dbt/tables/gold", None),
        ("GET", "/runs", None),
        ("GET", "/runs/0123456789ab0123456789ab01234567", None),
        ("GET", "/airbyte/datasource", None),
        ("POST", "/airbyte/sink", {"name": "lake", "type": "s3"}),
        ("POST", "/spark/transform", {"sql": f"SELECT id FROM {BASE}"}),
        ("POST", "/dbt/transform", {"name": "mute", "sql_query": f"SELECT id FROM {BASE}"}),
    ]

    async def call(method: str, path: str, body: dict[str, Any] | None) -> float:
        started = time.monotonic()
        answer = await gateway.api.request(method, path, json=body)
        took = time.monotonic() - started
        assert answer.status_code == 503, f"{method} {path}: {answer.status_code} {answer.text}"
        assert int(answer.headers["retry-after"]) >= 0
        assert problem(answer)["detail"]
        return took

    took = await asyncio.gather(*(call(*each) for each in calls))
    late = [
        f"{method} {path} took {seconds:.1f} s"
        for (method, path, _), seconds in zip(calls, took, strict=True)
        if seconds > READ_TIMEOUT + 1
    ]
    assert not late, late
    return max(took)


class TinyDisk:
    """`home` is the path as the gateway sees it, `outside` the path from here."""

    def __init__(self, home: Path, outside: Path, around: list[str]) -> None:
        self.home, self.outside, self.around = home, outside, around
        self.fill: Callable[[Gateway], None] = self._fill_file
        self.free: Callable[[Gateway], None] = self._free_file

    def _fill_file(self, _: Gateway) -> None:
        with (self.outside / "ballast").open("wb", buffering=0) as ballast:
            for size in (2**20, 2**12, 1):
                try:
                    while ballast.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def _free_file(self, _: Gateway) -> None:
        (self.outside / "ballast").unlink()


def _limit_files(gateway: Gateway, size: int) -> None:
    """Let no file of SeaweedFS grow any more: its writes fail as on a full disk."""
    import psutil

    for weed in gateway.children("lakehouse"):
        psutil.Process(weed.pid).rlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _restart_lakehouse(gateway: Gateway) -> None:
    """Remove the limits, which belong to the process. The gateway itself restarts SeaweedFS after a
    full disk."""
    for weed in gateway.children("lakehouse"):
        weed.kill()


@asynccontextmanager
async def tiny_disk(tmp_path: Path) -> AsyncIterator[TinyDisk]:
    """Yield a small file system where this user may mount one (in a namespace, so that nothing has
    to be unmounted). Elsewhere, limits keep SeaweedFS from growing its files."""
    home = tmp_path / "home"
    home.mkdir()
    mount = f"mount -t tmpfs -o size={ROOM},mode=0700 none {home} && echo mounted && exec sleep 600"
    ways = [
        (["unshare", "--mount"], ["--mount"]),
        (["unshare", "--user", "--map-root-user", "--mount"], ["--user", "--mount"]),
    ]
    for unshare, enter in ways:
        try:
            holder = subprocess.Popen(  # noqa: ASYNC220 — it starts at once
                [*unshare, "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            break
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() == b"mounted\n":
                keep = ["--preserve-credentials"] if "--user" in enter else []
                around = ["nsenter", "--target", str(holder.pid), *enter, *keep, "--"]
                yield TinyDisk(home, Path(f"/proc/{holder.pid}/root{home}"), around)
                return
        finally:
            holder.kill()
            holder.wait()
    disk = TinyDisk(home, home, [])
    disk.fill = lambda gateway: _limit_files(gateway, 1)
    disk.free = _restart_lakehouse
    yield disk


async def test_a_full_disk_is_reported_corrupts_nothing_and_is_over_when_there_is_room(
    tmp_path: Path,
) -> None:
    async with tiny_disk(tmp_path) as disk:
        gateway = Gateway(disk.home, around=disk.around)
        async with running(gateway):
            await make_base(gateway)
            first = await _table_of(gateway, 1)
            assert first.json()["status"] == "completed", first.text
            await created(gateway, "/airbyte/sink", {"name": "before", "type": "s3"})
            print(f"filled: {disk.around or 'RLIMIT_FSIZE'}")
            [filled] = gateway.children("lakehouse")
            disk.fill(gateway)
            try:
                refused = await _while_full(gateway)
                failed = await asyncio.to_thread(_meet_with_each_part, LakeView(disk.outside))
                print(f"{failed} of {PUTS} objects were refused")
            finally:
                disk.free(gateway)
            print("\n".join(refused))
            if disk.around:
                assert all("disk" in text.lower() for text in refused), refused
            await _restarted(gateway, filled.pid)
            lake = LakeView(disk.outside)
            await ended_runs(gateway, target="gold.away")
            rows = await asyncio.to_thread(_numbers, lake, "gold.away")
            assert rows == [(1, n) for n in IDS]
            await _works_again(gateway)
            rows = await asyncio.to_thread(_numbers, lake, "gold.away")
            assert rows == [(3, n) for n in IDS]
            await gateway.end(signal.SIGTERM, 20)
            await gateway.start()
            runs = await ended_runs(gateway, target="gold.away")
            snapshots = await asyncio.to_thread(lake.run_ids, "gold.away")
            succeeded = [run["run_id"] for run in runs if run["state"] == "succeeded"]
            assert sorted(snapshots) == sorted(succeeded)


async def _restarted(gateway: Gateway, previous_pid: int) -> None:
    """Return the new SeaweedFS once there is room again. Earlier requests are lost."""
    async with asyncio.timeout(60):
        while [weed.pid for weed in gateway.children("lakehouse")] in ([], [previous_pid]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await gateway.ready()


def _meet_with_each_part(lake: LakeView) -> int:
    """Write to each of the eight parts of SeaweedFS's index, by folder, on the full disk."""
    from botocore.exceptions import ClientError

    failed = 0
    for number in range(PUTS):
        try:
            lake.s3.put_object(Bucket="lake", Key=f"full/{number % 50}/{number}", Body=b"x" * 900)
        except ClientError:
            failed += 1
    return failed


async def _while_full(gateway: Gateway) -> list[str]:
    """Check what clients see. Reading works, and no refused request is half done."""
    messages = []
    for answer in (
        await gateway.api.post("/airbyte/sink", json={"name": "while full", "type": "s3"}),
        await _table_of(gateway, 2),
    ):
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 0
            messages.append(str(problem(answer)))
        else:
            assert answer.status_code == 200, answer.text
            assert answer.json()["status"] == "failed", answer.text
            messages.append(str(answer.json()["failure"]))
    listed = await gateway.api.get("/dbt/transformations")
    assert listed.status_code == 200, listed.text
    sinks = await gateway.api.get("/airbyte/sink")
    assert [sink["name"] for sink in sinks.json()["destinations"]] == ["before"]
    return messages


async def _works_again(gateway: Gateway) -> None:
    patience = time.monotonic() + 60
    while (answer := await _table_of(gateway, 3)).json().get("status") != "completed":
        print(answer.text[:300])
        assert time.monotonic() < patience, answer.text
        await asyncio.sleep(0.5)
    await created(gateway, "/airbyte/sink", {"name": "after", "type": "s3"})
