"""
Send frames of latents as messages of a data channel, for pages whose browser hands them no frames.

A message is a payload of X-RTC-LATENT (`packet/payload`), shorter than those of RTP. There is no
pacing and no transport feedback: SCTP's window decides when a message leaves.
"""

from collections.abc import Callable
from typing import Any, Final

from rtcodec.packet.channel_rate import ChannelRate
from rtcodec.packet.packetizer import CutFrame, write_payload_head
from rtcodec.webrtc.aiortc_data import MessageChannel
from rtcodec.webrtc.clock import monotonic_us
from rtcodec.webrtc.outlet import OnLeft

SILENCE_US: Final = 5_000_000
"""A page that has said nothing for so long gets nothing: it sleeps, and browsers keep what comes
for it meanwhile. Pages say something every second."""


class DataPort:
    """Lets one frame after the other out; belongs to the event loop."""

    def __init__(self, channel: MessageChannel, *, on_ready: Callable[[], None]) -> None:
        """
        Wait for the channel.

        Args:
            channel: Of one peer, whose `on_open` and `on_sent` are heard here.
            on_ready: Called whenever the next frame can be sent.
        """
        self._channel = channel
        self._rate = ChannelRate()
        self._leaving: tuple[OnLeft, int, int] | None = None  # and bytes, and since when
        self._on_ready = on_ready
        channel.on_open = on_ready
        channel.on_sent = self._end_frame

    @property
    def is_running(self) -> bool:
        """Whether a frame can be sent now: the one before has left, and the page is awake."""
        heard_us = self._channel.last_heard_us
        is_awake = heard_us is not None and monotonic_us() - heard_us < SILENCE_US
        return is_awake and self._channel.is_open and self._leaving is None

    @property
    def media_bps(self) -> int | None:
        """What the channel carries, bits per second; None where it has room to spare."""
        since_us = None if self._leaving is None else self._leaving[2]
        return self._rate.bps(now_us=monotonic_us(), busy_since_us=since_us)

    def report_way(self) -> dict[str, Any] | None:
        """Return None: there is no transport feedback."""
        return None

    def send(self, frame: CutFrame, *, delivery: int, pts: int, on_left: OnLeft) -> None:
        """
        Send one frame; the next when that has left.

        Args:
            frame: Its payloads.
            delivery: Frames sent to this receiver before, modulo 2**16.
            pts: Not used: nothing is paced.
            on_left: Called when the channel has let its last message out, or will not.

        Raises:
            ConnectionError: If the channel is not open, or its peer acknowledges nothing.
        """
        assert self._leaving is None  # `is_running`
        for payload in frame.payloads:
            self._channel.send(write_payload_head(payload, delivery) + payload.rest)
        self._leaving = on_left, frame.payload_bytes, monotonic_us()

    def close(self) -> None:
        """Send nothing more; a frame that has not left is reported."""
        self._on_ready = lambda: None
        self._end_frame(has_left=False)

    def _end_frame(self, *, has_left: bool = True) -> None:
        if self._leaving is None:
            return
        on_left, n_bytes, began_us = self._leaving
        self._leaving = None
        if has_left:
            self._rate.note(n_bytes, began_us=began_us, ended_us=monotonic_us())
        on_left(has_left)
        self._on_ready()
