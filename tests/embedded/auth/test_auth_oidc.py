"""AUTH_MODE=oidc, over HTTP, with a real issuer on 127.0.0.1."""

import base64
import hashlib
import hmac
import json
import time
from uuid import uuid4

import pytest
import structlog
from joserfc import jwt

import app.auth.oidc as oidc
from app.auth.oidc import Issuer
from app.config import AuthMode
from tests.harnesses.gateway import bearer, gateway_harness
from tests.oidc_issuer import AUDIENCE, issuing, new_key

BAD_SUBJECTS = (
    *("anonymous", "Anonymous", "unknown", "UNKNOWN", "others", "airbyte", "Airbyte"),
    *("key:api-key", "key:0123456789ab:ci", "KEY:ci", "key:"),
    # Full-width letters, a long s, and a full-width colon: NFKC turns them into plain characters.
    *("ａｎｏｎｙｍｏｕｓ", "anonymouſ", "key：api-key"),
    *("", " ", " ada", "ada ", "anonymous ", "\u00a0ada", "\u3000"),
    *("a\nb", "a\x00b", "a\tb", "a\x7fb", "a\u200bb", "a\u202eb", "a\u2028b"),
    *("anonymous\u3164", "alice\u034f", "k\ufe0fey:0123456789ab:bob", "\u2800"),
    *("x" * 256, "x" * 9000),
)
GOOD_SUBJECTS = (
    *("ada", "auth0|5f7c8ec7c33c6c004bbafe82", "ada@example.com", "Zoë", "李", "x" * 255),
    *("CN=Ada Lovelace, O=Example", "anonymous2", "my key:1", "keyring", "unknown-user"),
)
READS = "/api/v1/dbt/transformations"


@pytest.fixture(scope="module")
def issuer():
    with issuing() as issuer:
        yield issuer


def settings_for(issuer, **more):
    return {
        "auth_mode": AuthMode.OIDC,
        "oidc_issuer": issuer.url,
        "oidc_audience": AUDIENCE,
        "oidc_roles_claim": "realm.roles",
        "oidc_role_scopes": {
            "analyst": ("runs:read",),
            "operator": ("admin",),
            **{scope: (scope,) for scope in ("dbt:read", "runs:write")},
        },
        **more,
    }


@pytest.fixture(scope="module")
async def closed(lakehouse, issuer):
    async with gateway_harness(lakehouse.settings, **settings_for(issuer)) as closed:
        yield closed


def encoded(part: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def by_hmac(head: dict, claims: dict, secret: bytes) -> str:
    """Sign by hand, because the library refuses to sign with a public key."""
    signed = f"{encoded(head)}.{encoded(claims)}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def hostile(issuer) -> dict[str, str]:
    now = int(time.time())
    kid, key = next(iter(issuer.keys.items()))
    good = issuer.token()
    head, body, signature = good.split(".")
    none = encoded({"alg": "none", "kid": kid})
    admin = encoded(issuer.claims(realm={"roles": ["admin"]}))
    embedded = new_key("mine")
    return {
        "alg none": f"{none}.{body}.",
        "alg None": f"{encoded({'alg': 'None', 'kid': kid})}.{body}.",
        "alg none with a signature": f"{none}.{body}.{signature}",
        "HS256 with the public key": by_hmac(
            {"alg": "HS256", "kid": kid}, issuer.claims(), key.as_pem(private=False)
        ),
        "changed claims": f"{head}.{admin}.{signature}",
        "no signature": f"{head}.{body}.",
        "wrong issuer": issuer.token(iss="https://evil.example.com"),
        "issuer with a slash more": issuer.token(iss=issuer.url + "/"),
        "wrong audience": issuer.token(aud="another"),
        "no audience": issuer.token(aud=None),
        "expired": issuer.token(exp=now - 31),
        "no expiry": issuer.token(exp=None),
        "expiry that is no number": issuer.token(exp="tomorrow"),
        "not yet valid": issuer.token(nbf=now + 60),
        "issued later": issuer.token(iat=now + 3600),
        "no subject": issuer.token(sub=None),
        **{f"subject {sub!r:.40}": issuer.token(sub=sub) for sub in BAD_SUBJECTS},
        "unknown key": issuer.token(key=new_key("unknown"), header={"kid": "unknown"}),
        "unknown key under a known name": issuer.token(key=new_key(kid)),
        "key in the header": issuer.token(
            key=embedded, header={"jwk": embedded.as_dict(private=False)}
        ),
        "algorithm that is not allowed": jwt.encode(
            {"alg": "PS256", "kid": kid}, issuer.claims(), key, algorithms=["PS256"]
        ),
        "unknown critical header": f"{encoded({'alg': 'RS256', 'kid': kid, 'crit': ['x'], 'x': 1})}"
        f".{body}.{signature}",
        "token of a logout": issuer.token(header={"typ": "logout+jwt"}),
        "proof of possession": issuer.token(header={"typ": "dpop+jwt"}),
        "kid that is no text": f"{encoded({'alg': 'RS256', 'kid': {'a': 1}})}.{body}.{signature}",
        "header that is a text": f"{encoded('alg')}.e30.eHh4",
        "two parts": f"{head}.{body}",
        "no JSON": "a.b.c",
        "nothing": "..",
        "deep": f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.{body}.{signature}",
    }


async def test_hostile_tokens_are_refused(closed, issuer):
    for header in ({}, {"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": "application/at+jwt"}):
        token = issuer.token(header=header)
        assert (await closed.client.get(READS, headers=bearer(token))).status_code == 200
    tokens = hostile(issuer)
    answers = {
        name: await closed.client.get(READS, headers=bearer(token))
        for name, token in tokens.items()
    }
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
        tokens, 401
    )
    for answer in answers.values():
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="asgard", error="invalid_token"'
    assert (await closed.client.get(READS)).status_code == 401


