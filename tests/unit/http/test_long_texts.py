"""No text that an engine, a worker or a caller makes up is kept at any length it may have."""

import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from app import redaction
from app.data_transformation import job
from app.errors import AsgardError, EngineFailed
from app.failure import Failure, FailureCause
from app.processes import WorkerError
from app.processes.worker_main import GatewayChannel, _described
from app.runs import owned_run
from app.runs.model import Run, RunKind
from app.runs.outcomes import failed
from app.runs.owned_run import KEPT_LINES, KEPT_LOG, LONGEST_ENTRY, OwnedRun, with_event
from app.runs.store import StoredRun
from app.shorten import LONGEST_DETAIL, LONGEST_HINT, LONGEST_TEXT, shortened
from app.warehouse.trino.publisher import Publisher, StatementRefused

SECRET = "hunter2-very-secret"
RUN = Run(
    run_id="a" * 32,
    kind=RunKind.DBT,
    target="gold.t",
    created_at=datetime(2013, 1, 1, tzinfo=UTC),
    created_by="me",
)
LONG = "x" * 7_000_000


def an_active_run(runs: Any = None) -> OwnedRun:
    return OwnedRun(StoredRun(RUN, "etag"), runs, None)  # type: ignore[arg-type]


def test_a_short_text_stays_and_of_a_long_one_the_start_is_kept() -> None:
    assert shortened("x" * 100, 100) == "x" * 100
    cut = shortened("x" * 1000, 100)
    kept = len(re.match("x*", cut)[0])  # type: ignore[index]
    assert cut == f"{'x' * kept}… ({1000 - kept} more characters)"
    assert len(cut) <= 100
    assert shortened(cut, 100) == cut


def test_a_secret_that_the_cut_would_divide_is_left_out() -> None:
    redactor = redaction.Redactor()
    redactor.register_secrets([SECRET])
    for before in range(8192 + 80, 8192 + 120):
        start = redactor.clean_start("y" * before + SECRET + "z" * 20_000, 100)
        assert "hunter" not in start
        assert start.startswith("yyy")
    dense = redactor.clean_start(f"{SECRET} " * 10_000, 4000)
    assert "hunter" not in dense


def test_only_the_start_of_a_text_is_searched_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Watched(redaction.Redactor):
        def clean(self, text: str) -> str:
            searched.append(len(text))
            return super().clean(text)

    monkeypatch.setattr(owned_run, "clean_start", Watched().clean_start)
    run = an_active_run()
    run.log(LONG)
    assert max(searched) <= LONGEST_ENTRY + 8192


def test_a_text_of_newlines_is_logged_up_to_a_limit() -> None:
    run = an_active_run()
    run.log("first" + "\n" * 2_200_000 + "last")
    assert len(run._log) <= LONGEST_ENTRY + 1
    assert re.search(r"… \(\d+ more characters\)\n\Z", run.log_text())


def test_a_log_has_a_most_of_lines_and_of_characters() -> None:
    run = an_active_run()
    for number in range(6):
        run.log("\n" * 20_000 + f"end {number}")
    assert len(run._log) == KEPT_LINES
    assert run.log_text().endswith("\n    end 5\n")
    for _ in range(40):
        run.log("y" * 100_000)
    assert len(run.log_text()) <= KEPT_LOG
    assert run._log_size == len(run.log_text())


def test_lines_are_dropped_without_moving_the_others() -> None:
    """Each `pop(0)` of a list moves all others: the time grew with the square of the lines."""
    run = an_active_run()
    run._append_lines("" for _ in range(1_000_000))
    assert len(run._log) == KEPT_LINES
    assert hasattr(run._log, "popleft")


async def test_a_log_that_is_taken_over_is_kept_whole() -> None:
    earlier = "".join(f"line {number}\n" for number in range(40_000))

    async def read_log(_: str) -> str:
        return earlier

    run = an_active_run(SimpleNamespace(read_log=read_log))
    run.log("later")
    await run.continue_log()
    assert run.log_text() == f"{earlier}later\n"


def test_an_error_has_a_limit_in_all_its_parts() -> None:
    error = EngineFailed(LONG, hint=LONG, said=LONG, many=[LONG] * 1000, deep=[[[[LONG]]]])
    assert len(error.detail) <= LONGEST_DETAIL
    assert re.search(r"… \(\d{7} more characters\)$", error.detail)
    assert error.hint is not None
    assert len(error.hint) <= LONGEST_HINT
    assert error.members["said"].endswith("more characters)")
    assert re.fullmatch(r"… \(\d{3} more\)", error.members["many"][-1])
    assert len(json.dumps(error.members)) < 100_000


