"""Log lines, and what never is in one."""

import json
import logging
import sys

import pytest

from rtcodec_server.logs import JsonFormatter, TextFormatter, log_event, redact, set_up_logging

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoiYSJ9.c2lnbmF0dXJlLXRoYXQtaXM"


def record(
    message: str, *, failed: BaseException | None = None, **fields: object
) -> logging.LogRecord:
    info = (type(failed), failed, failed.__traceback__) if failed is not None else None
    made = logging.LogRecord("a.b", logging.INFO, "f.py", 1, message, (), info)
    made.created = 1_800_000_000.25
    made.fields = fields
    return made


def test_a_line_of_text_is_an_event_and_what_belongs_to_it() -> None:
    line = TextFormatter().format(record("session_opened", room="a", note='two "words"', n=3))
    assert line == (
        '2027-01-15T08:00:00.250Z INFO a.b session_opened room=a note="two \\"words\\"" n=3'
    )


def test_what_others_say_stays_on_its_line() -> None:
    line = TextFormatter().format(record("x", note="a\nINFO forged room=b", other="a\x1b[0m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_line_of_json_is_one_object() -> None:
    line = JsonFormatter().format(record("session_opened", room="a", n=3, level="mine", path=sys))
    entry = json.loads(line)
    assert entry["time"] == "2027-01-15T08:00:00.250Z"
    assert (entry["level"], entry["event"], entry["room"]) == ("info", "session_opened", "a")
    assert entry["n"] == 3
    assert "\n" not in line


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize(
    "secret",
    [TOKEN, f"Bearer {TOKEN}", "Bearer 0123456789-opaque", "Authorization: Basic dXNlcjpwYXNz"],
)
def test_tokens_are_replaced_in_messages_fields_and_tracebacks(
    formatter: logging.Formatter, secret: str
) -> None:
    value = secret.rpartition(" ")[2]
    try:
        raise ValueError(f"bad header {secret}")
    except ValueError as error:
        failure = error
    for made in (
        record(f"got {secret}"), record("x", note=f"got {secret}"), record("x", failed=failure),
        record("x", what=ValueError(secret)),
    ):  # fmt: skip
        line = formatter.format(made)
        assert value not in line
        assert "[redacted]" in line


def test_ordinary_words_are_left_alone() -> None:
    for text in ("a bearer token is needed", "room=eye.jpg", "authorization failed"):
        assert redact(text) == text


def test_the_log_goes_to_stderr_from_its_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        set_up_logging(level="info", log_format="json")
        log_event(logging.getLogger("x"), "happened", room="a", reason=None)
        logging.getLogger("x").debug("not this")
        logging.getLogger("aiortc.x").warning("nor this")
    finally:
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in before:
            root.addHandler(handler)
        root.setLevel(level)
        for name in ("aiortc", "aioice"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["room"]) == ("happened", "a")
    assert "reason" not in entry
