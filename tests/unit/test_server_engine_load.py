"""What streams ask of an engine, and what comes of it."""

import pytest

from rtcodec.engine.capacity import REST_US, Aside, Capacity, TileCosts
from rtcodec.session.ladder import Rung
from rtcodec.session.lobby import RelayFull
from rtcodec.session.shedding import StreamLoad
from rtcodec.stats import SIZE_BOUNDS, Histogram
from rtcodec.webrtc.transcoder import TranscodeCounters
from rtcodec_server.admission_config import AdmissionConfig
from rtcodec_server.aside import AsideMeter
from rtcodec_server.demand import Demand
from rtcodec_server.engine_load import EngineLoad

FULL, HALF = Rung(0, 640, 360, None), Rung(1, 320, 180, None)
FULL_TILES, HALF_TILES = 60, 15
FRAME_US = 33_333


class Host:
    """The figures of an `EngineHost`; a stream of 640x360 at 30 fps loads it by 0.29."""

    def __init__(self) -> None:
        self.capacity = Capacity(
            TileCosts(0.29e6 / (FULL_TILES * 30), 0, 0, 0), lanes=1, cores=10**6
        )
        self.batch_size = Histogram(SIZE_BOUNDS)
        self.tiles = self.busy_us = self.core_us = 0

    def ran(self, n_frames: int, *, each_us: int) -> None:
        """Count frames of 640x360 that took so long."""
        for _ in range(n_frames):
            self.batch_size.add(1)
        self.tiles += n_frames * FULL_TILES
        self.busy_us += n_frames * each_us


class Source:
    """A stream of which frames come."""

    def __init__(self, key: int, *rungs: Rung, needed: frozenset[int] = frozenset()) -> None:
        self.key = key
        self.demand = Demand()
        self.rungs = list(rungs)
        self.needed = needed
        self.coded = 0
        self._due_us = 0

    def run(self, now_us: int) -> None:
        while self._due_us <= now_us:
            self.coded += self.demand.note_frame(now_us=self._due_us)
            self._due_us += FRAME_US

    def load(self, per_tile: float, *, now_us: int) -> StreamLoad | None:
        wanted = [rung for rung in self.rungs if rung.index not in self.demand.shed]
        return self.demand.load(
            self.key, wanted, per_tile=per_tile, needed=self.needed, now_us=now_us
        )

    def next_load(self, per_tile: float, *, now_us: int) -> float:
        return self.demand.tiles_per_s([FULL], now_us=now_us) * per_tile


class House:
    """An engine's load, and time."""

    def __init__(self, config: AdmissionConfig | None = None) -> None:
        self.host = Host()
        self.load = EngineLoad(config or AdmissionConfig(), host=lambda: self.host)  # type: ignore[arg-type, return-value]
        self.sources: dict[str, Source] = {}
        self.now_us = 0

    def add(self, room: str, *rungs: Rung) -> Source:
        self.sources[room] = Source(len(self.sources), *(rungs or (FULL,)))
        self.sources[room]._due_us = self.now_us
        return self.sources[room]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now_us += 100_000
            for source in self.sources.values():
                source.run(self.now_us)
            self.load.advance(self.sources.items(), now_us=self.now_us)

    def refuses(self, room: str) -> bool:
        try:
            self.load.check_publisher(room, now_us=self.now_us)
        except RelayFull:
            return True
        return False


def test_streams_are_let_in_while_they_fit() -> None:
    house = House()
    for room in ("a", "b", "c"):
        assert not house.refuses(room)
        house.add(room)
        house.run(2)
    assert house.load.present == pytest.approx(0.87, abs=0.02)
    assert house.refuses("d")
    assert house.load.admission.refused == 1


def test_places_are_kept_until_frames_come() -> None:
    house = House()
    assert [house.refuses(room) for room in ("a", "b", "c", "d")] == [False, False, False, True]
    house.run(11)
    assert not house.refuses("d")


