"""What a viewer saw of a call, and what it cost."""

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from rtcodec.codec.damage import Shown
from rtcodec.evaluation.clip import Clip
from rtcodec.quality import picture_psnr
from rtcodec.stats import FreezeCounters
from rtcodec.timebase import US_PER_S
from rtcodec.types import Planes

_NOTHING = 128  # samples of a screen before the first picture


@dataclass(slots=True)
class CallOutcome:
    """Figures of one call."""

    seconds: float
    psnr_db: list[float] = field(default_factory=list)
    "Of what was on the screen when each frame was due, against that frame; 6:1:1."

    clean: list[bool] = field(default_factory=list)
    "Whether that was the frame itself, exactly as it was sent."

    recovery_us: list[int] = field(default_factory=list)
    "How long each run of frames that were not took."

    freezes: FreezeCounters = field(default_factory=FreezeCounters)

    sent_bytes: int = 0
    "RTP headers and payloads, retransmissions included."

    resent_bytes: int = 0
    back_bytes: int = 0
    "NACKs, reports and key frame requests."

    keyframes: int = 0
    frames_lost: int = 0
    "Frames of which nothing came in time."

    frames_damaged: int = 0
    "Frames of which something came that were not decoded exactly."

    def as_dict(self) -> dict[str, Any]:
        """Return what is worth keeping, rounded."""
        recovery_ms = sorted(us / 1000 for us in self.recovery_us)
        to_kbps = 8 / 1000 / self.seconds
        return {
            "psnr_db": round(fmean(self.psnr_db), 3),
            "psnr_p5_db": round(float(np.percentile(self.psnr_db, 5)), 3),
            "clean_share": round(fmean(self.clean), 4),
            "freezes": self.freezes.freeze_count,
            "frozen_share": round(self.freezes.total_freeze_us / US_PER_S / self.seconds, 4),
            "longest_ms": round(self.freezes.longest_us / 1000),
            "recoveries": len(recovery_ms),
            "recovery_mean_ms": round(fmean(recovery_ms)) if recovery_ms else 0,
            "recovery_p95_ms": round(float(np.percentile(recovery_ms or [0], 95))),
            "kbps": round(self.sent_bytes * to_kbps, 1),
            "rtx_kbps": round(self.resent_bytes * to_kbps, 1),
            "back_kbps": round(self.back_bytes * to_kbps, 1),
            "keyframes": self.keyframes,
            "frames_lost": self.frames_lost,
            "frames_damaged": self.frames_damaged,
        }


class Screen:
    """Shows the newest picture, and looks at it whenever a frame is due."""

    def __init__(self, clip: Clip, outcome: CallOutcome) -> None:
        self._clip = clip
        first = clip.frames[0]
        self._planes = Planes(*(np.full_like(p, _NOTHING) for p in (first.y, first.u, first.v)))
        self._number = -1
        self._is_clean = False
        self._ticked = -1
        self._broken_us: int | None = None
        self._last_us = 0
        self._outcome = outcome

    def show(self, number: int, planes: Planes | None, shown: Shown) -> None:
        """Put a picture on the screen, or leave the last one if there is none."""
        if planes is not None and number > self._number:
            self._number, self._planes, self._is_clean = number, planes, shown.is_clean

    def tick(self, number: int, *, now_us: int) -> None:
        """Compare the screen with the frame that is due now."""
        outcome = self._outcome
        if outcome.freezes.last_us is None:
            outcome.freezes.last_us = now_us  # a screen that stays empty is a freeze
        if self._number > self._ticked:
            outcome.freezes.shown(now_us=now_us)
            self._ticked = self._number
        outcome.psnr_db.append(picture_psnr(self._clip.frames[number], self._planes).yuv)
        is_clean = self._is_clean and self._number >= number
        outcome.clean.append(is_clean)
        if not is_clean and self._broken_us is None:
            self._broken_us = now_us
        elif is_clean:
            self._end_run(now_us)
        self._last_us = now_us

    def close(self) -> None:
        """End the call."""
        self._end_run(self._last_us)
        self._outcome.freezes.end(now_us=self._last_us)

    def _end_run(self, now_us: int) -> None:
        if self._broken_us is not None:
            self._outcome.recovery_us.append(now_us - self._broken_us)
            self._broken_us = None
