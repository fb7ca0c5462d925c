"""
Every exception rtcodec raises on purpose.

* RtcodecError
    * BitstreamError            their bytes are wrong
        * Truncated             ... and more bytes could not be read
        * Corrupt               ... and no continuation can fix it
        * Unsupported           ... but a newer decoder might
    * InputError                their data is missing or is not what it should be
    * EngineError               our device failed or refused
        * Overloaded, EngineCrashed
    * ProtocolError             a rule of the session was broken
        * LocalProtocolError    by our caller
        * RemoteProtocolError   by the peer
    * ConfigError               the operator's settings are wrong

Messages are one line, lower case, without a trailing dot. `exit_code` is what
the command line ends with: 1 their data, 2 usage, 3 our failure.
"""

from typing import ClassVar, Self


class RtcodecError(Exception):
    """Anything rtcodec raises on purpose."""

    exit_code: ClassVar[int] = 3
    "Exit status of the command line when this error ends it."


class BitstreamError(RtcodecError):
    """
    Bytes from outside do not form a valid stream.

    Attributes:
        message: What is wrong, without the offset.
        offset: Where reading stopped, in bytes from the start of the unit.
        unheld_frame: Number modulo 65536 of a frame that is predicted while no picture is held to
            predict it from, for its sender to be told; else None.
    """

    exit_code = 1

    def __init__(self, message: str, *, offset: int, unheld_frame: int | None = None) -> None:
        super().__init__(f"{message} (at byte {offset})")
        self.message = message
        self.offset = offset
        self.unheld_frame = unheld_frame

    def shifted(self, by_bytes: int) -> Self:
        """Return the same error, its offset counted from *by_bytes* earlier."""
        offset = self.offset + by_bytes
        return type(self)(self.message, offset=offset, unheld_frame=self.unheld_frame)


class Truncated(BitstreamError):
    """The bytes end too early; a continuation could make them valid."""


class Corrupt(BitstreamError):
    """No continuation can make the bytes valid."""


class Unsupported(BitstreamError):
    """The bytes may be valid, but this reader does not know how to read them."""


class InputError(RtcodecError):
    """What the user gave is missing, unreadable or not what it should be."""

    exit_code = 1


class EngineError(RtcodecError):
    """The device that runs the networks failed or refused."""


class Overloaded(EngineError):
    """The engine has no room for this work now; later it may."""


class EngineCrashed(EngineError):
    """The engine ended unexpectedly; its states are lost."""


class ProtocolError(RtcodecError):
    """A rule of the session was broken."""


class LocalProtocolError(ProtocolError):
    """Our own caller broke a rule: log it and fix the caller."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule: drop the peer."""

    exit_code = 1


class ConfigError(RtcodecError):
    """The operator's settings are wrong."""

    exit_code = 2
