"""
Log lines as an event's name and what belongs to it, as text or JSON.

    2026-01-31T12:00:00.123Z INFO rtcodec_server.relay session_opened room=a role=publisher
    {"time": "2026-01-31T12:00:00.123Z", "level": "info", "event": "session_opened", ...}

Whatever looks like a token is replaced on the way out, in tracebacks of
libraries too: nobody has to remember to leave it out.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

REDACTED: Final = "[redacted]"

_SECRETS: Final = (
    re.compile(r"\beyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*"),  # a JWT, whole or cut
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?i)(?<=authorization)[\"']?[:=].*"),
)


def log_event(
    logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: object
) -> None:
    """
    Log one event.

    Args:
        logger: Of the caller's module.
        event: Past tense, words joined by `_`.
        level: As in `logging`.
        fields: What belongs to it; those that are None are left out.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    logger.log(level, event, extra={"fields": given})


def redact(text: str) -> str:
    """Return *text* without anything that looks like a token."""
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return text


class TextFormatter(logging.Formatter):
    """One line for people; tracebacks follow on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
        }
        entry |= {
            name: redact(value) if isinstance(value, str) else value
            for name, value in _fields(record).items()
            if name not in entry
        }
        if record.exc_info:
            entry["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, default=lambda value: redact(str(value)))


def set_up_logging(*, level: str, log_format: str) -> None:
    """
    Send the process's log to stderr.

    Args:
        level: debug, info, warning or error.
        log_format: text or json.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("aiortc", "aioice"):  # their warnings are about single packets
        logging.getLogger(name).setLevel(logging.ERROR)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def _shown(value: object) -> str:
    """Quote what would not read as one word."""
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) and text.isprintable() else json.dumps(text)
