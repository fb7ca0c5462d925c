"""Tokens and keys: what is let in, and what is refused for which reason."""

import argparse
import base64
import json
import time
from typing import Any

import jwt
import pytest

from rtcodec.errors import ConfigError
from rtcodec.session.lobby import Role
from rtcodec_server.access import (
    LEEWAY_S,
    BadToken,
    Grant,
    Keyring,
    check_room_pattern,
    read_keys,
)
from rtcodec_server.token_command import add_arguments, parse_duration, run

NOW_S = 1_800_000_000
SECRET = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
KEYS = Keyring({"a": SECRET})
CLAIMS = {"room": "r", "publish": True, "exp": NOW_S + 60}


def signed(
    claims: dict[str, Any], *, kid: object = "a", secret: str = SECRET, algorithm: str = "HS256"
) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, secret, algorithm=algorithm, headers=headers)


@pytest.mark.parametrize(
    "grant",
    [
        Grant(room="r", publish=True),
        Grant(room="team-*", subscribe=True),
        Grant(room="*", publish=True, subscribe=True, admin=True),
        Grant(room="ward", study=True, subject="dr.b@example"),
    ],
)
def test_what_was_signed_is_read(grant: Grant) -> None:
    token = KEYS.sign(grant, now_s=NOW_S, valid_s=60)
    assert KEYS.verify(token, now_s=NOW_S + 59) == grant


def test_a_grant_covers_its_room_or_those_that_begin_like_it() -> None:
    assert [Grant(room="a").covers(room) for room in ("a", "ab", "b")] == [True, False, False]
    assert [Grant(room="a*").covers(room) for room in ("a", "ab", "b")] == [True, True, False]
    assert Grant(room="*").covers("anything")


def test_a_grant_allows_its_roles_in_its_rooms_only() -> None:
    grant = Grant(room="a", publish=True)
    assert grant.allows(Role.PUBLISHER, "a")
    assert not grant.allows(Role.SUBSCRIBER, "a")
    assert not grant.allows(Role.PUBLISHER, "b")
    assert not Grant(room="*", admin=True).allows(Role.SUBSCRIBER, "a")
    assert Grant(room="*", admin=True).is_relay_admin
    assert not Grant(room="a*", admin=True).is_relay_admin
    assert not Grant(room="*", publish=True).is_relay_admin


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"room": "r", "publish": True}, "does not say when it expires"),
        (CLAIMS | {"study": "yes"}, "true or false"),
        (CLAIMS | {"sub": 7}, "subject"),
        (CLAIMS | {"sub": "a\nb"}, "subject"),
        (CLAIMS | {"sub": "a" * 129}, "subject"),
        (CLAIMS | {"exp": None}, "does not say when it expires"),
        (CLAIMS | {"exp": NOW_S - LEEWAY_S}, "has expired"),
        (CLAIMS | {"exp": True}, "exp is not a time"),
        (CLAIMS | {"exp": str(NOW_S + 60)}, "exp is not a time"),
        (CLAIMS | {"exp": float("nan")}, "exp is not a time"),
        (CLAIMS | {"exp": float("inf")}, "exp is not a time"),
        (CLAIMS | {"nbf": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        (CLAIMS | {"iat": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        (CLAIMS | {"iat": "now"}, "iat is not a time"),
        ({"publish": True, "exp": NOW_S + 60}, "names no room"),
        (CLAIMS | {"room": ["r"]}, "names no room"),
        (CLAIMS | {"room": ""}, "names no room"),
        (CLAIMS | {"room": "a*b"}, "names no room"),
        (CLAIMS | {"room": "../r"}, "names no room"),
        (CLAIMS | {"publish": 1}, "true or false"),
        (CLAIMS | {"admin": "true"}, "true or false"),
        (CLAIMS | {"aud": "somebody else"}, "for another audience"),
    ],
)
def test_a_token_with_such_claims_is_refused(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(BadToken, match=message):
        KEYS.verify(signed(claims), now_s=NOW_S)


def test_clocks_may_be_apart_a_little() -> None:
    late = CLAIMS | {"exp": NOW_S - LEEWAY_S + 1}
    early = CLAIMS | {"nbf": NOW_S + LEEWAY_S, "iat": NOW_S + LEEWAY_S}
    for claims in (late, early):
        assert KEYS.verify(signed(claims), now_s=NOW_S).room == "r"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "malformed"),
        ("x", "malformed"),
        ("a.b.c", "malformed"),
        ("ä.ö.ü", "malformed"),
        (signed(CLAIMS, secret=OTHER), "signature is wrong"),
        (signed(CLAIMS, kid="b"), "key is unknown"),
        (signed(CLAIMS, kid=""), "key is unknown"),
        (signed(CLAIMS, secret=SECRET * 2, algorithm="HS512"), "malformed"),
        (signed(CLAIMS)[:-9] + "A" + signed(CLAIMS)[-8:], "signature is wrong"),
    ],
)
def test_what_our_keys_did_not_sign_is_refused(token: str, message: str) -> None:
    with pytest.raises(BadToken, match=message) as refusal:
        KEYS.verify(token, now_s=NOW_S)
    assert token == "" or len(token) < 6 or token not in str(refusal.value)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE"])
def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for header in ({"alg": algorithm}, {"alg": algorithm, "kid": "a"}, {"kid": "a"}, {}):
        with pytest.raises(BadToken):
            KEYS.verify(f"{part(header)}.{part(CLAIMS)}.", now_s=NOW_S)


