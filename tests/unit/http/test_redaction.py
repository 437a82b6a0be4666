"""No log line contains a known secret, or a text that looks like one."""

import asyncio
import html
import io
import json
import logging
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.config import Settings
from app.errors import EngineFailed
from app.processes import ChildProcess, WorkerProcess
from app.redaction import (
    MOST_OF_CALLER,
    MOST_TRANSIENT,
    Redactor,
    Scope,
    clean,
    register_caller_secrets,
    register_secrets,
    within,
)
from app.secret_patterns import HIDDEN
from app.telemetry.logs import configure_logging
from tests.unit.processes.workers import WORKER

PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it says tell-nobody twice: tell-nobody", "it says *** twice: ***"),
        ('{"password": "with \\"quotes\\" and \\\\"}', '{"password": "***"}'),
        ("?password=p%40ss%2Fword%26more", "?password=***"),
        ("at http://reader:any/x@host/path", "at http://reader:any/x@host/path"),
        ("at http://reader:any@x@host:80/path", "at http://***@host:80/path"),
        ("postgresql://token@db.example.com/x", "postgresql://***@db.example.com/x"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln is one", "*** is one"),
        ("asgard_0123456789ab_" + "k" * 43, HIDDEN),
        ("line MIIEvQIBADANBgkqhkiG9w0B of it", "line *** of it"),
        ("abc stays, and me@example.com", "abc stays, and me@example.com"),
        ("its basic authentication stays", "its basic authentication stays"),
        ("a bearer of news; https://example.com/a@b", "a bearer of news; https://example.com/a@b"),
    ],
)
def test_what_is_hidden_and_what_stays(text: str, shown: str) -> None:
    redactor = Redactor()
    redactor.register_secrets(
        ["tell-nobody", 'with "quotes" and \\', "p@ss/word&more", "abc", None, "", PEM]
    )
    assert redactor.clean(text) == shown


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": json.dumps,
    "JSON in Unicode": lambda secret: json.dumps(secret, ensure_ascii=False),
    "Python": repr,
    "address": lambda secret: quote(secret, safe=""),
    "path": quote,
    "form": quote_plus,
    "form with slashes": lambda secret: quote_plus(secret, safe="/"),
    "address in lower case": lambda secret: re.sub(
        "%..", lambda code: code[0].lower(), quote(secret, safe="")
    ),
    "address in an address": lambda secret: quote(quote(secret, safe=""), safe=""),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)[1:-1]),
    "JSON in an address": lambda secret: quote(json.dumps(secret)[1:-1]),
    "address in JSON": lambda secret: json.dumps(quote(secret)),
    "every character as a code": lambda secret: "".join(f"\\u{ord(c):04X}" for c in secret),
    "slashes escaped": lambda secret: json.dumps(secret).replace("/", r"\/"),
    "bytes": lambda secret: repr(secret.encode())[1:],
    "bytes in Python": lambda secret: repr(repr(secret.encode())[2:-1]),
    "ASCII": ascii,
    "HTML": html.escape,
    "HTML by numbers": lambda secret: "".join(f"&#{ord(c)};" for c in secret),
    "bytes in octal": lambda secret: "".join(f"\\{byte:03o}" for byte in secret.encode()),
    "JavaScript": lambda secret: "".join(f"\\u{{{ord(c):x}}}" for c in secret),
    "escape()": lambda secret: "".join(f"%u{ord(c):04x}" for c in secret),
    "SQL": lambda secret: secret.replace("'", "''"),
    "CSV": lambda secret: secret.replace('"', '""'),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "secret",
    ["a b/c+d", 'pässwörd/"1"', "it's \\ \t tabbed", "both ' and \"/ ü", PEM, "a-1\nb-2\nc-3"],
    ids=ascii,
)
def test_every_spelling_of_a_secret_is_hidden(spelling: str, secret: str) -> None:
    text = SPELLINGS[spelling](secret)
    with within(Scope()):
        register_caller_secrets([secret])
        assert clean(f"before {text} after").replace('"', "").replace("'", "") == (
            f"before {HIDDEN} after"
        )