async def test_an_answer_does_not_repeat_the_kid_of_a_token(closed, issuer):
    token = issuer.token(key=new_key("unknown"), header={"kid": "made-up-name"})
    answer = await closed.client.get(READS, headers=bearer(token))
    assert (
        answer.json()["detail"]
        == "The token was refused: its kid does not name a key of the issuer."
    )


@pytest.mark.parametrize(
    ("mapped", "role", "granted"),
    [
        ({}, "admin", {"admin"}),
        ({}, "other", set()),
        ({"other": ("runs:read",)}, "other", {"runs:read"}),
        ({"other": ("runs:read",)}, "admin", set()),
    ],
)
def test_a_role_grants_the_scope_of_its_name_only_without_a_map(mapped, role, granted):
    issuer = Issuer("https://example.com", AUDIENCE, ("RS256",), 30, "roles", mapped)
    assert set(issuer.scopes_of(role)) == granted


async def test_a_valid_subject_is_used_unchanged(closed, issuer):
    path = f"/api/v1/runs/{uuid4().hex}/cancel"
    for sub in GOOD_SUBJECTS:
        headers = bearer(issuer.token(sub=sub, realm={"roles": ["runs:write"]}))
        answer = await closed.client.post(path, headers=headers)
        assert answer.status_code == 404, sub
    seen = {record.subject for record in await closed.audit.all() if record.path == path}
    assert seen == set(GOOD_SUBJECTS)


async def test_the_log_gives_the_reason_for_a_refused_subject(closed, issuer):
    with structlog.testing.capture_logs() as logged:
        answer = await closed.client.get(READS, headers=bearer(issuer.token(sub="key:api-key")))
    assert answer.status_code == 401
    assert "its sub is a name that Asgard reserves" in answer.json()["detail"]
    (event,) = [entry for entry in logged if entry["event"] == "token_subject_refused"]
    assert (event["issuer"], event["subject"]) == (issuer.url, "'key:api-key'")
    assert event["why"] == "is a name that Asgard reserves"


async def test_roles_grant_scopes(closed, issuer):
    async def statuses(**claims) -> list[int]:
        headers = bearer(issuer.token(**claims))
        paths = (READS, "/api/v1/runs", "/api/v1/audit")
        return [(await closed.client.get(path, headers=headers)).status_code for path in paths]

    assert await statuses() == [200, 200, 403]
    assert await statuses(realm={"roles": ["analyst"]}) == [403, 200, 403]
    assert await statuses(realm={"roles": "dbt:read other"}) == [200, 403, 403]
    assert await statuses(realm={"roles": ["operator"]}) == [200, 200, 200]
    assert await statuses(realm={"roles": ["admin", "runs:read"]}) == [403, 403, 403]
    assert await statuses(realm=None) == [403, 403, 403]
    assert await statuses(realm="roles") == [403, 403, 403]
    assert await statuses(aud=[AUDIENCE, "another"]) == [200, 200, 403]


async def test_a_small_clock_difference_is_accepted(closed, issuer):
    now = int(time.time())
    for claims in ({"exp": now - 10}, {"nbf": now + 10}, {"iat": now + 10}):
        answer = await closed.client.get(READS, headers=bearer(issuer.token(**claims)))
        assert answer.status_code == 200, claims


async def test_a_new_key_of_the_issuer_is_fetched_and_unknown_ones_cause_few_requests(
    lakehouse, monkeypatch
):
    monkeypatch.setattr(oidc, "REQUEST_INTERVAL", 0.0)
    with issuing() as issuer:
        async with gateway_harness(lakehouse.settings, **settings_for(issuer)) as closed:

            async def status(token: str) -> int:
                return (await closed.client.get(READS, headers=bearer(token))).status_code

            before = issuer.token()
            assert await status(before) == 200
            issuer.rotate("second", "EC")
            assert await status(issuer.token()) == 200
            assert await status(before) == 401
            monkeypatch.setattr(oidc, "REQUEST_INTERVAL", 60.0)
            asked = issuer.asked
            for number in range(20):
                strange = issuer.token(key=new_key("s", "EC"), header={"kid": f"s{number}"})
                assert await status(strange) == 401
            assert issuer.asked == asked
            monkeypatch.setattr(oidc, "REQUEST_INTERVAL", 0.0)
            monkeypatch.setattr(oidc, "KEYS_MAX_AGE", 0.0)
            issuer.is_broken = True
            assert await status(issuer.token()) == 200


async def test_an_unreachable_issuer_is_a_503(lakehouse):
    with issuing() as issuer:
        issuer.is_broken = True
        async with gateway_harness(lakehouse.settings, **settings_for(issuer)) as closed:
            answer = await closed.client.get(READS, headers=bearer(issuer.token()))
    assert (answer.status_code, answer.json()["dependency"]) == (503, "oidc")


async def test_another_issuers_discovery_document_is_not_trusted(lakehouse):
    with issuing() as issuer:
        named = issuer.url.replace("127.0.0.1", "localhost")
        given = settings_for(issuer, oidc_issuer=named)
        async with gateway_harness(lakehouse.settings, **given) as closed:
            token = bearer(issuer.token(iss=named))
            answer = await closed.client.get(READS, headers=token)
    assert answer.status_code == 503
    assert "an issuer other than OIDC_ISSUER" in answer.json()["detail"]