def test_with_several_keys_a_token_has_to_name_its_own() -> None:
    keys = Keyring({"a": SECRET, "b": OTHER})
    assert keys.verify(signed(CLAIMS, kid="b", secret=OTHER), now_s=NOW_S).room == "r"
    assert KEYS.verify(signed(CLAIMS, kid=None), now_s=NOW_S).room == "r"
    with pytest.raises(BadToken, match="key is unknown"):
        keys.verify(signed(CLAIMS, kid=None), now_s=NOW_S)
    with pytest.raises(BadToken, match="signature is wrong"):
        keys.verify(signed(CLAIMS, kid="a", secret=OTHER), now_s=NOW_S)
    with pytest.raises(ConfigError, match="one has to be named: a, b"):
        keys.sign(Grant(room="r"), now_s=NOW_S, valid_s=1)
    with pytest.raises(ConfigError, match="no key 'c', only a, b"):
        keys.sign(Grant(room="r"), now_s=NOW_S, valid_s=1, kid="c")
    assert keys.kids == ("a", "b")


def test_an_issuer_counts_only_where_one_is_set() -> None:
    keys = Keyring({"a": SECRET}, issuer="us")
    assert KEYS.verify(signed(CLAIMS | {"iss": "them"}), now_s=NOW_S).room == "r"
    assert keys.verify(keys.sign(Grant(room="r"), now_s=NOW_S, valid_s=9), now_s=NOW_S).room == "r"
    for claims in (CLAIMS, CLAIMS | {"iss": "them"}):
        with pytest.raises(BadToken, match="of another issuer"):
            keys.verify(signed(claims), now_s=NOW_S)


def test_keys_are_read_and_refused_without_being_shown() -> None:
    assert read_keys(f"a:{SECRET}, b : {OTHER} ") == {"a": SECRET, "b ": OTHER}
    for text in ("", "a", f"{SECRET}", f"a:{SECRET},,", f":{SECRET}"):
        with pytest.raises(ConfigError) as refusal:
            read_keys(text)
        assert SECRET not in str(refusal.value)
    with pytest.raises(ConfigError, match="key a is shorter than 32 bytes") as refusal:
        Keyring({"a": "short-secret"})
    assert "short-secret" not in str(refusal.value)


@pytest.mark.parametrize("pattern", ["r", "r*", "*", "team-1.x_*", "x" * 64 + "*"])
def test_a_pattern_is_a_room_or_a_beginning(pattern: str) -> None:
    assert check_room_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["", "**", "*a", "-a", "a b", "x" * 65])
def test_another_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="neither a room's name nor"):
        check_room_pattern(pattern)


# ------------------------------------------------------------------- the command


def made(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def test_the_command_prints_a_token_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", f"a:{SECRET}")
    assert made("--room", "r", "--publish", "--expires", "90s") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert KEYS.verify(out.strip(), now_s=time.time()) == Grant(room="r", publish=True)
    claims = jwt.decode(out.strip(), SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] == 90


def test_a_token_for_studies_says_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", f"a:{SECRET}")
    assert made("--room", "ward7", "--study", "--subject", "dr.b") == 0
    grant = KEYS.verify(capsys.readouterr().out.strip(), now_s=time.time())
    assert grant == Grant(room="ward7", study=True, subject="dr.b")
    assert not grant.allows(Role.SUBSCRIBER, "ward7")


def test_the_command_takes_keys_and_issuer_from_the_relays_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.delenv("RTCODEC_KEYS", raising=False)
    file = tmp_path / "relay.toml"
    file.write_text(f'issuer = "us"\n[keys]\na = "{SECRET}"\nb = "{OTHER}"\n')
    words = ("--room", "r*", "--subscribe", "--config", str(file), "--json")
    assert made(*words, "--key", "b") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["room"] == "r*"
    assert document["subscribe"] is True
    keys = Keyring({"b": OTHER}, issuer="us")
    assert keys.verify(document["token"], now_s=time.time()).allows(Role.SUBSCRIBER, "rr")
    with pytest.raises(ConfigError, match="several keys, one has to be named: a, b"):
        made(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--room", "r"], "allows nothing"),
        (["--publish"], "--room is needed"),
        (["--study"], "--room is needed"),
        (["--room", "r", "--study", "--subject", ""], "a subject is 1 to 128"),
        (["--room", "a b", "--publish"], "neither a room's name"),
        (["--room", "r", "--publish", "--expires", "soon"], "'soon' is not a time"),
        (["--room", "r", "--publish", "--expires", "0"], "'0' is not a time"),
        (["--room", "r", "--publish", "--key", "z"], "no key 'z', only a"),
    ],
)
def test_the_command_refuses(
    monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setenv("RTCODEC_KEYS", f"a:{SECRET}")
    with pytest.raises(ConfigError, match=message):
        made(*words)


def test_without_keys_the_command_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RTCODEC_KEYS", raising=False)
    with pytest.raises(ConfigError, match="no keys: set RTCODEC_KEYS"):
        made("--admin")


def test_durations_have_a_unit_or_are_seconds() -> None:
    assert [parse_duration(text) for text in ("90", "90s", "30m", "1h", "7d")] == [
        90, 90, 1800, 3600, 604_800,
    ]  # fmt: skip
