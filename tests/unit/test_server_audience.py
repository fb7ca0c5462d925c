"""Who gets which rung, tied to what carries it."""

from collections.abc import Iterable
from typing import Any

from rtcodec.engine.api import StateId
from rtcodec.packet.feedback import FrameReport
from rtcodec.packet.payload import FrameTiming
from rtcodec.session.ladder import ladder, read_rung
from rtcodec.session.layer import ANY_LAYER, HALF_RATE, LayerWish
from rtcodec.session.rung_selector import RungPolicy
from rtcodec.session.seat import FrameCodings
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentSender, OutgoingFrame
from rtcodec_server.audience import Audience, RungFrame
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.prediction import StreamPrediction
from rtcodec_server.rung import LadderSetup, StreamRung

SPECS = tuple(map(read_rung, ("source@800", "270p@350", "180p@120")))
S = 1_000_000


class House:
    """An audience, its rungs and senders that say what they can receive."""

    def __init__(self, *, n_open: int = 3) -> None:
        self.setup = LadderSetup(
            specs=SPECS,
            new_rate=lambda bps, n_pixels: LiveRate(bps, n_pixels=n_pixels),
            policy=RungPolicy(),
        )
        self.audience = Audience(self.setup)
        self.senders: dict[str, LatentSender] = {}
        self.now_us = 0
        self.rungs = self.new_rungs(n_open)
        self.audience.change_rungs(self.rungs)

    def new_rungs(self, n_open: int, size: tuple[int, int] = (640, 360)) -> tuple[StreamRung, ...]:
        rungs = []
        for rung in ladder(SPECS, *size):
            assert rung.kbps is not None
            rate = self.setup.new_rate(1000 * rung.kbps, rung.n_pixels)
            rungs.append(StreamRung(rung, rate=rate, stats=(StreamStats(),)))
            if rung.index < n_open:
                rungs[-1].state = StateId(rung.index)
                rungs[-1].prediction = StreamPrediction(4)
        return tuple(rungs)

    def join(self, name: str, wish: LayerWish = ANY_LAYER) -> None:
        self.senders[name] = LatentSender()
        self.audience.join(name, self.senders[name], wish, now_us=self.now_us)

    def tell(self, name: str, bps: int) -> None:
        self.senders[name].target_bitrate = bps

    def advance(self, us: int = 100_000) -> None:
        self.now_us += us
        self.audience.advance(now_us=self.now_us)

    def frame(self, *, is_clean: bool = True, failed: Iterable[int] = ()) -> dict[int, list[str]]:
        """Code a frame at what is wanted; return who got which rung."""
        wanted = [rung.index for rung in self.audience.wanted()]
        codings = FrameCodings[RungFrame](wanted)
        got: dict[int, list[str]] = {}
        for rung in wanted:
            if rung in failed:
                codings.failed(rung)
            else:
                codings.came(rung, RungFrame(rung, outgoing(), is_clean, temporal=0))
            for coding, senders in self.audience.serve(codings).items():
                names = [name for name, sender in self.senders.items() if sender in senders]
                got.setdefault(coding.rung, []).extend(names)
        return got


def outgoing() -> OutgoingFrame:
    return OutgoingFrame([b"x"], 0, FrameTiming(0, 0), is_keyframe=True)


def test_everybody_starts_at_the_top_and_nothing_else_is_coded() -> None:
    house = House()
    house.join("a")
    house.join("b")
    assert [rung.index for rung in house.audience.wanted()] == [0]
    assert house.frame() == {0: ["a", "b"]}


def test_nothing_is_coded_for_nobody() -> None:
    house = House()
    house.join("a")
    house.audience.leave("a")
    assert house.audience.wanted() == []
    house.audience.leave("a")  # nor is that any trouble


