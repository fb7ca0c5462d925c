"""Properties of reference choice: whatever gets lost, nobody is sent what they cannot decode."""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtcodec.bitstream.packet import state_slot
from rtcodec.codec.planner import FramePlan, ReferencePlanner, ReferencePolicy
from rtcodec.codec.reference import ReceiverReferences
from rtcodec.errors import BitstreamError
from rtcodec.packet.feedback import FrameReport, FrameReporter, read_report, write_report


@dataclass
class Watcher:
    """A receiver that really keeps what the bitstream's rules say, and which frame it is."""

    slots: int
    references: ReceiverReferences = field(init=False)
    contents: dict[int, int] = field(default_factory=dict)
    reporter: FrameReporter = field(default_factory=lambda: FrameReporter(interval_us=0))
    incoming: deque[FramePlan] = field(default_factory=deque)
    outgoing: deque[FrameReport] = field(default_factory=deque)
    acknowledged: set[int] = field(default_factory=set)
    "Frames modulo 65536 that the planner was told are held."

    has_started: bool = False

    def __post_init__(self) -> None:
        self.references = ReceiverReferences(self.slots)

    def receive(self, plan: FramePlan, *, is_whole: bool) -> bool:
        """Decode a frame, or a part of it; return whether it is held."""
        self.has_started |= plan.keyframe
        can = self.references.has(plan.reference) and self.has_started
        if can and plan.reference is not None:
            # a state id never stands for another frame than the sender means
            assert self.contents[state_slot(plan.reference)] == plan.reference_frame
        is_held = is_whole and can
        if can:
            self.references.decoded(keyframe=plan.keyframe, store=plan.store, complete=is_whole)
            if plan.store is not None:
                self.contents[state_slot(plan.store)] = plan.frame_number
        self.report(plan, is_held=is_held, concealed=1.0 - is_whole)
        return is_held

    def report(self, plan: FramePlan, *, is_held: bool, concealed: float) -> None:
        number = plan.frame_number & 0xFFFF
        self.reporter.decided(number, is_held=is_held, concealed=concealed, now_us=0)
        report = self.reporter.take_due(now_us=0)
        assert report is not None
        self.outgoing.append(read_report(write_report(report)))


class PlannerMachine(RuleBasedStateMachine):
    """
    One sender, up to three receivers, and networks that lose, damage and delay what they like.

    A reference that the planner believes acknowledged is held by whoever acknowledged it, under the
    same id, for as long as the planner may still refer to it.
    """

    @initialize(slots=st.integers(0, 6), lag_frames=st.sampled_from([8, 64, 1000]))
    def start(self, slots: int, lag_frames: int) -> None:
        self.slots = slots
        self.planner = ReferencePlanner(
            slots, ReferencePolicy(lag_frames=lag_frames, long_term_frames=12, refresh_frames=4)
        )
        self.watchers: dict[int, Watcher] = {}
        self.frame = 0
        self.count = 0
        self.lag_frames = lag_frames

    @rule()
    def join(self) -> None:
        if len(self.watchers) < 3:
            self.watchers[self.count] = Watcher(self.slots)
            self.planner.join(self.count)
            self.count += 1

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.watchers:
            name = data.draw(st.sampled_from(sorted(self.watchers)))
            del self.watchers[name]
            self.planner.leave(name)

    @rule(count=st.integers(1, 24))
    def send(self, count: int) -> None:
        for _ in range(count):
            plan = self.planner.plan()
            assert plan.frame_number == self.frame
            assert plan.keyframe <= (plan.reference is None)
            self.planner.sent(plan)
            self.frame += 1
            for watcher in self.watchers.values():
                watcher.incoming.append(plan)

    @rule(data=st.data(), count=st.integers(1, 12))
    def deliver(self, data: st.DataObject, count: int) -> None:
        fates = data.draw(
            st.lists(st.sampled_from(["whole", "whole", "part", "lost"]), max_size=count)
        )
        for watcher in self.watchers.values():
            for fate in fates:
                if watcher.incoming:
                    plan = watcher.incoming.popleft()
                    if fate != "lost":
                        watcher.receive(plan, is_whole=fate == "whole")

    @rule(data=st.data(), count=st.integers(1, 40))
    def lose_a_run(self, data: st.DataObject, count: int) -> None:
        if self.watchers:
            watcher = self.watchers[data.draw(st.sampled_from(sorted(self.watchers)))]
            for _ in range(min(count, len(watcher.incoming))):
                watcher.incoming.popleft()

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        for name, watcher in self.watchers.items():
            if watcher.outgoing:
                at = data.draw(st.integers(0, len(watcher.outgoing) - 1))
                self.tell(name, watcher.outgoing[at])
                del watcher.outgoing[at]

    def tell(self, name: int, report: FrameReport) -> None:
        self.planner.report(name, report)
        frames = (report.newest - back for back in range(report.n_frames) if report.holds(back))
        self.watchers[name].acknowledged.update(frames)

    @rule(data=st.data(), newest=st.integers(0, 65535), held=st.integers(0, 2**32 - 1))
    def somebody_unknown_reports(self, data: st.DataObject, newest: int, held: int) -> None:
        self.planner.report("stranger", FrameReport(newest, held))
        self.planner.lost_all("stranger")

    @rule(data=st.data())
    def ask_for_a_keyframe(self, data: st.DataObject) -> None:
        if self.watchers:
            self.planner.lost_all(data.draw(st.sampled_from(sorted(self.watchers))))

    @rule()
    def a_report_heals_the_next_frame(self) -> None:
        """A frame arrives, whatever it stands on, all report, and the next one can be decoded."""
        self.send(1)
        for name, watcher in self.watchers.items():
            while watcher.incoming:
                watcher.receive(watcher.incoming.popleft(), is_whole=True)
            if watcher.outgoing:
                self.tell(name, watcher.outgoing[-1])
                watcher.outgoing.clear()
        plan = self.planner.plan()
        self.planner.sent(plan)
        self.frame += 1
        held = [w.receive(plan, is_whole=True) for w in self.watchers.values()]
        # a single receiver is always healed; among several, one that was refreshed lately may wait
        assert all(held) or len(self.watchers) > 1
        assert any(held) or not held

    @invariant()
    def an_acknowledged_reference_is_held(self) -> None:
        if not hasattr(self, "planner"):
            return
        plan = self.planner.plan()
        assert self.planner.plan() == plan
        if plan.store is not None:
            assert state_slot(plan.store) < self.slots
        for watcher in self.watchers.values():
            if plan.reference_frame in watcher.acknowledged:
                assert watcher.references.has(plan.reference)


TestPlanner = PlannerMachine.TestCase
TestPlanner.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


reports = st.integers(1, 8).flatmap(
    lambda words: st.builds(
        FrameReport,
        newest=st.integers(0, 65535),
        held=st.integers(0, 2 ** (32 * words) - 1),
        words=st.just(words),
    )
)
damaged = st.builds(
    lambda newest, held, damage: FrameReport(newest, held << 1, 1, damage),
    st.integers(0, 65535),
    st.integers(0, 2**31 - 1),
    st.integers(0, 255),
)


@given(reports | damaged)
def test_a_report_comes_back_as_it_was(report: FrameReport) -> None:
    assert read_report(write_report(report)) == report


@given(st.binary(max_size=60) | st.binary(max_size=50).map(lambda tail: b"RTCL\1" + tail))
def test_arbitrary_bytes_are_a_report_or_a_bitstream_error(data: bytes) -> None:
    try:
        report = read_report(data)
    except BitstreamError:
        return
    assert write_report(report) == data
