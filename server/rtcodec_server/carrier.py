"""
Carries a room's latents from one relay to another: WHEP in, WHIP out, nothing re-encoded.

What the receiving relay reports and asks for goes back to the one that sends. Where either is gone
both ends are opened anew, with growing pauses.
"""

import asyncio
import logging
from collections.abc import Sequence
from random import Random
from typing import NoReturn

from rtcodec.errors import ProtocolError
from rtcodec.packet.feedback import FrameReport
from rtcodec.stats import StreamStats
from rtcodec.webrtc import LatentReceiver, LatentSender
from rtcodec_server.edge_config import ForwardConfig, LegacyConfig
from rtcodec_server.forward import MAX_PAUSE_S, backoff_s
from rtcodec_server.latent_pictures import LatentPictures
from rtcodec_server.latent_stream import LatentStream
from rtcodec_server.legacy import LegacyAudience
from rtcodec_server.logs import log_event
from rtcodec_server.upstream import UpstreamBusy, UpstreamLost, downstream, upstream

_log = logging.getLogger(__name__)

_THERE = "there"
_HEED_EVERY_S = 0.1


class Carrier:
    """One room's way from a relay to another, from outside of both."""

    def __init__(
        self,
        source: ForwardConfig,
        target: ForwardConfig,
        *,
        model_id: str,
        ice_servers: Sequence[str] = (),
        jitter: Random | None = None,
    ) -> None:
        """
        Args:
            source: A WHEP endpoint.
            target: A WHIP endpoint.
            model_id: Of the model that both have.
            ice_servers: STUN and TURN URLs.
            jitter: Spreads what many carriers ask for.
        """
        self.stats = StreamStats()
        self.connections = 0
        "Times that both relays let us in."
        self.failures = 0
        self.error: str | None = None
        self._source = source
        self._target = target
        self._model_id = model_id
        self._ice_servers = ice_servers
        self._jitter = jitter or Random()

    async def run(self) -> NoReturn:
        """Carry until cancelled."""
        n_failed = 0
        while True:
            n_before = self.stats.frames.sent
            pause_s = None
            try:
                await self._carry()
                self.error = "one of the relays ended it"
            except UpstreamBusy as busy:
                self.error, pause_s = str(busy), busy.retry_after_s
            except (ProtocolError, UpstreamLost) as error:
                self.error = str(error)
            n_failed = 1 if self.stats.frames.sent > n_before else n_failed + 1
            self.failures += 1
            log_event(_log, "forward_failed", reason=self.error, failures=n_failed)
            await asyncio.sleep(min(pause_s or backoff_s(n_failed, self._jitter), MAX_PAUSE_S))

    async def _carry(self) -> None:
        stream: LatentStream | None = None

        def on_pli() -> None:
            if stream is not None:
                stream.restart(_THERE)

        def on_report(report: FrameReport) -> None:
            if stream is not None:
                stream.report(_THERE, report)

        sender = LatentSender(
            on_sent=lambda frame, at_us: frame.token[0].sent(frame.token[1], at_us),
            on_dropped=lambda frame: frame.token[0].unsent(frame.token[1]),
            on_pli=on_pli,
            on_report=on_report,
        )
        servers = self._ice_servers
        async with (
            downstream(self._target, sender, model_id=self._model_id, ice_servers=servers) as gone,
            upstream(
                self._source, model_id=self._model_id, via=tuple, ice_servers=servers
            ) as receiver,
        ):
            self.connections += 1
            self.error = None
            log_event(_log, "forward_connected")
            stream = LatentStream(
                receiver,
                stats=self.stats,
                audience=LegacyAudience(LegacyConfig(codecs=())),
                pictures=_no_pictures,
            )
            stream.add_subscriber(_THERE, sender)
            heeding = asyncio.ensure_future(_heed(stream, receiver, gone))
            try:
                async for frame in receiver:
                    stream.receive(frame)
            finally:
                heeding.cancel()
                await asyncio.gather(heeding, return_exceptions=True)
                sender.close()
                await stream.close()


async def _heed(stream: LatentStream, receiver: LatentReceiver, gone: asyncio.Event) -> None:
    """Repeat what was not answered; end the reception when there is nobody to send to."""
    while not gone.is_set():
        stream.heed_subscribers()
        await asyncio.sleep(_HEED_EVERY_S)
    receiver.close()


def _no_pictures() -> LatentPictures:
    raise AssertionError("nobody watches here")
