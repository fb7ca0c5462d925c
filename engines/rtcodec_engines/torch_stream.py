"""
What the GPU engine knows of one stream beside its rows on the device.

A slot has a row of its own from its first picture on. What is in it is known only once a batch that
was to fill it has run; rows go back when nothing that is under way writes to them.
"""

from dataclasses import dataclass, field

from rtcodec.errors import LocalProtocolError
from rtcodec_engines.batch_rows import Size, padded_size
from rtcodec_engines.tensor.slab import SCRATCH, Slab


@dataclass(slots=True)
class TorchStream:
    """One state of the engine; `let_go` and `close` are called under the engine's lock."""

    width: int
    height: int
    slab: Slab
    row: int
    slots: dict[int, int] = field(default_factory=dict)
    "Rows of pictures, by slot."

    lost: set[int] = field(default_factory=set)
    "Slots of which nobody knows what is there: a batch that was to fill them has failed."

    n_running: int = 0
    "Calls that it has a job in."

    is_closed: bool = False

    @property
    def size(self) -> Size:
        """Of its frames, padded."""
        return padded_size(self.width, self.height)

    def picture(self, slot: int) -> int:
        """
        Return the row of a picture.

        Raises:
            LocalProtocolError: If nothing was ever stored there.
        """
        try:
            return self.slots[slot]
        except KeyError:
            raise LocalProtocolError(f"nothing was stored in slot {slot}") from None

    def row_to_store(self, slot: int | None, most: int) -> int:
        """
        Return the row that a picture goes to, `SCRATCH` for None.

        Raises:
            LocalProtocolError: If it has *most* pictures already.
        """
        if slot is None:
            return SCRATCH
        if slot not in self.slots:
            if len(self.slots) == most:
                raise LocalProtocolError(f"more than {most} pictures of one stream")
            self.slots[slot] = self.slab.row(self.row, len(self.slots))
            self.lost.add(slot)  # until something is there
        return self.slots[slot]

    def let_go(self, slot: int | None, *, has_run: bool) -> None:
        """Note the end of a call that was to fill a *slot*, if any."""
        if slot is not None:
            (self.lost.discard if has_run else self.lost.add)(slot)
        self.n_running -= 1
        self._give_back()

    def close(self) -> None:
        """Give its rows back once nothing writes to them."""
        self.is_closed = True
        self._give_back()

    def _give_back(self) -> None:
        if self.is_closed and not self.n_running:
            self.slab.give_back(self.row)