@pytest.mark.parametrize(
    ("rest", "shown"), [("AoIBAQDk", HIDDEN), ("AoIBAQ==", HIDDEN), ("Ao8=", "Ao8=")]
)
def test_the_short_last_line_of_a_key_is_hidden_alone(rest: str, shown: str) -> None:
    """Four characters are three bytes, and could be a part of any word."""
    redactor = Redactor()
    redactor.register_secrets([PEM.replace("\n-----END", f"\n{rest}\n-----END")])
    assert redactor.clean(f"its last line: {rest}") == f"its last line: {shown}"


def test_a_short_line_of_another_secret_stays() -> None:
    redactor = Redactor()
    redactor.register_secrets(["user: reader\npassword: a-long-password"])
    assert redactor.clean("user: reader, password: a-long-password") == f"user: reader, {HIDDEN}"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    redactor = Redactor()
    redactor.register_secrets(["secret"])
    redactor.register_secrets(["secret-and-more"])
    assert redactor.clean("secret-and-more, secret") == "***, ***"


def test_only_the_latest_transient_secrets_are_kept() -> None:
    redactor = Redactor()
    redactor.register_secrets(["for-ever"])
    redactor.register_transient_secrets(f"token-{number:04}" for number in range(600))
    assert redactor.clean("for-ever token-0000 token-0599") == "*** token-0000 ***"
    redactor.register_transient_secrets(["request", "2026"])
    assert redactor.clean("request of 2026") == "request of 2026"


async def test_a_callers_secrets_are_hidden_only_in_its_own_work() -> None:
    text = "run of one-secret and of two-secret"
    met = asyncio.Barrier(2)

    async def work(secret: str) -> list[str]:
        with within(Scope()):
            later = asyncio.create_task(met.wait())  # started before the secret is registered
            register_caller_secrets([secret])
            await later
            in_task = await asyncio.create_task(as_task(text))
            in_thread = await asyncio.to_thread(clean, text)
            with within(None):
                shared = clean(text)
            return [clean(text), in_task, in_thread, shared, str(EngineFailed(text))]

    one, two = await asyncio.gather(work("one-secret"), work("two-secret"))
    hidden = ["run of *** and of two-secret"] * 3
    assert one == [*hidden, text, hidden[0]]
    assert two[:3] == ["run of one-secret and of ***"] * 3
    assert clean(text) == text


async def as_task(text: str) -> str:
    return clean(text)


def test_a_secret_that_is_the_start_of_another_leaves_no_rest() -> None:
    redactor = Redactor()
    redactor.register_secrets(["gateways-own"])
    with within(Scope()):
        register_caller_secrets(["gateways-own-and-more", "own-"])
        assert redactor.clean("gateways-own-and-more, gateways-own") == "***, ***"


def test_a_caller_cannot_make_the_gateway_search_for_any_number_of_words() -> None:
    with within(Scope()):
        register_caller_secrets(f"word-{number:04}" for number in range(MOST_OF_CALLER + 1))
        assert clean("word-0000 word-0001") == "word-0000 ***"


def test_no_invented_secret_breaks_a_line() -> None:
    line = {"path": "/api/v1/runs", "path_and_more": ["/api/v1/runs", {"x": "path_and_more"}]}
    with within(Scope()):
        register_caller_secrets(['": "/api', "path_and_more", "/api/v1/runs"])
        shown = Redactor().clean_json(json.dumps(line))
    assert json.loads(shown) == {
        "path": HIDDEN,
        "path_and_more": [HIDDEN, {"x": HIDDEN}],
    }


def test_no_text_is_searched_repeatedly() -> None:
    hostile = "-eyJ" * 500_000
    assert Redactor().clean(hostile) == hostile


