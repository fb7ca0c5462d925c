"""
What a training step is fed: crops for the intra networks, streams for those of delta frames.

Both give batches whose first tensor is what is to be coded and whose last is qp, and take back
what became of it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops, CropsAhead, Picture, clips_of
from rtcodec.models.network import Codec, pack_planes
from rtcodec.models.streams import Blocks, Draw, Streams, to_blocks, to_samples
from rtcodec.models.tier import QP_COUNT


class Supply(Protocol):
    """Batches for one run."""

    def next(self) -> tuple[Tensor, ...]:
        """The inputs of the networks for one step, on the CPU; x comes first and qp last."""

    def done(self, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """What the batch was decoded to, [N, 384, h16, w16], and from which symbols."""


class CropSupply:
    """Single crops, at any qp or at each integer one in turns."""

    def __init__(self, crops: Crops | CropsAhead, *, batch: int, in_turns: bool = False) -> None:
        self._crops, self._batch = crops, batch
        self._turn: int | None = 0 if in_turns else None

    def next(self) -> tuple[Tensor, ...]:
        """x [N, 384, h16, w16] and qp [N]."""
        x = pack_planes(*self._crops.batch(self._batch))
        if self._turn is None:
            return x, torch.rand(self._batch) * (QP_COUNT - 1)
        spread = torch.arange(self._batch) * QP_COUNT // self._batch
        self._turn += 1
        return x, (spread + self._turn - 1) % QP_COUNT

    def done(self, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """Nothing depends on it."""


class StreamSupply:
    """Delta frames of streams; the next batch is searched for motion while one is trained on."""

    def __init__(self, streams: Streams, pool: ThreadPoolExecutor, *, batch: int) -> None:
        self._streams, self._pool, self._batch = streams, pool, batch
        self._now: Draw | None = None
        self._ahead = pool.submit(streams.take, batch)

    def next(self) -> tuple[Tensor, ...]:
        """A `Sample`."""
        self._now = self._ahead.result()
        self._ahead = self._pool.submit(self._streams.take, self._batch)
        return self._now.sample

    def done(self, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """The streams go on from *x_hat*, smoothed where *symbols* are given."""
        assert self._now is not None
        self._ahead.result()  # or the order of random choices would depend on the threads
        self._streams.give_back(self._now, x_hat, symbols)


@contextmanager
def stream_supply(
    pictures: Sequence[Picture], intra: Codec, config: TrainConfig, *, seed: int
) -> Iterator[StreamSupply]:
    """
    Delta frames of the clips and stills in *pictures*, their first frames coded by *intra*.

    Raises:
        InputError: If no clip is large enough.
    """
    intra = intra.eval()

    @torch.no_grad()
    def code(blocks: Blocks, qp: int) -> Blocks:
        return to_blocks(intra(to_samples([blocks]), torch.tensor([qp])).x_hat)[0]

    stills = [picture for picture in pictures if picture.clip is None]
    streams = Streams(clips_of(pictures), stills, code, size=config.crop_px, seed=seed)
    with ThreadPoolExecutor(1) as pool:
        yield StreamSupply(streams, pool, batch=config.batch)


@contextmanager
def crop_supply(
    pictures: list[Picture], config: TrainConfig, *, seed: int, workers: int = 0
) -> Iterator[CropSupply]:
    """
    Crops of *pictures*, cut ahead by *workers* threads, or between the steps.

    Raises:
        InputError: If no picture is large enough.
    """
    with ExitStack() as stack:
        source: Crops | CropsAhead = Crops(pictures, size=config.crop_px, seed=seed)
        if workers:
            suppliers = [
                Crops(pictures, size=config.crop_px, seed=seed + (i + 1) * 10**6)
                for i in range(workers)
            ]
            source = stack.enter_context(CropsAhead(suppliers, count=config.batch))
        yield CropSupply(source, batch=config.batch)
