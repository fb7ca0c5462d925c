"""
Studies, series and instances from a DICOMweb server (PS3.18: QIDO-RS, WADO-RS).

    https://host/dicom-web/studies/1.2[/series/1.3[/instances/1.4]]   these
    https://host/dicom-web/studies?ModalitiesInStudy=CT               those that match

One instance at a time, as files in memory; answers are bounded, redirects are not followed. What is
asked for is not said in errors: an address may name a patient. The standard library's HTTP: the
usual client holds a whole study in memory (ADR 046).
"""

import http.client
import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from rtcodec.dicom.multipart import CHUNK_BYTES, read_boundary, read_parts
from rtcodec.errors import ConfigError, InputError
from rtcodec.tls import client_context

TIMEOUT_S: Final = 60.0
"Without a byte of an answer."

INSTANCE_MAX_BYTES: Final = (4 << 30) + (1 << 24)
"As much as the samples of a picture may take, and what is beside them."

SEARCH_MAX_BYTES: Final = 1 << 26
PAGE: Final = 1000
"Results asked for at a time."

RESULTS_MAX: Final = 100_000

_Row = TypeVar("_Row")
_UID: Final = re.compile(r"[0-9.]{1,64}")
_PLACE: Final = re.compile(
    r"(?P<base>.*)/studies"
    r"(?:/(?P<study>[0-9.]{1,64})"
    r"(?:/series/(?P<series>[0-9.]{1,64})"
    r"(?:/instances/(?P<instance>[0-9.]{1,64}))?)?)?/?"
)
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_NUMBER: Final = "00200013"


@dataclass(frozen=True, slots=True)
class WebPlace:
    """What a DICOMweb address names."""

    secure: bool
    host: str
    port: int | None
    base: str
    "Path before `/studies`."

    study: str | None
    series: str | None
    instance: str | None
    query: str
    "Of a search for studies; else empty."


@dataclass(frozen=True, slots=True)
class WebInstance:
    """One instance, by the identifiers of where it is."""

    study: str
    series: str
    instance: str