def test_settings_list_their_secrets_and_the_secret_parts_of_values() -> None:
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        trino_password=SecretStr("of-trino"),
        iceberg_rest_credential=SecretStr("client:of-iceberg"),
        otel_exporter_otlp_headers=SecretStr("x-key=of-traces, x-other=of-others="),
        airbyte_base_url="http://me:of%2Fairbyte@airbyte.example.com/api/public/v1",
    )
    assert set(settings.secrets()) == {
        "of-trino",
        "client:of-iceberg",
        "of-iceberg",
        "x-key=of-traces, x-other=of-others=",
        "of-traces",
        "of-others=",
        "of%2Fairbyte",
        "of/airbyte",
    }


@dataclass
class Shown:
    password: str


def test_no_kind_of_log_line_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    root = logging.getLogger()
    before = root.handlers, root.level
    try:
        configure_logging("DEBUG", ["hide-me-please", 'odd "one"\\'])
        log = structlog.get_logger("test")
        log.info("hide-me-please", key="hide-me-please", deep={"a": ["hide-me-please"]})
        log.info("shown", thing=Shown("hide-me-please"), odd='odd "one"\\')
        try:
            raise ValueError("hide-me-please") from OSError("https://a:hide-me-please@b")
        except ValueError:
            log.exception("failed")
            logging.getLogger("other").exception("failed with %s", "hide-me-please")
        register_secrets(["known-only-later"])
        logging.getLogger("other").warning("known-only-later %r", b"hide-me-please")
    finally:
        root.handlers, root.level = before
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        HIDDEN,
        "shown",
        "failed",
        f"failed with {HIDDEN}",
        f"{HIDDEN} b'{HIDDEN}'",
    ]
    assert lines[1]["odd"] == HIDDEN
    assert "ValueError: ***" in lines[2]["exception"]
    assert "OSError: https://***@b" in lines[2]["exception"]
    for secret in ("hide-me-please", "known-only-later", "odd "):
        assert secret not in output.getvalue()


async def test_output_of_a_child_is_clean_before_it_is_on_disk(tmp_path: Path) -> None:
    register_secrets(["childs-own-secret"])
    code = (
        "import os, sys; print('out childs-own-secret', flush=True);"
        "os.write(2, b'err childs-own'); os.write(2, b'-secret\\nlast words'); sys.stdin.read()"
    )
    child = await ChildProcess.start(
        [sys.executable, "-c", code], name="test", log_path=tmp_path / "log", pipe_stdin=True
    )
    while "err" not in child.log_tail():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert child.log_tail() == "out ***\nerr ***"
    child.stdin.close()
    assert await child.wait() == 0
    assert child.log_tail() == "out ***\nerr ***\nlast words"
    assert (tmp_path / "log").read_text() == "out ***\nerr ***\nlast words"


async def test_a_worker_prints_for_the_request_that_calls_it(tmp_path: Path) -> None:
    """Workers serve many callers, and a warm one is started during the request of one of them."""
    line = "of-one of-two"

    async def say(worker: WorkerProcess, secret: str | None, text: str) -> None:
        with within(Scope()):
            register_caller_secrets([secret])
            await worker.call({"op": "say", "text": text})

    with within(Scope()):
        register_caller_secrets(["noise while imported"])
        worker = await WorkerProcess.start(
            WORKER, name="test", log_path=tmp_path / "log", handshake={}
        )
    await say(worker, "of-one", f"{line}\n{line} unfinished ")
    await say(worker, "of-two", line)
    await say(worker, None, line)
    await worker.close()
    assert worker.log_tail().splitlines() == [
        "noise while imported",
        "*** of-two",
        "*** of-two unfinished of-one ***",
        line,
    ]


def test_errors_do_not_contain_a_secret_that_an_engine_quotes() -> None:
    register_secrets(["quoted-by-an-engine"])
    error = EngineFailed(
        "at quoted-by-an-engine",
        hint="see quoted-by-an-engine",
        seen=[{"at": "quoted-by-an-engine"}],
    )
    assert (error.detail, str(error), error.hint) == ("at ***", "at ***", "see ***")
    assert error.members == {"seen": [{"at": "***"}]}


