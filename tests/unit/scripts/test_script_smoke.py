"""script/production-test-dbt-api.sh on a gateway whose dependencies are not reachable at once."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.harnesses.scripts import ScriptResult, run
from tests.http_server import Asked, serving

pytestmark = pytest.mark.thorough

AWAY = {"kubernetes": {"status": "unreachable", "cause": "no response within 1 s"}}


async def smoke(*, away: Iterator[bool], ready_seconds: int) -> ScriptResult:
    """Run until SQL must be planned, which this gateway cannot do."""

    def answer(asked: Asked) -> tuple[int, object]:
        match asked.path:
            case "/health":
                return 200, {"version": "0.1.0"}
            case "/health/ready" if next(away):
                return 200, {"status": "degraded", "dependencies": AWAY}
            case "/health/ready":
                return 200, {"status": "ready", "dependencies": {}}
            case "/api/v1/runs":
                return 401, {}
        return 500, {"detail": "There is no SQL here."}

    with serving(answer) as port:
        return await run(
            "production-test-dbt-api.sh",
            ASGARD_URL=f"http://127.0.0.1:{port}",
            READY_SECONDS=str(ready_seconds),
        )


async def test_a_slow_first_answer_is_awaited() -> None:
    result = await smoke(away=iter([True, False]), ready_seconds=30)
    assert "There is no SQL here." in result.err
    steps = [line.split() for line in result.out.splitlines()]
    assert [step[-3] for step in steps if step[0] == "All"] == ["ok"]


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_gateway_that_stays_unreachable_is_reported(seconds: int) -> None:
    result = await smoke(away=(True for _ in count()), ready_seconds=seconds)
    assert result.code == 1
    assert "it is degraded. kubernetes: no response within 1 s" in result.err
    assert result.out.splitlines()[-1].startswith("All dependencies are reachable")