def test_a_stream_that_nobody_watches_costs_nothing_until_somebody_does() -> None:
    house = House()
    for room in ("a", "b", "c"):
        house.add(room)
    unwatched = house.add("d")
    unwatched.rungs = []
    house.run(12)
    with pytest.raises(RelayFull, match="no room for another stream"):
        house.load.check_watched("d", unwatched, now_us=house.now_us)
    house.load.check_watched("a", house.sources["a"], now_us=house.now_us)
    del house.sources["a"]
    house.run(1)
    house.load.check_watched("d", unwatched, now_us=house.now_us)


def test_a_publisher_is_thought_to_be_like_those_inside() -> None:
    house = House(AdmissionConfig(limit=1.0))
    for number in range(8):
        house.add(f"small{number}", HALF)  # 0.0725 each
    house.run(2)
    assert not house.refuses("a")
    house.sources["a"] = Source(9, HALF)
    house.run(2)
    assert [house.refuses(room) for room in ("b", "c", "d", "e", "f")] == [False] * 4 + [True]


def test_what_frames_really_cost_counts_once_some_have_run() -> None:
    house = House()
    house.add("a")
    house.run(1)
    assert house.load.present == pytest.approx(0.3, abs=0.02)
    house.host.ran(30, each_us=20_000)
    house.run(0.2)
    assert house.load.present == pytest.approx(0.6, abs=0.03)
    house.host.ran(30, each_us=3_300)
    house.run(0.2)
    assert 0.1 < house.load.present < 0.6


def test_cores_count_where_they_are_scarcer() -> None:
    house = House()
    house.host.capacity = Capacity(TileCosts(1, 1, 0, 0), lanes=8, cores=1)
    house.add("a")
    house.run(1)
    expected = FULL_TILES * 30 * (1 + REST_US) / 1e6
    assert house.load.present == pytest.approx(expected, rel=0.05)


def test_without_a_self_test_nobody_is_refused() -> None:
    house = House()
    house.host.capacity = None  # type: ignore[assignment]
    for number in range(20):
        house.add(str(number))
    house.run(3)
    assert not house.refuses("another")
    assert house.load.present == 0.0


def test_what_is_too_much_is_left_out_newest_first_and_comes_back() -> None:
    house = House()
    old, new = house.add("old"), None
    house.run(1)
    new = house.add("new")
    house.run(1)
    house.host.ran(60, each_us=20_000)  # twice as much as thought
    house.run(3)
    assert (old.demand.divisor, new.demand.divisor) == (1, 2)
    assert house.load.shed_steps == {"rung": 0, "rate": 1, "restored": 0}
    coded = new.coded
    house.run(2)
    assert new.coded - coded == pytest.approx(30, abs=2)
    assert house.load.present == pytest.approx(0.9, abs=0.05)

    del house.sources["old"]
    house.run(7)
    assert new.demand.divisor == 1
    assert house.load.shed_steps["restored"] == 1


def test_a_rung_goes_before_frames_do() -> None:
    house = House()
    source = house.add("a", FULL, HALF)
    house.run(1)
    house.host.ran(30, each_us=36_000)
    house.run(2.5)
    assert (source.demand.shed, source.demand.divisor) == (frozenset({0}), 1)


def test_a_stream_that_has_gone_takes_its_steps_along() -> None:
    house = House()
    house.add("a", FULL, HALF)
    house.run(1)
    house.host.ran(30, each_us=36_000)
    house.run(2.5)
    assert house.load.shedding.steps
    house.sources.clear()
    house.run(0.1)
    assert not house.load.shedding.steps


def test_nothing_is_left_out_where_the_operator_does_not_want_it() -> None:
    house = House(AdmissionConfig(shed=False))
    source = house.add("a", FULL, HALF)
    house.host.ran(30, each_us=100_000)
    house.run(9)
    assert (source.demand.shed, source.demand.divisor) == (frozenset(), 1)


def test_a_rung_more_is_asked_for_like_a_stream() -> None:
    house = House()
    house.add("a")
    house.run(1)
    assert house.load.may_add(FULL_TILES * 30, now_us=house.now_us)
    assert not house.load.may_add(FULL_TILES * 90, now_us=house.now_us)


