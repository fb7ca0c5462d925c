"""Who may come in, who must go, and what is said about it."""

import pytest

from rtcodec.errors import LocalProtocolError
from rtcodec.session.lobby import (
    CloseReason,
    Limits,
    Lobby,
    LobbyEvent,
    RelayFull,
    Role,
    RoomLive,
    RoomQuiet,
    RoomTaken,
    SessionClosed,
    SessionOpened,
)

S = 1_000_000
PUBLISHER, SUBSCRIBER = Role.PUBLISHER, Role.SUBSCRIBER


def drain(lobby: Lobby) -> list[LobbyEvent]:
    events = []
    while (event := lobby.next_event()) is not None:
        events.append(event)
    return events


def test_a_room_lives_from_its_first_peer_to_its_last() -> None:
    lobby = Lobby()
    lobby.open_session("w", "a", SUBSCRIBER, now_us=0)
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    assert [*lobby.rooms] == ["a"]
    assert (lobby.publisher("a"), lobby.subscribers("a")) == ("p", ("w",))
    assert lobby.n_sessions == 2
    lobby.leave("w")
    lobby.leave("p")
    assert [*lobby.rooms] == []
    assert (lobby.publisher("a"), lobby.subscribers("a")) == (None, ())
    assert not lobby.is_live("a")
    assert drain(lobby) == [
        SessionOpened("w", "a", SUBSCRIBER),
        SessionOpened("p", "a", PUBLISHER),
        SessionClosed("w", "a", SUBSCRIBER, CloseReason.LEFT),
        SessionClosed("p", "a", PUBLISHER, CloseReason.LEFT),
    ]


def test_a_room_is_live_while_its_publisher_is_connected() -> None:
    lobby = Lobby()
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    assert not lobby.is_live("a")
    lobby.connect("p", now_us=1)
    lobby.connect("p", now_us=2)
    assert lobby.is_live("a")
    lobby.open_session("w", "a", SUBSCRIBER, now_us=3)
    lobby.connect("w", now_us=3)
    lobby.leave("p", CloseReason.LOST)
    assert not lobby.is_live("a")
    assert lobby.rooms == ("a",)
    assert [event for event in drain(lobby) if isinstance(event, RoomLive | RoomQuiet)] == [
        RoomLive("a", "p"),
        RoomQuiet("a"),
    ]


def test_a_second_publisher_is_refused_until_the_first_has_left() -> None:
    lobby = Lobby()
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    with pytest.raises(RoomTaken, match="room a has a publisher"):
        lobby.open_session("q", "a", PUBLISHER, now_us=0)
    lobby.open_session("q", "b", PUBLISHER, now_us=0)
    lobby.leave("p")
    lobby.open_session("r", "a", PUBLISHER, now_us=0)


def test_the_limits_hold_and_say_when_to_come_again() -> None:
    lobby = Lobby(Limits(max_rooms=2, max_subscribers_per_room=1, max_sessions=3, retry_after_s=7))
    lobby.open_session("1", "a", SUBSCRIBER, now_us=0)
    with pytest.raises(RelayFull, match="1 subscribers") as caught:
        lobby.open_session("2", "a", SUBSCRIBER, now_us=0)
    assert caught.value.retry_after_s == 7
    lobby.open_session("2", "b", SUBSCRIBER, now_us=0)
    with pytest.raises(RelayFull, match="2 rooms"):
        lobby.open_session("3", "c", SUBSCRIBER, now_us=0)
    lobby.open_session("3", "b", PUBLISHER, now_us=0)
    with pytest.raises(RelayFull, match="3 sessions"):
        lobby.open_session("4", "a", PUBLISHER, now_us=0)


def test_a_session_opens_once() -> None:
    lobby = Lobby()
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    with pytest.raises(LocalProtocolError, match="open already"):
        lobby.open_session("p", "b", PUBLISHER, now_us=0)


def test_who_never_connects_must_go() -> None:
    lobby = Lobby(Limits(connect_us=20 * S))
    lobby.open_session("p", "a", PUBLISHER, now_us=5 * S)
    assert lobby.deadline_us == 25 * S
    lobby.advance(now_us=25 * S - 1)
    assert lobby.n_sessions == 1
    drain(lobby)
    lobby.advance(now_us=25 * S)
    assert drain(lobby) == [SessionClosed("p", "a", PUBLISHER, CloseReason.NEVER_CONNECTED)]


def test_a_publisher_that_falls_silent_must_go() -> None:
    lobby = Lobby(Limits(publisher_silence_us=5 * S))
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    lobby.hear("p", now_us=0)  # nothing before it is connected
    lobby.connect("p", now_us=1 * S)
    lobby.hear("p", now_us=3 * S)
    lobby.hear("p", now_us=2 * S)  # an older report changes nothing
    assert lobby.deadline_us == 6 * S  # when the room falls quiet
    drain(lobby)
    lobby.advance(now_us=8 * S)
    assert drain(lobby) == [
        RoomQuiet("a"),
        SessionClosed("p", "a", PUBLISHER, CloseReason.SILENT),
    ]


