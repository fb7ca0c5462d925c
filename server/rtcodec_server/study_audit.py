"""
Who saw which picture, at which quality, when: JSON lines, no patient in them.

    {"time": "...Z", "event": "shown", "subject": "dr.b", "room": "ward7", "session": "x1Yz...",
     "instance": "<32 hex>", "first_frame": 0, "frames": 1, "quality": "lossless, verified"}
"""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from rtcodec.errors import ConfigError
from rtcodec.session.study_message import Quality
from rtcodec_server.logs import log_event

_log = logging.getLogger(__name__)

WORDS: Final = {
    Quality.PREVIEW: "preview",
    Quality.COARSE: "coarse",
    Quality.VERIFIED: "verified",
    Quality.NOT_VERIFIED: "not verified",
}


class StudyAudit:
    """Appends lines to a file, or to the log."""

    def __init__(self, path: Path | None) -> None:
        """
        Open the file.

        Raises:
            ConfigError: If it cannot be written to.
        """
        self._file: TextIO | None = None
        if path is not None:
            try:
                mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._file = os.fdopen(os.open(path, mode, 0o600), "a", encoding="utf-8")
            except OSError as error:
                reason = error.strerror or str(error)
                raise ConfigError(f"{path}: no audit can be written: {reason}") from error

    def note(
        self,
        event: str,
        *,
        subject: str | None,
        room: str,
        session: str,
        **fields: str | int | None,
    ) -> None:
        """
        Note that something was asked for, sent or shown.

        Args:
            event: requested, sent, shown or alarm.
            subject: Of the viewer's token; None where none is needed.
            room: Where.
            session: The part of the session's name that is shown.
            fields: What belongs to it; numbers, ids and words of ours.
        """
        about: dict[str, Any] = {"subject": subject, "room": room, "session": session, **fields}
        if self._file is None:
            log_event(_log, f"study_{event}", **about)
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": at, "event": event, **about})
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            log_event(_log, "audit_failed", level=logging.ERROR, problem=type(error).__name__)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