def test_a_stream_of_which_no_frame_comes_asks_for_nothing() -> None:
    demand = Demand()
    assert demand.tiles_per_s([FULL], now_us=0) == 0.0
    for number in range(100):
        demand.note_frame(now_us=number * 100_000)
    assert demand.tiles_per_s([FULL], now_us=9_900_000) == pytest.approx(10 * FULL_TILES, rel=0.01)
    assert demand.tiles_per_s([FULL], now_us=12_000_000) == 0.0


def test_what_is_done_for_ordinary_viewers_is_load() -> None:
    house = House()
    house.host.capacity = Capacity(TileCosts(0.29e6 / (FULL_TILES * 30), 0, 0, 0), lanes=1, cores=2)
    house.add("a")
    house.run(2)
    coded = house.load.present
    house.load.advance(house.sources.items(), aside=Aside(encode_s=0.1), now_us=house.now_us)
    assert house.load.present == pytest.approx(coded)  # lanes are scarcer still
    house.load.advance(house.sources.items(), aside=Aside(decode_s=0.3), now_us=house.now_us)
    assert house.load.present == pytest.approx(coded + 0.3)
    assert house.refuses("b") is False
    house.load.admission.settle("b")
    house.load.advance(
        house.sources.items(), aside=Aside(decode_s=0.3, encode_s=1.7), now_us=house.now_us
    )
    rest = FULL_TILES * 30 * REST_US / 1e6
    assert house.load.present == pytest.approx((rest + 1.7) / 2, rel=0.02)
    assert house.refuses("b")


def test_the_first_viewer_in_a_codec_needs_room() -> None:
    house = House()
    costs = TileCosts(0.29e6 / (FULL_TILES * 30), 0, 0, 0.2e6 / (FULL_TILES * 30))
    house.host.capacity = Capacity(costs, lanes=1, cores=1)
    for room in ("a", "b"):
        house.add(room)
    house.run(2)
    house.load.check_viewer("a", "VP8", is_decoded=True, now_us=house.now_us)  # 0.2 and 0.14
    with pytest.raises(RelayFull):
        house.load.check_viewer("b", "VP8", is_decoded=True, now_us=house.now_us)
    house.load.check_viewer("a", "VP8", is_decoded=True, now_us=house.now_us)  # has its place
    assert house.load.admission.refused == 1


def test_without_an_engine_viewers_are_let_in() -> None:
    house = House()
    house.host.capacity = None  # type: ignore[assignment]
    house.load.check_viewer("a", "VP8", is_decoded=True, now_us=0)
    house.load.advance([], aside=Aside(decode_s=1.0), now_us=0)
    assert house.load.present == 0


class Watched:
    """Figures of a `LegacyAudience`."""

    def __init__(self, decode_us: int, encode_us: int) -> None:
        self.decode_us = decode_us
        self.counters = TranscodeCounters(encode_us=encode_us)

    def figures(self) -> list[tuple[str, int, TranscodeCounters]]:
        return [("VP8", 1, self.counters)]


def test_time_for_viewers_is_what_it_was_lately() -> None:
    meter, room, other = AsideMeter(), Watched(0, 5_000_000), Watched(0, 0)
    lately = meter.advance([room, other], now_us=0)  # type: ignore[list-item]
    assert lately == Aside()
    for second in range(1, 11):
        room.decode_us += 200_000
        room.counters.encode_us += 50_000
        other.counters.encode_us += 50_000
        lately = meter.advance([room, other], now_us=second * 1_000_000)  # type: ignore[list-item]
    assert lately.decode_s == pytest.approx(0.2, abs=0.01)
    assert lately.encode_s == pytest.approx(0.1, abs=0.01)
    assert meter.advance([other], now_us=10_000_000) == lately  # type: ignore[list-item]
    for second in range(11, 30):  # the other room has ended
        lately = meter.advance([other], now_us=second * 1_000_000)  # type: ignore[list-item]
    assert 0 <= lately.decode_s < 0.001
    assert 0 <= lately.encode_s < 0.001
