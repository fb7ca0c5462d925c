"""
What one subscriber saw, added up, and what it would hold if it decoded.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rtcodec.bitstream.packet import Packet, read_packet, state_slot
from rtcodec.errors import BitstreamError
from rtcodec.quality import PlanePsnr
from rtcodec.stats import FreezeCounters
from rtcodec_client.load.tally import Tally


@dataclass(slots=True)
class SubscriberFigures:
    """What one subscriber saw."""

    units: int = 0
    "Frames of which something came."

    damaged: int = 0
    "Of those, frames with a part missing."

    decoded: int = 0
    unstamped: int = 0
    "Decoded pictures whose barcode could not be read."

    size_bytes: int = 0
    "Of bitstream packets."

    lost: Counter[str] = field(default_factory=Counter)
    "Reason -> frames that were sent to us and did not come, or came to nothing."

    soak_units: int = 0
    soak_bytes: int = 0
    freezes: FreezeCounters = field(default_factory=FreezeCounters)
    "Within the soak: of pictures where they are decoded, of frames that came elsewhere."

    latency: Tally = field(default_factory=Tally)
    "`total` where pictures are decoded, `arrive` elsewhere, within the soak."

    gap: Tally = field(default_factory=Tally)
    "Between arrivals, within the soak."

    psnr_db: list[PlanePsnr] = field(default_factory=list)
    "Of samples within the soak, against what the publisher drew."

    def report(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "units": self.units,
            "damaged": self.damaged,
            "decoded": self.decoded,
            "unstamped": self.unstamped,
            "bytes": self.size_bytes,
            "lost": sum(self.lost.values()),
            "lost_by_reason": dict(self.lost),
            "soak_units": self.soak_units,
            "soak_bytes": self.soak_bytes,
            "freezes": self.freezes.freeze_count,
            "frozen_ms": self.freezes.total_freeze_us / 1000,
            "longest_gap_ms": self.freezes.longest_us / 1000,
            "latency_ms": self.latency.report(),
            "gap_ms": self.gap.report(),
            "psnr_source": [[p.y, p.u, p.v] for p in self.psnr_db],
        }


class HeldFrames:
    """
    Which states a decoder would hold that got these frames, without decoding them.

    A frame is held if it came whole and what it is predicted from is held.
    """

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # slot -> state id

    def follow(self, data: bytes, *, is_complete: bool) -> tuple[int, bool] | None:
        """
        Take the next frame.

        Args:
            data: Its first packet that came.
            is_complete: Whether all of it came.

        Returns:
            Its number, modulo 65536, and whether it is held; None if the packet says nothing.
        """
        try:
            packet = read_packet(data)
        except BitstreamError:
            return None
        if not isinstance(packet, Packet):
            return None
        reference, store = packet.header.reference, packet.header.store
        has_reference = reference is None or self._held.get(state_slot(reference)) == reference
        is_held = is_complete and has_reference
        if store is not None:
            if is_held:
                self._held[state_slot(store)] = store
            else:
                self._held.pop(state_slot(store), None)
        return packet.header.frame_number, is_held