def test_an_errors_members_are_as_they_were_given_when_they_are_short() -> None:
    members: dict[str, Any] = {"position": {"line": 2, "column": 7}, "names": ["a", "b"], "n": None}
    assert AsgardError("x", **members).members == {
        "position": {"line": 2, "column": 7},
        "names": ["a", "b"],
    }


def test_a_member_that_is_nested_without_end_is_cut() -> None:
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    assert len(json.dumps(AsgardError("x", nested=nested).members)) < 200


def test_a_failure_has_a_limit_even_if_an_older_record_has_none() -> None:
    old = {"cause": "internal", "message": LONG, "hint": LONG}
    failure = Failure.model_validate_json(json.dumps(old))
    assert len(failure.message) <= LONGEST_DETAIL
    assert len(failure.hint or "") <= LONGEST_HINT
    ending = failed(EngineFailed(LONG, cause=FailureCause.SQL_ERROR))
    assert len(ending.message) <= LONGEST_DETAIL
    assert len(with_event(RUN, "Failed", LONG).events[0].message) <= LONGEST_HINT


def test_a_worker_cuts_its_errors_and_its_lines_of_log() -> None:
    sent: list[Any] = []
    gateway = GatewayChannel(SimpleNamespace(send=sent.append))  # type: ignore[arg-type]
    gateway({"log": LONG})
    gateway({"rows": 5})
    assert len(sent[0]["event"]["log"]) <= LONGEST_TEXT
    assert sent[1] == {"event": {"rows": 5}}
    assert len(_described(ValueError(LONG))["message"]) <= LONGEST_DETAIL


def test_an_error_of_a_worker_is_cut_even_if_the_worker_did_not() -> None:
    error = WorkerError({"problem": "engine-failed", "message": LONG, "hint": LONG})
    assert len(str(error)) <= LONGEST_DETAIL + 20
    assert len(error.error["message"]) <= LONGEST_DETAIL
    told = error.to_asgard()
    assert told is not None
    assert len(told.detail) <= LONGEST_DETAIL


async def test_only_the_start_of_a_refused_statement_is_looked_at() -> None:
    logged: list[str] = []
    for statement, shown in ((" a" * 8_000_000, "a " * 250), ({"a": LONG}, "")):
        publisher = Publisher("SELECT 1", None, logged.append)  # type: ignore[arg-type]
        with pytest.raises(StatementRefused):
            await publisher.on_ask({"statement": statement})
        assert logged.pop().endswith(f"of this build: {shown}")


def field(name: str, kind: str) -> Any:
    data_type = SimpleNamespace(simpleString=lambda: kind)
    return SimpleNamespace(name=name, dataType=data_type, nullable=False)


def test_a_job_names_columns_and_types_up_to_a_length() -> None:
    long = "y" * 1_000_000
    with pytest.raises(job.JobError, match=r"\(\d+ more characters\)") as wrong:
        job._check(SimpleNamespace(fields=[field(long, f"struct<{long}:void>")]))
    assert len(str(wrong.value)) < 1000
    with pytest.raises(job.JobError) as twice:
        job._check(SimpleNamespace(fields=[field(long, "int"), field(long, "int")]))
    assert len(str(twice.value)) < 1000


def test_a_job_lists_a_hundred_columns() -> None:
    logged: list[str] = []
    fields = [field(f"{number}{'y' * 38_000}", "\n" * 38_000) for number in range(150)]
    frame = SimpleNamespace(schema=SimpleNamespace(fields=fields))
    spark = SimpleNamespace(conf=SimpleNamespace(set=lambda *_: None), sql=lambda _: frame)
    job.compute(spark, {"sources": [], "statements": [], "select": "SELECT 1"}, logged.append)
    assert len(logged[-1]) < 30_000
    assert logged[-1].endswith(" and 50 more")


def test_the_further_lines_of_an_entry_do_not_look_like_entries() -> None:
    run = an_active_run()
    run.log("INFO one\nINFO 99 rows read\r\nERROR\u2028more")
    run.log("WARN two")
    entries = ["INFO one", "    INFO 99 rows read", "    ERROR", "    more", "WARN two", ""]
    assert run.log_text().split("\n") == entries


def test_lines_of_another_program_stay_as_they_are() -> None:
    run = an_active_run()
    run.log_lines("first\nsecond\n")
    assert run.log_text() == "first\nsecond\n"
