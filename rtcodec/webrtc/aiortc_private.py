"""
What the modules that mend aiortc share: prefixes of its private names, and how to replace one.
"""

from types import ModuleType
from typing import Final

from rtcodec.errors import EngineError

CONNECTION: Final = "_RTCPeerConnection"
RECEIVER: Final = "_RTCRtpReceiver"
SENDER: Final = "_RTCRtpSender"
TRANSPORT: Final = "_RTCDtlsTransport"

PORT: Final = "rtcodec_port"
"What a sender or receiver of aiortc has its port under."

TAKE: Final = "rtcodec_take"
"What a connection of aioice has the media's way past its queue under."


class UnsupportedAiortc(EngineError):
    """The aiortc that is installed is not the one this program was made for."""


def rebind(module: ModuleType, **values: object) -> None:
    """Replace names of *module*, all of which must exist."""
    for name, value in values.items():
        if name not in vars(module):
            raise UnsupportedAiortc(f"{module.__name__} has no {name}")
        setattr(module, name, value)