def test_a_narrow_way_goes_down_with_the_next_frame_and_the_old_rung_is_left() -> None:
    house = House()
    for name in "ab":
        house.join(name)
    house.frame()
    house.tell("a", 200_000)
    house.advance()
    assert [rung.index for rung in house.audience.wanted()] == [2, 0]  # coarsest first
    assert house.frame() == {2: ["a"], 0: ["b"]}
    assert house.setup.switches == {"down": 1}
    assert house.audience.followers(0) == ["b"]
    assert house.audience.describe("a") == {
        "rung": 2, "rung_wanted": None, "half_rate": False, "rung_switches": 1,
    }  # fmt: skip


def test_while_the_other_rung_cannot_be_coded_the_old_one_goes_on() -> None:
    house = House()
    house.join("a")
    house.frame()
    house.tell("a", 200_000)
    house.advance()
    assert house.frame(failed=[2]) == {0: ["a"]}
    assert house.frame(is_clean=False) == {0: ["a"]}
    assert house.frame() == {2: ["a"]}


def test_a_way_that_widens_before_the_change_stays_where_it_was() -> None:
    house = House()
    house.join("a")
    house.frame()
    house.audience.choose("a", LayerWish(rung=1), now_us=house.now_us)
    assert house.audience.seats["a"].follows == {0, 1}
    house.audience.choose("a", LayerWish(rung=0), now_us=house.now_us)
    assert house.audience.seats["a"].follows == {0}
    assert house.frame() == {0: ["a"]}
    assert not house.setup.switches


def test_many_that_move_together_share_a_key_frame_and_latecomers_wait_for_the_next() -> None:
    house = House()
    for name in "abcd":
        house.join(name)
    house.frame()
    for name in "ab":
        house.tell(name, 200_000)
    house.advance()
    assert house.audience.followers(2) == ["a", "b"]
    house.frame()
    house.tell("c", 200_000)
    house.advance()
    assert house.audience.followers(2) == ["a", "b"]
    house.advance(500_000)
    assert house.audience.followers(2) == ["a", "b", "c"]


def test_who_changes_to_and_fro_makes_two_key_frames_a_second_at_most() -> None:
    house = House()
    house.join("still", LayerWish(rung=2))
    house.join("restless")
    house.frame()
    prediction = house.rungs[2].prediction
    assert prediction is not None
    prediction.sent(prediction.plan())
    n_keys = 0
    for n in range(100):  # ten seconds
        house.now_us += 100_000
        house.audience.choose("restless", LayerWish(rung=2 * (n % 2)), now_us=house.now_us)
        plan = prediction.plan()
        prediction.sent(plan)
        n_keys += plan.keyframe
        house.frame(is_clean=plan.keyframe)
    assert 1 <= n_keys <= 20


def test_the_narrowest_way_gets_half_the_frames_of_the_last_rung() -> None:
    house = House()
    house.join("a")
    house.frame()
    house.tell("a", 20_000)
    house.advance()
    house.frame()
    assert house.audience.describe("a")["rung"] == 2
    assert house.audience.describe("a")["half_rate"]
    assert house.audience.wants_half_rate(2)
    assert not house.audience.wants_half_rate(0)


def test_a_wish_for_half_the_frames_holds_on_every_rung() -> None:
    house = House()
    house.join("a", LayerWish(max_temporal=HALF_RATE))
    house.frame()
    assert house.audience.wants_half_rate(0)
    house.tell("a", 500_000)  # half of the first is carried
    house.advance(10 * S)
    assert house.frame() == {0: ["a"]}


def test_a_rung_that_is_not_ready_is_not_chosen() -> None:
    house = House(n_open=1)
    house.join("a")
    house.frame()
    house.tell("a", 10_000)
    house.advance()
    assert house.frame() == {0: ["a"]}
    house.rungs[2].state = StateId(2)
    house.advance()
    assert house.frame() == {2: ["a"]}


def test_seats_outlive_a_change_of_the_source_s_size() -> None:
    house = House()
    house.join("a")
    house.join("pinned", LayerWish(rung=1))
    house.frame()
    house.tell("a", 130_000)
    house.advance()
    house.frame()
    house.audience.change_rungs(house.new_rungs(3, (320, 180)))
    assert house.frame() == {2: ["a"], 1: ["pinned"]}


