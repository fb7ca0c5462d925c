"""
A DICOM node that takes instances (C-STORE) and keeps them as exact pictures.

    modality ──C-STORE──▶ in memory ─▶ read, without the patient ─▶ coded and proven ─▶ .rtc

Nothing is written of an instance before that. "Success" is answered when the picture was written,
decoded again and compared. Nothing that an instance says of a patient is logged or answered;
pynetdicom, which logs what it reads, is silenced.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rtcodec.codec.exact_files import encode_picture, summary
from rtcodec.codec.exact_study import picture_name
from rtcodec.console import StageTimes
from rtcodec.dicom.codecs import FUNCTIONS
from rtcodec.dicom.picture import NoSamplesError
from rtcodec.dicom.privacy import NewUids
from rtcodec.dicom.reader import parse_dicom
from rtcodec.errors import ConfigError, RtcodecError
from rtcodec.tls import load_own, load_trusted

ASSOCIATIONS_MAX: Final = 8
SILENCE_S: Final = 60.0
"After which an association that says nothing ends."

SUCCESS: Final = 0x0000
REFUSED: Final = 0xC001  # PS3.4 B.2.3: cannot understand
NO_PICTURE: Final = 0xC002
FAILED: Final = 0xA700  # out of resources

SYNTAXES: Final = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", *FUNCTIONS,
)  # fmt: skip
"Transfer syntaxes whose samples are decoded, those that cost nothing first."


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """Who may send, and what is done with it."""

    output: Path
    "Folder of the pictures; exists."

    host: str
    port: int
    "0: any that is free."

    title: str
    "Of this node; callers must call it by that."

    callers: tuple[str, ...]
    "Titles of those who may send; none: everybody."

    max_bytes: int
    "Of all that is being received at a time."

    max_error: int
    keep_identity: bool
    allow_burned_in: bool

    tls: ssl.SSLContext | None = None
    "Of `receiver_context`; None: what is sent can be read on its way."


class _LateHandshake(ssl.SSLContext):
    """Leaves the handshake to an association's first read: the silent must not keep others out."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap an accepted connection."""
        options["do_handshake_on_connect"] = False
        return super().wrap_socket(*args, **options)


def receiver_context(cert: Path, key: Path, callers_ca: Path | None) -> ssl.SSLContext:
    """
    Return a context of TLS for a receiver.

    Args:
        cert: PEM file of its certificate and chain.
        key: PEM file of its key.
        callers_ca: PEM file of those who sign the certificates of callers, which callers then have
            to show; None: nobody is asked for one.

    Raises:
        ConfigError: If a file cannot be used.
    """
    context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_own(context, cert, key)
    if callers_ca is not None:
        load_trusted(context, callers_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class DicomReceiver:
    """A node that listens from `start` to `close`; instances are coded one at a time."""

    def __init__(self, options: ReceiverOptions, say: Callable[[str], None]) -> None:
        """
        Args:
            options: What to do.
            say: Gets a line for each instance, from threads of this node.
        """
        self._options = options
        self._say = say
        self._uids = NewUids()
        self._turn = threading.Lock()
        self._received: dict[int, int] = {}
        self._connections: dict[int, tuple[Any, socket.socket]] = {}
        self._server: Any = None
        self.n_stored = 0
        self.n_refused = 0

    def start(self) -> int:
        """
        Listen, and return the port.

        Raises:
            ConfigError: If pynetdicom is not installed.
            OSError: If the address cannot be listened at.
        """
        try:
            from pynetdicom import AE, AllStoragePresentationContexts, evt
        except ImportError:
            raise ConfigError("this needs pynetdicom: pip install 'rtcodec[medical]'") from None
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
        options = self._options
        node = AE(ae_title=options.title)
        node.maximum_associations = ASSOCIATIONS_MAX
        node.acse_timeout = node.dimse_timeout = node.network_timeout = SILENCE_S
        node.require_called_aet = True
        node.require_calling_aet = list(options.callers)
        for context in AllStoragePresentationContexts:
            node.add_supported_context(str(context.abstract_syntax), list(SYNTAXES))
        node.add_supported_context("1.2.840.10008.1.1", list(SYNTAXES[:2]))  # C-ECHO
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._open),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._count),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        self._server = node.start_server(
            (options.host, options.port),
            block=False,
            evt_handlers=handlers,
            ssl_context=options.tls,
        )
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more and end associations."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server = None
        for association, connection in list(self._connections.values()):
            if association.is_established:
                association.abort()
            with suppress(OSError):  # pynetdicom cannot abort what has not begun
                connection.shutdown(socket.SHUT_RDWR)

    def _open(self, event: Any) -> None:
        """Let a handshake or a message that stops halfway end, too: pynetdicom waits for ever."""
        connection: socket.socket = event.assoc.dul.socket.socket
        connection.settimeout(SILENCE_S)
        self._connections[id(event.assoc)] = event.assoc, connection

    def _closed(self, event: Any) -> None:
        """Close what the caller has reset, too, which pynetdicom leaves open."""
        self._forget(event)
        _, connection = self._connections.pop(id(event.assoc), (None, None))
        if connection is not None:
            connection.close()

    def _count(self, event: Any) -> None:
        """End an association with which more would be in memory than is allowed."""
        items = getattr(event.pdu, "presentation_data_value_items", ())
        size = sum(len(item.presentation_data_value) for item in items)
        number = id(event.assoc)
        self._received[number] = self._received.get(number, 0) + size
        if sum(list(self._received.values())) > self._options.max_bytes:
            self._say(f"{_caller(event)}: more than {self._options.max_bytes} bytes, ended")
            self.n_refused += 1
            event.assoc.abort(block=False)

    def _forget(self, event: Any) -> None:
        self._received.pop(id(event.assoc), None)

    def _store(self, event: Any) -> Any:
        """Keep one instance; return a status of C-STORE (PS3.4 B.2.3)."""
        try:
            with self._turn:
                report = self._encode(event.encoded_dataset())
        except NoSamplesError:
            return self._refuse(event, NO_PICTURE, "has no samples")
        except RtcodecError as error:
            return self._refuse(event, REFUSED, str(error))
        except Exception as error:  # its words may be the instance's
            return self._refuse(event, FAILED, type(error).__name__)
        finally:
            self._forget(event)
        self.n_stored += 1
        self._say(f"{_caller(event)}: {summary(report)}")
        return SUCCESS

    def _encode(self, data: bytes) -> dict[str, Any]:
        options = self._options
        picture = parse_dicom(
            data,
            keep_identity=options.keep_identity,
            allow_burned_in=options.allow_burned_in,
            uids=self._uids,
        )
        return encode_picture(
            picture,
            options.output / picture_name(picture),
            max_error=options.max_error,
            times=StageTimes(),
            title="",
        )

    def _refuse(self, event: Any, status: int, reason: str) -> Any:
        import pydicom

        self.n_refused += 1
        self._say(f"{_caller(event)}: refused, {reason}")
        answer = pydicom.Dataset()
        answer.Status = status
        answer.ErrorComment = reason[:64]
        return answer


def _caller(event: Any) -> str:
    """Return the title of who called, as it may be printed."""
    return ascii(str(event.assoc.requestor.ae_title).strip())
