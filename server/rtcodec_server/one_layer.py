"""What a stream that was coded elsewhere says of rates and rungs: it has none to choose from."""

from typing import Any, Final

from rtcodec.session.layer import LayerWish
from rtcodec_server.live_rate import LiveRate
from rtcodec_server.rung import StreamRung


class OneLayer:
    """Passes frames on at the one quality that they come in."""

    rate: Final = None
    "Whoever coded it chose the quality."

    @property
    def rates(self) -> list[LiveRate]:
        """What keeps to a target."""
        return []

    @property
    def rungs(self) -> tuple[StreamRung, ...]:
        """What frames are coded at here."""
        return ()

    def choose_layer(self, name: str, wish: LayerWish) -> None:
        """Heed which layer a subscriber wants: there is no choice."""

    def describe_subscriber(self, name: str) -> dict[str, Any]:
        """Return which rung a subscriber gets, as JSON values."""
        return {}

    def n_subscribers_of(self, rung: int) -> int:
        """Return how many get a rung."""
        return 0

    def describe_rungs(self) -> list[dict[str, Any]]:
        """Return the rungs with their figures, as JSON values."""
        return []
