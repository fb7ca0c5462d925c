"""
Who may do what: tokens that name a room and a role, and the keys that sign them.

    {"alg": "HS256", "kid": "main"}
    {"room": "team-*", "publish": true, "exp": 1767225600}      # RFC 7519

No I/O and no clock. Nothing here puts a token or a secret into a message: what
`BadToken` says may be shown to anybody.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from rtcodec.errors import ConfigError, RtcodecError
from rtcodec.session.lobby import Role

ALGORITHM: Final = "HS256"
SECRET_MIN_BYTES: Final = 32  # RFC 7518 3.2: at least as long as the hash
LEEWAY_S: Final = 30
"How far the clocks of relay and issuer may be apart."

CLAIMS: Final = ("publish", "subscribe", "admin", "record", "study")
"What a token may allow, beside saying where."

_KID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SUBJECT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\*?|\*")


class BadToken(RtcodecError):
    """A token is malformed, not ours, or not valid now."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token allows."""

    room: str
    "A room's name, or the beginning of names and `*`; bounds everything below."

    publish: bool = False
    subscribe: bool = False

    admin: bool = False
    "Whether it may list and end the rooms; with `*` also drain the relay and read its metrics."

    record: bool = False
    "Whether it may record the rooms, list recordings of them and play those there; admins may."

    study: bool = False
    "Whether it may see the studies of the rooms; nothing else allows that."

    subject: str | None = None
    "Whose it is, for the audit of studies."

    def covers(self, room: str) -> bool:
        """Return whether *room* is one of the token's."""
        if self.room.endswith("*"):
            return room.startswith(self.room[:-1])
        return room == self.room

    def allows(self, role: Role, room: str) -> bool:
        """Return whether somebody may be in *room* as *role*."""
        may = self.publish if role is Role.PUBLISHER else self.subscribe
        return may and self.covers(room)

    @property
    def is_relay_admin(self) -> bool:
        """Whether it may do what concerns all rooms."""
        return self.admin and self.room == "*"


def check_room_pattern(pattern: str) -> str:
    """
    Return *pattern* if it can be a token's room.

    Raises:
        ConfigError: If it cannot.
    """
    if not _PATTERN.fullmatch(pattern):
        raise ConfigError(f"{pattern!r} is neither a room's name nor its beginning and '*'")
    return pattern


def check_subject(subject: object) -> bool:
    """Return whether *subject* can be a token's: up to 128 characters of text."""
    return isinstance(subject, str) and _SUBJECT.fullmatch(subject) is not None


class Keyring:
    """Named secrets. One of them signs a token, and only that one can vouch for it."""

    def __init__(self, secrets: Mapping[str, str], *, issuer: str | None = None) -> None:
        """
        Args:
            secrets: Key id -> secret, at least one.
            issuer: What the claim `iss` must be; None accepts any and none.

        Raises:
            ConfigError: If an id or a secret cannot be used.
        """
        check_keys(secrets)
        assert secrets
        self._secrets = dict(secrets)
        self._issuer = issuer

    @property
    def kids(self) -> tuple[str, ...]:
        """Ids of the keys, in order."""
        return tuple(self._secrets)

    def sign(self, grant: Grant, *, now_s: int, valid_s: int, kid: str | None = None) -> str:
        """
        Make a token.

        Args:
            grant: What it allows.
            now_s: Unix time.
            valid_s: How long it is valid from then.
            kid: Key to sign with; may be left out where there is only one.

        Raises:
            ConfigError: If the key is unknown, or has to be named.
        """
        if kid is None and len(self._secrets) > 1:
            raise ConfigError(f"several keys, one has to be named: {', '.join(self._secrets)}")
        kid = next(iter(self._secrets)) if kid is None else kid
        if kid not in self._secrets:
            raise ConfigError(f"no key {kid!r}, only {', '.join(self._secrets)}")
        claims: dict[str, Any] = {"room": grant.room, "iat": now_s, "exp": now_s + valid_s}
        claims |= {name: True for name in CLAIMS if getattr(grant, name)}
        if grant.subject is not None:
            claims["sub"] = grant.subject
        if self._issuer is not None:
            claims["iss"] = self._issuer
        return jwt.encode(claims, self._secrets[kid], algorithm=ALGORITHM, headers={"kid": kid})

    def verify(self, token: str, *, now_s: float) -> Grant:
        """
        Read a token that somebody sent.

        Args:
            token: What followed `Bearer`.
            now_s: Unix time.

        Raises:
            BadToken: If it is not one of ours, or not valid at *now_s*.
        """
        claims = self._claims(token)
        _check_times(claims, now_s)
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise BadToken("the token is of another issuer")
        room = claims.get("room")
        if not isinstance(room, str) or not _PATTERN.fullmatch(room):
            raise BadToken("the token names no room")
        may = {name: claims.get(name, False) for name in CLAIMS}
        if not all(isinstance(value, bool) for value in may.values()):
            raise BadToken("publish, subscribe, admin, record and study are true or false")
        subject = claims.get("sub")
        if subject is not None and not check_subject(subject):
            raise BadToken("the token's subject is none")
        return Grant(room=room, subject=subject, **may)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if kid is None and len(self._secrets) == 1:
                kid = next(iter(self._secrets))
            secret = self._secrets.get(kid) if isinstance(kid, str) else None
            if secret is None:
                raise BadToken("the token's key is unknown")
            # Times are checked below, by the clock that is an argument. A token with an
            # audience is for somebody else: RFC 7519 4.1.3.
            unchecked = ("exp", "nbf", "iat", "iss", "sub", "jti")
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                options={f"verify_{name}": False for name in unchecked},  # type: ignore[arg-type]
            )
        except jwt.InvalidSignatureError:
            raise BadToken("the token's signature is wrong") from None
        except jwt.InvalidAudienceError:
            raise BadToken("the token is for another audience") from None
        except (jwt.PyJWTError, UnicodeError, ValueError, RecursionError):  # may quote the token
            raise BadToken("the token is malformed") from None
        return claims


def check_keys(secrets: Mapping[str, str]) -> None:
    """
    Check ids and secrets.

    Raises:
        ConfigError: Naming the key, never the secret.
    """
    for kid, secret in secrets.items():
        if not _KID.fullmatch(kid):
            raise ConfigError(f"key id {kid[:16]!r} is not 1 to 64 letters, digits, '_', '.', '-'")
        if len(secret.encode()) < SECRET_MIN_BYTES:
            raise ConfigError(f"the secret of key {kid} is shorter than {SECRET_MIN_BYTES} bytes")


def read_keys(text: str) -> dict[str, str]:
    """
    Read `kid:secret,kid:secret`.

    Raises:
        ConfigError: If it is something else; the message quotes none of it.
    """
    secrets: dict[str, str] = {}
    for number, part in enumerate(text.split(","), 1):
        kid, colon, secret = part.strip().partition(":")
        if not colon or not kid:
            raise ConfigError(f"key {number} is not KID:SECRET")
        if kid in secrets:
            raise ConfigError(f"key {number} has the id of an earlier one")
        secrets[kid] = secret.strip()
    return secrets


def _check_times(claims: Mapping[str, Any], now_s: float) -> None:
    exp, nbf, iat = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if exp is None:
        raise BadToken("the token does not say when it expires")
    if now_s >= exp + LEEWAY_S:
        raise BadToken("the token has expired")
    if any(at_s is not None and now_s < at_s - LEEWAY_S for at_s in (nbf, iat)):
        raise BadToken("the token is not valid yet")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # Python's reader of JSON knows NaN and Infinity, which no token shall expire at.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadToken(f"the token's {name} is not a time")
    return value