def test_the_room_of_a_silent_publisher_is_quiet_until_it_is_heard_again() -> None:
    lobby = Lobby(Limits(publisher_quiet_us=3 * S, publisher_silence_us=20 * S))
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    lobby.connect("p", now_us=0)
    drain(lobby)
    assert lobby.deadline_us == 3 * S
    lobby.advance(now_us=3 * S)
    assert drain(lobby) == [RoomQuiet("a")]
    assert not lobby.is_live("a")
    assert (lobby.publisher("a"), lobby.deadline_us) == ("p", 20 * S)
    lobby.hear("p", now_us=0)  # the same packet as before
    lobby.advance(now_us=10 * S)
    assert drain(lobby) == []
    lobby.hear("p", now_us=10 * S)
    assert lobby.is_live("a")
    assert drain(lobby) == [RoomLive("a", "p")]
    with pytest.raises(RoomTaken):
        lobby.check_open("a", PUBLISHER)


def test_a_silent_publisher_gives_way_to_another() -> None:
    lobby = Lobby(Limits(publisher_quiet_us=3 * S, max_sessions=2, max_rooms=1))
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    lobby.open_session("w", "a", SUBSCRIBER, now_us=0)
    lobby.connect("p", now_us=0)
    lobby.advance(now_us=3 * S)
    drain(lobby)
    lobby.open_session("q", "a", PUBLISHER, now_us=4 * S)  # its place, however full it is
    lobby.hear("p", now_us=5 * S)
    assert drain(lobby) == [
        SessionClosed("p", "a", PUBLISHER, CloseReason.REPLACED),
        SessionOpened("q", "a", PUBLISHER),
    ]
    assert (lobby.publisher("a"), lobby.subscribers("a")) == ("q", ("w",))
    with pytest.raises(RoomTaken):
        lobby.check_open("a", PUBLISHER)
    lobby.connect("q", now_us=5 * S)
    assert lobby.is_live("a")


def test_a_publisher_that_comes_back_too_late_has_left() -> None:
    lobby = Lobby(Limits(publisher_quiet_us=3 * S, publisher_silence_us=20 * S))
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    lobby.connect("p", now_us=0)
    lobby.advance(now_us=5 * S)
    drain(lobby)
    lobby.advance(now_us=20 * S)
    assert drain(lobby) == [SessionClosed("p", "a", PUBLISHER, CloseReason.SILENT)]
    assert lobby.rooms == ()


def test_a_subscriber_is_listened_to_only_while_frames_go_to_it() -> None:
    lobby = Lobby(Limits(subscriber_silence_us=15 * S))
    lobby.open_session("w", "a", SUBSCRIBER, now_us=0)
    lobby.connect("w", now_us=0)
    assert lobby.deadline_us is None
    lobby.advance(now_us=1000 * S)
    lobby.expect("w", reports=True, now_us=1000 * S)
    lobby.expect("w", reports=True, now_us=1005 * S)
    assert lobby.deadline_us == 1015 * S
    lobby.expect("w", reports=False, now_us=1010 * S)
    assert lobby.deadline_us is None
    lobby.expect("w", reports=True, now_us=1020 * S)
    drain(lobby)
    lobby.advance(now_us=1035 * S)
    assert drain(lobby) == [SessionClosed("w", "a", SUBSCRIBER, CloseReason.SILENT)]


def test_nothing_is_expected_of_a_publisher_or_a_stranger() -> None:
    lobby = Lobby()
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    lobby.expect("p", reports=True, now_us=0)
    lobby.expect("x", reports=True, now_us=0)
    lobby.hear("x", now_us=0)
    lobby.connect("x", now_us=0)
    lobby.leave("x")
    assert lobby.n_sessions == 1


def test_closing_lets_publishers_out_first_and_nobody_in() -> None:
    lobby = Lobby()
    lobby.open_session("w", "a", SUBSCRIBER, now_us=0)
    lobby.open_session("p", "a", PUBLISHER, now_us=0)
    drain(lobby)
    lobby.close_publishers()
    assert drain(lobby) == [SessionClosed("p", "a", PUBLISHER, CloseReason.SHUTDOWN)]
    with pytest.raises(RelayFull, match="shutting down"):
        lobby.open_session("x", "b", SUBSCRIBER, now_us=0)
    lobby.close()
    assert drain(lobby) == [SessionClosed("w", "a", SUBSCRIBER, CloseReason.SHUTDOWN)]
    assert lobby.deadline_us is None
