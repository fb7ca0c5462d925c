"""
Put RTP packets in order, ask for missing ones, and never wait too long.

A frame is released the moment its last packet is there: the marker bit says
which it is, or the payload's own place in the frame. A gap is asked for by
NACK and given up after `patience_us`; what came of the frame is then released
as incomplete. Sans-I/O: time is an argument, work comes out as events.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from rtcodec.packet.nack import NackConfig, NackTracker
from rtcodec.stats import ReceiveCounters
from rtcodec.timebase import RTP_TIME_BASE, ticks_to_us, unwrap

Item = TypeVar("Item")

_SPACING_TENTHS: Final = 4  # of patience: what is asked for later would come too late
_FORGET_SHIFT: Final = 8  # spacing halves in 177 pairs of packets

_MAX_LATE_RUN: Final = 100
"So many packets in a row from the past mean that the sender started again."


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterConfig:
    """How long and for how much the buffer waits."""

    patience_us: int = 100_000
    "From a gap showing to giving it up."

    tail_us: int = 5_000
    """From the last arrival to asking for the rest of a frame whose size is known, at least: on a
    thin way packets come further apart, and the pause follows that."""

    capacity_packets: int = 2048
    "Packets held, and packets missing, at most."

    outage_packets: int = 100
    "A gap of more than this, and of longer than patience by the time stamps, is not asked for."

    nack: NackConfig = field(default_factory=NackConfig)


@dataclass(frozen=True, slots=True)
class Arrival(Generic[Item]):
    """One RTP packet as it came."""

    seq: int
    "RTP sequence number, 16 bits."

    timestamp: int
    "RTP time stamp, 32 bits: the same for all packets of a frame."

    marker: bool
    "Set on the last packet of a frame."

    item: Item | None
    "What to release; None for a packet that holds only padding."

    place: tuple[int, int] | None = None
    "(index, count) of the packet in its frame, if the payload says so."

    starts_frame: bool | None = None
    "Whether the payload says that a frame starts here; None if it cannot."


@dataclass(frozen=True, slots=True)
class FrameReleased(Generic[Item]):
    """A frame left the buffer."""

    timestamp: int
    items: tuple[Item, ...]
    "In sequence order, at least one."

    is_complete: bool
    first_us: int
    "When its first packet arrived."

    last_us: int
    "When its last packet arrived."


@dataclass(frozen=True, slots=True)
class PacketsLost:
    """Packets were given up."""

    n_packets: int


@dataclass(frozen=True, slots=True)
class NacksDue:
    """Packets to ask for again."""

    seqs: tuple[int, ...]
    "16-bit RTP sequence numbers, in order."


JitterEvent = FrameReleased[Item] | PacketsLost | NacksDue


@dataclass(slots=True)
class _Held(Generic[Item]):
    arrival: Arrival[Item]
    arrived_us: int

    @property
    def starts_frame(self) -> bool | None:
        arrival = self.arrival
        return arrival.place[0] == 0 if arrival.place is not None else arrival.starts_frame

    @property
    def ends_frame(self) -> bool:
        arrival = self.arrival
        if arrival.item is None:
            return False
        return arrival.marker or (
            arrival.place is not None and arrival.place[0] == arrival.place[1] - 1
        )


class JitterBuffer(Generic[Item]):
    """
    Orders the packets of one RTP stream.

    Frames come out in order, each at most once, none later than `patience_us`
    after the gap that held it up. At most `capacity_packets` are held.
    """

    def __init__(self, config: JitterConfig | None = None) -> None:
        self.counters = ReceiveCounters()
        self._config = config or JitterConfig()
        self._nacks = NackTracker(self._config.nack, patience_us=self._config.patience_us)
        self._held: dict[int, _Held[Item]] = {}  # sequence numbers from here on do not wrap
        self._has_started = False
        self._next = 0  # the first one not yet released
        self._high = -1  # the highest that arrived or must exist
        self._high_timestamp = 0
        self._scan = 0  # all from _next to here are held and of one frame
        self._tail_end: int | None = None  # last of the newest frame, if not there yet
        self._tail_due_us = 0
        self._spacing_us = 0  # how far apart packets of a frame come, with a margin
        self._high_us = 0  # when the highest arrived
        self._late_run = 0
        self._head_is_damaged = False
        self._events: deque[JitterEvent[Item]] = deque()

    @property
    def n_held(self) -> int:
        """Packets waiting."""
        return len(self._held)

    @property
    def rtt_us(self) -> int | None:
        """Smoothed time from a request to its packet, or None if not known."""
        return self._nacks.rtt_us

    @property
    def deadline_us(self) -> int | None:
        """When `advance` next has work, or None."""
        tail_us = self._tail_due_us if self._tail_end is not None else None
        if (since_us := self._nacks.first_since_us) is None:
            return tail_us  # the usual case, for every packet: nothing is missing
        times = [since_us + self._config.patience_us]
        if tail_us is not None:
            times.append(tail_us)
        if (due_us := self._nacks.deadline_us) is not None:
            times.append(due_us)
        return min(times)

    def next_event(self) -> JitterEvent[Item] | None:
        """Return the oldest event not yet taken, or None."""
        return self._events.popleft() if self._events else None

    def receive(self, arrival: Arrival[Item], *, now_us: int) -> None:
        """Take one packet in; late and duplicate ones change nothing."""
        self.counters.packets_received += 1
        held = _Held(arrival, now_us)
        if not self._has_started:
            self._start_at(arrival.seq, arrival)
        seq = unwrap(arrival.seq, near=self._high, bits=16)
        if seq < self._next:
            self._late_run += 1
            self._nacks.note_repeated(seq)
            if self._late_run < _MAX_LATE_RUN:
                self.counters.packets_late += 1
                return
            self._give_up_all()
            self._start_at(seq, arrival)
        self._late_run = 0
        if seq in self._held:
            self._nacks.note_repeated(seq)
            self.counters.packets_duplicate += 1
            return
        if seq > self._high:
            self._extend_to(seq, arrival, now_us=now_us)
        elif self._nacks.receive(seq, now_us=now_us):
            self.counters.packets_recovered += 1
        self._held[seq] = held
        longest_us = self._config.patience_us * _SPACING_TENTHS // 10
        spacing_us = min(self._spacing_us, longest_us)
        self._tail_due_us = now_us + max(self._config.tail_us, spacing_us)
        self.advance(now_us=now_us)

    def advance(self, *, now_us: int) -> None:
        """Let time pass without a packet."""
        self._expect_tail(now_us)
        self._release()
        patience_us = self._config.patience_us
        while (since_us := self._nacks.first_since_us) is not None:
            if now_us < since_us + patience_us and len(self._held) <= self._config.capacity_packets:
                break
            self._skip()
            self._release()
        if len(self._held) > self._config.capacity_packets:
            self._give_up_all()  # a frame without an end
        due = self._nacks.take_due(now_us=now_us)
        if due:
            self.counters.nack_count += len(due)
            self._events.append(NacksDue(tuple(seq & 0xFFFF for seq in due)))

    def end(self) -> None:
        """Wait for nothing any more: release what is held, whole or not."""
        while len(self._nacks):
            self._skip()
            self._release()
        self._give_up_all()
        self._tail_end = None

    def _start_at(self, seq: int, arrival: Arrival[Item]) -> None:
        self._has_started = True
        index = arrival.place[0] if arrival.place is not None else 0
        if index >= self._config.capacity_packets:
            index = 0
        self._next = self._scan = seq - index
        self._high = self._next - 1
        self._tail_end = None

    def _extend_to(self, seq: int, arrival: Arrival[Item], *, now_us: int) -> None:
        n_missing = seq - self._high - 1
        is_too_long = n_missing + len(self._nacks) > self._config.capacity_packets
        if is_too_long or self._is_outage(n_missing, arrival.timestamp):
            self.counters.packets_lost += n_missing
            self._give_up_all()
            self._start_at(seq, arrival)
        if self._high + 1 < seq:
            self._nacks.add(range(self._high + 1, seq), now_us=now_us)
        else:
            self._nacks.note_in_order()
            self._note_spacing(arrival, now_us)
        self._high = seq
        self._high_us = now_us
        self._high_timestamp = arrival.timestamp
        self._tail_end = None
        if arrival.place is not None:
            index, count = arrival.place
            if 0 < count - 1 - index < self._config.capacity_packets:
                self._tail_end = seq + count - 1 - index

    def _note_spacing(self, arrival: Arrival[Item], now_us: int) -> None:
        """Learn how far apart two packets of a frame come that follow each other."""
        if arrival.timestamp == self._high_timestamp and self._high in self._held:
            gap_us = now_us - self._high_us
            self._spacing_us -= self._spacing_us >> _FORGET_SHIFT
            self._spacing_us = max(self._spacing_us, gap_us + (gap_us >> 2))

    def _is_outage(self, n_missing: int, timestamp: int) -> bool:
        """Say whether what is missing would be too old to be shown anyway."""
        if n_missing <= self._config.outage_packets:
            return False
        gap_us = ticks_to_us((timestamp - self._high_timestamp) & 0xFFFFFFFF, RTP_TIME_BASE)
        return gap_us > self._config.patience_us

    def _expect_tail(self, now_us: int) -> None:
        if self._tail_end is None or now_us < self._tail_due_us:
            return
        self._nacks.add(range(self._high + 1, self._tail_end + 1), now_us=now_us)
        self._high = self._tail_end
        self._tail_end = None

    def _release(self) -> None:
        while (end := self._find_end()) is not None:
            taken = [self._held.pop(seq) for seq in range(self._next, end + 1)]
            self._next = self._scan = end + 1
            starts_frame = taken[0].starts_frame
            is_complete = starts_frame is not False
            if self._head_is_damaged and starts_frame is None:
                is_complete = False
            self._head_is_damaged = False
            self._emit(taken, is_complete=is_complete)

    def _find_end(self) -> int | None:
        """Return the last packet of the head frame if all of it is there."""
        while (head := self._held.get(self._next)) is not None and head.arrival.item is None:
            del self._held[self._next]
            self._next += 1
        if head is None:
            return None
        seq = max(self._scan, self._next)
        while (held := self._held.get(seq)) is not None:
            if held.arrival.timestamp != head.arrival.timestamp and held.arrival.item is not None:
                return seq - 1
            if held.ends_frame:
                return seq
            seq += 1
        self._scan = seq
        return None

    def _skip(self) -> None:
        """Give up the first gap and the frame it is in."""
        start, is_known = self._next_start()
        self._cut(start)
        self._head_is_damaged = not is_known

    def _give_up_all(self) -> None:
        self._cut(self._high + 1)
        self._head_is_damaged = True

    def _cut(self, start: int) -> None:
        """Release what came before *start* as incomplete; forget what did not."""
        n_lost = self._nacks.forget_below(start)
        if n_lost:
            self.counters.packets_lost += n_lost
            self._events.append(PacketsLost(n_lost))
        taken: list[_Held[Item]] = []
        for seq in sorted(seq for seq in self._held if seq < start):
            held = self._held.pop(seq)
            if taken and taken[-1].arrival.timestamp != held.arrival.timestamp:
                self._emit(taken, is_complete=False)
                taken = []
            taken.append(held)
        self._emit(taken, is_complete=False)
        self._next = self._scan = start
        self._high = max(self._high, start - 1)

    def _next_start(self) -> tuple[int, bool]:
        """Return where the first frame after the first gap starts, if that is known."""
        gap = self._nacks.first
        assert gap is not None
        end = None
        for seq in sorted(self._held):
            held = self._held[seq]
            place = held.arrival.place
            if place is not None:
                start = seq - place[0]
                if start > gap:
                    return start, True
                if start + place[1] > gap:
                    end = start + place[1]
            elif seq > gap and self._is_start(seq, held):
                return seq, True
            elif seq > gap and held.ends_frame:
                return seq + 1, True
        if end is not None:
            return min(end, self._high + 1), True
        return self._high + 1, False

    def _is_start(self, seq: int, held: _Held[Item]) -> bool:
        if held.starts_frame is not None:
            return held.starts_frame
        previous = self._held.get(seq - 1)
        return previous is not None and (
            previous.ends_frame or previous.arrival.timestamp != held.arrival.timestamp
        )

    def _emit(self, taken: Iterable[_Held[Item]], *, is_complete: bool) -> None:
        full = [held for held in taken if held.arrival.item is not None]
        if not full:
            return
        if is_complete:
            self.counters.frames_complete += 1
        else:
            self.counters.frames_incomplete += 1
        self._events.append(
            FrameReleased(
                timestamp=full[0].arrival.timestamp,
                items=tuple(h.arrival.item for h in full if h.arrival.item is not None),
                is_complete=is_complete,
                first_us=min(held.arrived_us for held in full),
                last_us=max(held.arrived_us for held in full),
            )
        )
