"""The error tree and what the command line makes of it."""

import pytest

from rtcodec import errors


def test_an_offset_is_in_the_message_and_moves_with_the_unit() -> None:
    error = errors.Corrupt("qp 64 exceeds 63", offset=2)
    assert str(error) == "qp 64 exceeds 63 (at byte 2)"
    moved = error.shifted(40)
    assert isinstance(moved, errors.Corrupt)
    assert str(moved) == "qp 64 exceeds 63 (at byte 42)"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.Truncated, 1),
        (errors.Unsupported, 1),
        (errors.InputError, 1),
        (errors.RemoteProtocolError, 1),
        (errors.ConfigError, 2),
        (errors.EngineError, 3),
        (errors.Overloaded, 3),
        (errors.EngineCrashed, 3),
        (errors.LocalProtocolError, 3),
    ],
)
def test_exit_codes_tell_whose_fault_it_is(kind: type[errors.RtcodecError], code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, errors.RtcodecError)