def test_reports_and_cries_for_help_reach_what_a_subscriber_follows() -> None:
    house = House()
    house.join("a")
    prediction = house.rungs[0].prediction
    assert prediction is not None
    plan = prediction.plan()
    prediction.sent(plan)
    house.frame()
    house.audience.report("a", FrameReport(plan.frame_number, 1, 1))
    assert not prediction.plan().keyframe
    for _ in range(40):
        prediction.sent(prediction.plan())
    house.audience.restart("a")
    assert prediction.plan().keyframe
    house.audience.report("nobody", FrameReport(0, 1, 1))
    house.audience.restart("nobody")
    house.audience.choose("nobody", ANY_LAYER, now_us=0)
    assert house.audience.describe("nobody") == {}


def test_whoever_joins_before_the_first_frame_is_seated_with_it() -> None:
    setup = LadderSetup(specs=SPECS, new_rate=lambda bps, n_pixels: LiveRate(bps))
    audience = Audience(setup)
    audience.join("a", LatentSender(), LayerWish(rung=2), now_us=0)
    audience.choose("a", LayerWish(rung=1), now_us=0)
    audience.advance(now_us=0)
    assert audience.wanted() == []
    rungs = House().rungs
    audience.change_rungs(rungs)
    assert audience.wanted() == [rungs[1]]


def test_what_a_rung_takes_is_guessed_by_the_others_until_it_is_known() -> None:
    house = House()
    for rung in house.rungs:
        rung.rate = None
    house.join("a")
    house.frame()
    house.tell("a", 1000)
    house.advance()
    assert house.audience.describe("a")["rung"] == 0  # nobody knows what anything takes
    for n in range(300):
        house.rungs[0].note(3000 * n, 20_000, is_clean=False)
    bps: Any = house.rungs[0].wire_bps
    assert 600_000 < bps < 650_000
    house.tell("a", 400_000)
    house.advance()
    assert house.frame() == {1: ["a"]}  # by its pixels, 0.63 of that


# ---- what the engine has no room for


def test_nobody_gets_a_rung_that_is_left_out_while_there_is_another() -> None:
    house = House()
    house.join("a")
    house.join("b", LayerWish(rung=1))
    assert house.frame() == {1: ["b"], 0: ["a"]}
    house.audience.shed = frozenset({0})
    house.advance()
    house.advance()
    house.frame()
    assert {name: seat.rung for name, seat in house.audience.seats.items()} == {"a": 1, "b": 1}
    assert [rung.index for rung in house.audience.wanted()] == [1]

    house.audience.shed = frozenset({0, 1, 2})
    house.advance()
    assert house.audience.wanted()


def test_who_wants_the_rung_that_is_left_out_and_no_other_has_it() -> None:
    house = House()
    house.join("a", LayerWish(rung=0))
    house.audience.shed = frozenset({0})
    house.advance()
    assert house.frame() == {0: ["a"]}


def test_a_finer_rung_waits_until_the_engine_has_room_for_it() -> None:
    has_room = False
    house = House()
    house.audience = Audience(house.setup, lambda rung: has_room)
    house.audience.change_rungs(house.rungs)
    house.join("a", LayerWish(rung=1))
    assert house.frame() == {1: ["a"]}
    house.join("b")
    house.frame()
    assert house.audience.seats["b"].rung == 1
    assert [rung.index for rung in house.audience.wanted()] == [1]
    has_room = True
    house.now_us += 10 * S  # a selector moves up a step at a time, and not at once
    for _ in range(200):
        house.tell("b", 5_000_000)
        house.advance()
    assert {rung.index for rung in house.audience.wanted()} == {0, 1}


def test_a_coarser_rung_is_never_waited_for() -> None:
    house = House()
    house.audience = Audience(house.setup, lambda rung: False)
    house.audience.change_rungs(house.rungs)
    house.join("a")
    house.join("b", LayerWish(rung=2))
    assert [rung.index for rung in house.audience.wanted()] == [2, 0]