DOCUMENT = json.dumps(
    {
        "type": "service_account",
        "project_id": "reporting-project",
        "private_key_id": "0123456789abcdef",
        "private_key": PEM.replace("KEY", "PRIVATE KEY"),
        "client_email": "loader@reporting.example.com",
        "nested": {"pw": "deep", "other": ["undisclosed"]},
    }
)


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        (DOCUMENT, f"invalid key: {PEM.splitlines()[1]}", "invalid key: ***"),
        (DOCUMENT, f"invalid: {PEM.replace('KEY', 'PRIVATE KEY').encode()!r}", "invalid: b'***'"),
        (DOCUMENT, "deep and undisclosed in reporting-project", "*** and *** in reporting-project"),
        (
            "postgresql://me:p%40ss%2fw@db.example.com/x",
            "password 'p@ss/w' of me",
            "password '***' of me",
        ),
        (
            "mongodb://me:pa:ss@a.example.com,b.example.com",
            "password pa:ss of me",
            "password *** of me",
        ),
        ("https://only-token@example.com", "token only-token", "token ***"),
        ("Server=db;Uid=me;Pwd=one,two;", "one,two of me at db", "*** of me at db"),
        ("user=me,password=one-two,ssl=1", "one-two of me", "*** of me"),
        ("host=db password='with space' user=me", "with space", HIDDEN),
        ('Login required username="me" password="of-jaas";', "of-jaas of me", "*** of me"),
        ("https://x.example.com/?sv=1&sig=a%2Bb%3D&x=2", "signature a+b=", "signature ***"),
        ("Endpoint=sb://x;SharedAccessKey=c2hhcmVk=", "key c2hhcmVk=", "key ***"),
        ("\ufeff hunter2-Xy9!\n", "it is hunter2-Xy9!", "it is ***"),
        (
            PEM.replace("KEY", "PRIVATE KEY").replace("\n", "\\n"),
            "MIIEvQIBADANBgkqhkiG9w0B",
            HIDDEN,
        ),
        (PEM.replace("KEY", "PRIVATE KEY").replace("\n", " "), "AQEFAASCBKcwggSjAgEAAoIB", HIDDEN),
        (
            r"-----BEGIN PRIVATE KEY-----\nMII+vQ/BADANBg+q\nhkiG9w0BAQ+F\n"
            "-----END PRIVATE KEY-----",
            "MII+vQ/BADANBg+q and hkiG9w0BAQ+F",
            "*** and ***",
        ),
        (
            json.dumps(
                {**{f"o{n}": f"setting-{n}" for n in range(600)}, "password": "hunter2-Xy9!"}
            ),
            "login hunter2-Xy9!",
            "login ***",
        ),
        (
            json.dumps({"notes": "lorem ipsum dolor, " * 420, "password": "hunter2-Xy9!"}),
            "login hunter2-Xy9!",
            "login ***",
        ),
        (
            " ".join([*(f"option{n}=setting-{n}" for n in range(600)), "password=hunter2-Xy9!"]),
            "login hunter2-Xy9!",
            "login ***",
        ),
        (
            ";".join([*(f"host{n}name=x{n}" for n in range(600)), "PWD=hunter2-Xy9!"]),
            "login hunter2-Xy9!",
            "login ***",
        ),
        ("localhost:5432", "15432 rows", "15432 rows"),
        ("Bearer tok_abcdefghijk", "bad token tok_abcdefghijk", "bad token ***"),
        ("Authorization: token of-header", "of-header", HIDDEN),
        ("Basic Ym9iOmh1bnRlcjI=", "hunter2 of bob", "*** of bob"),
        ("session=of-cookie; Path=/", "of-cookie for /", "*** for /"),
        ('\ufeff{"pw": "of-bom-1"}', "of-bom-1", HIDDEN),
        ("{'password': 'of-python'}", "of-python", HIDDEN),
        ("{user: bob, password: of-flow}", "of-flow of bob", "*** of bob"),
        ('{"password": "of-comma",}', "of-comma", HIDDEN),
        (b64encode(DOCUMENT.encode()).decode(), PEM.splitlines()[1], HIDDEN),
        ("<login><password>of-xml</password></login>", "of-xml", HIDDEN),
        ("machine h.example.com login bob password of-netrc", "of-netrc of bob", "*** of bob"),
        ("h.example.com:5432:db:bob:of-pgpass", "of-pgpass", HIDDEN),
        ("jdbc:oracle:thin:bob/of-oracle@//h:1521/x", "of-oracle", HIDDEN),
        ("bob:of-go@tcp(h.example.com:3306)/db", "of-go at h.example.com", "*** at h.example.com"),
        ("Server=h;Password=my long pass phrase;Database=x", "my long pass phrase", HIDDEN),
        ("Driver=x;PWD={hunt}}er2;xx};Uid=me", "hunt}er2;xx of me", "*** of me"),
        ("postgres://bob:hun ter2@h.example.com/db", "hun ter2 of bob", "*** of bob"),
        ("https://me:of-mail@h.example.com/?to=a@example.com", "of-mail of me", "*** of me"),
        ("amqp://a:of-one@h1,amqp://b:of-two@h2", "of-one and of-two", "*** and ***"),
        ("Driver=x;Password={se;cret};Uid=me", "se;cret of me", "*** of me"),
        ('password="of \\"jaas\\""', 'of "jaas"', HIDDEN),
        ("password='it''s-me' user=x", "it's-me", HIDDEN),
        (json.dumps({"config": json.dumps({"pin": "1234"})}), "pin 1234", "pin ***"),
        ('{"password": 12345678, "port": 54321098}', "12345678 at 54321098", "*** at 54321098"),
        (
            '{"password": {"value": "abc1234", "type": "x-password"}}',
            "abc1234 x-password",
            "*** x-password",
        ),
        (
            '{"database_url": "postgres:\\/\\/u:of-url@h.example.com"}',
            "of-url at h.example.com",
            "*** at h.example.com",
        ),
    ],
)
def test_a_part_of_a_secret_that_a_program_has_read_is_hidden(
    secret: str, text: str, shown: str
) -> None:
    with within(Scope()):
        register_caller_secrets([secret])
        assert clean(text) == shown