def read_web_address(text: str) -> WebPlace:
    """
    Take an address apart; see the module's head.

    Raises:
        ConfigError: If it is no address of studies, or holds a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError("the address cannot be read") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("an address with a password in it is seen by others: use a token")
    found = _PLACE.fullmatch(parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or found is None:
        raise ConfigError("a DICOMweb address ends in /studies/UID, or in /studies?KEY=VALUE")
    if (found["study"] is None) != bool(parts.query) or not text.isascii() or " " in text:
        raise ConfigError("a DICOMweb address has a study or a search, not both")
    return WebPlace(
        parts.scheme == "https", parts.hostname, port,
        found["base"], found["study"], found["series"], found["instance"], parts.query,
    )  # fmt: skip


class WebClient:
    """
    A connection to one server; a context manager.

    Raises:
        ConfigError: When made, if a token would go over a network in the clear.
    """

    def __init__(
        self, place: WebPlace, *, token: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """
        Args:
            place: What `instances` gives out.
            token: A bearer token, or a whole value of Authorization such as `Basic dTpw`.
            tls: Whom to trust; default: those that the system does.
        """
        if token and not place.secure and not _is_loopback(place.host):
            raise ConfigError("a token is sent over https only")
        self._place = place
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "rtcodec"}
        if token:
            self._headers["Authorization"] = token if " " in token else f"Bearer {token}"
        if place.secure:
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.host, place.port, timeout=TIMEOUT_S, context=tls or client_context()
            )
        else:
            self._connection = http.client.HTTPConnection(place.host, place.port, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def instances(self) -> list[WebInstance]:
        """
        Return what the address names, a series after the other, by instance number.

        Raises:
            InputError: If the server cannot be reached, refuses, has too many or answers badly.
        """
        place = self._place
        if place.study and place.series and place.instance:
            return [WebInstance(place.study, place.series, place.instance)]
        studies = [place.study] if place.study else self._search_studies()
        found: list[WebInstance] = []
        for study in studies:
            found += self._search_instances(study)
            if len(found) > RESULTS_MAX:
                raise InputError(f"{place.host}: more than {RESULTS_MAX} results")
        return found

    def retrieve(self, one: WebInstance, *, max_bytes: int = INSTANCE_MAX_BYTES) -> bytes:
        """
        Return an instance as a DICOM file, in whatever transfer syntax it is stored.

        Raises:
            InputError: As `instances`, or if it is larger than *max_bytes*.
        """
        path = f"/studies/{one.study}/series/{one.series}/instances/{one.instance}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._answer(path, accept) as answer:
            content_type = answer.headers.get("Content-Type", "")
            if content_type.lower().startswith("application/dicom"):
                return self._whole(answer, max_bytes)
            boundary = read_boundary(content_type)
            parts = read_parts(answer.read, boundary, part_max_bytes=max_bytes)
            part = next(parts, None)
            if part is None or next(parts, None) is not None:
                raise InputError("an answer has not one part")
            return part

    def _search_studies(self) -> list[str]:
        found = self._search("/studies", self._place.query, lambda row: _uid(row, _STUDY))
        return list(dict.fromkeys(found))

    def _search_instances(self, study: str) -> list[WebInstance]:
        series = self._place.series

        def read(row: dict[str, Any]) -> tuple[str, int, str]:
            return series or _uid(row, _SERIES), _number(row), _uid(row, _INSTANCE)

        path = f"/studies/{study}" + (f"/series/{series}" if series else "") + "/instances"
        found = sorted(set(self._search(path, "", read)))
        return [WebInstance(study, of, instance) for of, _, instance in found]

    def _search(self, path: str, query: str, read: Callable[[dict[str, Any]], _Row]) -> list[_Row]:
        """Return what *read* makes of all rows, page by page."""
        found: list[_Row] = []
        while len(found) <= RESULTS_MAX:
            words = [query] if query else []
            words += [f"limit={PAGE}", f"offset={len(found)}"]
            with self._answer(f"{path}?{'&'.join(words)}", "application/dicom+json") as answer:
                data = b"[]" if answer.status == 204 else self._whole(answer, SEARCH_MAX_BYTES)
                page = [read(row) for row in _rows(data)]
            if not page or page == found[-len(page) :]:  # servers that know no offset
                return found
            found += page
            if len(page) < PAGE:
                return found
        raise InputError(f"{self._place.host}: more than {RESULTS_MAX} results")

    @contextmanager
    def _answer(self, path: str, accept: str) -> Iterator[http.client.HTTPResponse]:
        """Give out a good answer; whatever goes wrong with it or while it is read is InputError."""
        host = self._place.host
        try:
            answer = self._ask(self._place.base + path, {**self._headers, "Accept": accept})
            if answer.status not in (200, 204):
                raise InputError(f"{_reason(answer.status)} ({answer.status})")
            yield answer
            if not answer.isclosed():  # something is left: the connection is of no more use
                self._connection.close()
        except InputError as error:
            self._connection.close()
            raise InputError(f"{host}: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None)
            raise InputError(f"{host}: {reason or type(error).__name__}") from None

    def _ask(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        is_used = self._connection.sock is not None
        try:
            self._connection.request("GET", path, headers=headers)
            return self._connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            self._connection.close()
            if not is_used:
                raise
        self._connection.request("GET", path, headers=headers)  # it was closed while it rested
        return self._connection.getresponse()

    @staticmethod
    def _whole(answer: http.client.HTTPResponse, limit: int) -> bytes:
        data = bytearray()
        while part := answer.read(
            CHUNK_BYTES
        ):  # memory grows with what came, not what is announced
            data += part
            if len(data) > limit:
                raise InputError(f"an answer is larger than {limit} bytes")
        return bytes(data)


def _reason(status: int) -> str:
    if status in (401, 403):
        return "refuses: a token is needed, or another one"
    if status == 404:
        return "has no such study, series or instance"
    return "sends on to elsewhere" if 300 <= status < 400 else "does not answer as it should"


def _rows(data: bytes) -> list[dict[str, Any]]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("an answer to a search is no list in JSON")
    return rows


def _first(row: dict[str, Any], tag: str) -> object:
    match row.get(tag):
        case {"Value": [value, *_]}:
            return value
    return None


def _uid(row: dict[str, Any], tag: str) -> str:
    value = _first(row, tag)
    if not isinstance(value, str) or not _UID.fullmatch(value):
        raise InputError("an answer to a search lacks an identifier")
    return value


def _number(row: dict[str, Any]) -> int:
    value = _first(row, _NUMBER)
    return value if isinstance(value, int) else 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
