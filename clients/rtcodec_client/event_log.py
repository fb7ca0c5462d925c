"""
JSON lines that a client appends to a file while it works.

How `rtcodec demo` (or anyone) follows `publish` and `watch` in other
processes: `{"event": "progress", ...}`, one object a line, flushed at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class EventWriter:
    """Appends events to a file; without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with JSON values."""
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")
            self._file.flush()


class EventReader:
    """Follows such a file from another process; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def poll(self) -> list[dict[str, Any]]:
        """Return the events that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        self._position += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines() if line]