@pytest.mark.parametrize("newline", ["\n", "\\n", "%0A"])
def test_an_unknown_private_key_is_hidden(newline: str) -> None:
    key = PEM.replace("KEY", "RSA PRIVATE KEY").replace("\n", newline)
    assert clean(f"before {key} after") == "before *** after"
    assert clean(f"before {key[:70]}") == "before ***"


ENCODINGS: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: quote(text, safe=""),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text.encode())[2:-1],
    html.escape,
    lambda text: "".join(f"\\u{ord(c):04x}" if ord(c) < 2**16 else c for c in text),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
]


@given(
    pieces=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=1),
            st.sampled_from(ENCODINGS),
        ),
        min_size=1,
        max_size=4,
    ),
    around=st.lists(st.sampled_from(ENCODINGS), max_size=2),
)
def test_a_secret_in_a_mixture_of_spellings_is_hidden(
    pieces: list[tuple[str, Callable[[str], str]]], around: list[Callable[[str], str]]
) -> None:
    secret = f"<{''.join(piece for piece, _ in pieces)}-secret>"
    spelled = f"<{''.join(encode(piece) for piece, encode in pieces)}-secret>"
    for encode in around:
        spelled = encode(spelled)
    redactor = Redactor()
    redactor.register_secrets([secret])
    assert redactor.clean(f"before {spelled} after") == f"before {HIDDEN} after"


@given(st.text(st.sampled_from("\\%25u0041xn&#amp;'+a\ud83d\ude00"), max_size=200))
def test_a_text_without_a_secret_stays(text: str) -> None:
    redactor = Redactor()
    redactor.register_secrets(["tell-nobody"])
    assert redactor.clean(text) == text


def test_a_secret_of_many_lines_leaves_room_for_older_ones() -> None:
    with within(Scope()):
        register_caller_secrets(["an-older-one"])
        register_caller_secrets(["\n".join(f"line-{n:016}" for n in range(5_000))])
        assert clean("an-older-one") == HIDDEN


def test_a_key_after_a_long_chain_of_certificates_is_hidden_by_line() -> None:
    chain = "\n".join(f"{n:064}" for n in range(420))
    with within(Scope()):
        register_caller_secrets([f"{chain}\n{PEM.replace('KEY', 'PRIVATE KEY')}"])
        assert clean(PEM.splitlines()[2]) == HIDDEN


@pytest.mark.parametrize("around", [r"\x84{}", r"{}\xff", "%FF{}", "{}%E4"])
def test_bytes_beside_a_secret_do_not_show_it(around: str) -> None:
    secret = "äGeheimwort-ü"
    codes = quote(secret) if "%" in around else repr(secret.encode())[2:-1]
    with within(Scope()):
        register_caller_secrets([secret])
        assert clean(around.format(codes)) == HIDDEN


@pytest.mark.parametrize(
    "secret",
    [
        "".join(f"{chr(97 + n % 26)}://x{n}" for n in range(50)) + "y" * 200_000 + "@@@@@@@@h",
        json.dumps({f"k{n}": "value number " * 100 for n in range(500)}),
        "password=" + "x" * 100_000 + ";" + "token=y" * 20_000,
    ],
    ids=["addresses", "document", "values"],
)
def test_the_parts_of_a_large_secret_are_bounded(secret: str) -> None:
    scope = Scope()
    scope.register_secrets([secret])
    assert sum(map(len, scope.forms)) <= 3 * len(secret) + 400_000


def test_a_secret_member_is_hidden_among_many_others() -> None:
    others = {f"k{n}": f"value number {n}" for n in range(500)}
    for indent in (None, 1):
        with within(Scope()):
            document = json.dumps({**others, "private_key": "hunter2secret99"}, indent=indent)
            register_caller_secrets([document])
            assert clean("bad hunter2secret99") == "bad ***"


def test_ports_and_other_numbers_stay() -> None:
    with within(Scope()):
        register_caller_secrets(["redis://:hunter2@redis:6379", "postgres://a:of-url@h:5432/db"])
        assert clean("6379 rows at 5432/db") == "6379 rows at 5432/db"


def test_a_new_token_does_not_take_the_earlier_ones_apart_again() -> None:
    redactor = Redactor()
    register = redactor.register_transient_secrets
    calls = [_calls(register, f"token-number-{number}-of-many") for number in range(60)]
    assert len(set(calls[1:])) == 1
    assert redactor.clean("it was token-number-1-of-many") == f"it was {HIDDEN}"


def test_a_callers_new_secret_does_not_take_the_earlier_ones_apart_again() -> None:
    scope = Scope()
    calls = [_calls(scope.register_secrets, f"secret-{number:02}-of-many") for number in range(60)]
    assert len(set(calls[1:])) == 1
    with within(scope):
        assert clean("it was secret-01-of-many") == f"it was {HIDDEN}"


def test_a_token_is_no_longer_hidden_after_many_newer_ones() -> None:
    redactor = Redactor()
    for number in range(MOST_TRANSIENT + 1):
        redactor.register_transient_secrets([f"token-number-{number}-of-many"])
    text = "token-number-0-of-many token-number-1-of-many"
    assert redactor.clean(text) == f"token-number-0-of-many {HIDDEN}"


def _calls(register: Callable[[list[str]], None], secret: str) -> int:
    """Return how many times functions of `app.secret_parts` are called to register a secret."""
    called = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal called
        called += event == "call" and frame.f_globals["__name__"] == "app.secret_parts"

    sys.setprofile(count)
    try:
        register([secret])
    finally:
        sys.setprofile(None)
    return called
