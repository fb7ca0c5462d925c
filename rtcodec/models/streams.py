"""
Streams to train delta frames on: clips whose next frame waits for what became of the last.

A pool of streams is kept going. Each step takes some at random, gives their next frame with a
prediction made from their own last reconstruction, and takes back the new one. So a batch holds
frames of all ages, and errors that build up over frames are seen and learned against
(non-cascaded training with references of one's own: DCVC-UF, arXiv 2606.04410; mixed references:
UI2C, arXiv 2510.14431). Motion is searched as an encoder would, in C.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rtcodec.engine.blocks import fill_blocks
from rtcodec.errors import InputError
from rtcodec.models.data import Bytes, Picture, PlaneArrays
from rtcodec.models.layer import qp_to_step
from rtcodec.models.tier import PIXEL_CHANNELS, QP_COUNT
from rtcodec.motion.native import FINE, Reference, rounded, smooth
from rtcodec.motion.search import find_motion, predict_best
from rtcodec.motion.smoothing import limits
from rtcodec.motion.steps import step_table
from rtcodec.motion.transform import PARTS
from rtcodec.motion.vectors import motion_symbols

Blocks = NDArray[np.uint8]
"uint8 [h16, w16, 384]."

POOL = 48
"Streams kept going; several times a batch, so that its samples have little in common."

STILL_SHARE = 0.3
"Part of the streams that are made from a still: known motion, sharp detail, no codec's traces."

LIFE_FRAMES = (4, 24)
"A stream's frames, first one not counted; clips are played to and fro to last."

QP_JITTER = 4
"Of a frame's qp around its stream's, either way."

FIRST_FINER = (0, 6, 12, 18, 18)
"How much finer a stream's first frame is coded, in qp; `rtcodec.codec.reference.KEY_FINER` mostly."

STRIDES = (1, 1, 1, 1, 1, 1, 2, 2, 3)
"Frames of the clip from one of the stream to the next."

SKIP_SHARE, DAMAGED_SHARE, GREY_SHARE, CUT_SHARE = 0.12, 0.1, 0.06, 0.02
"""Frames predicted from one further back; that lose tiles, which are then concealed; with a part
that has no prediction; with none at all."""


class Sample(NamedTuple):
    """A batch of frames with their predictions."""

    x: Tensor
    "[N, 384, h16, w16], sample values / 255 - 0.5; so is *prediction*."

    prediction: Tensor
    motion: Tensor
    "Symbols [N, 10, h16, w16] as floats."

    qp: Tensor
    "[N] integers 0..63."


class Draw(NamedTuple):
    """One batch, and whose frames it holds."""

    sample: Sample
    streams: "list[Stream]"


@dataclass(slots=True)
class Stream:
    """One clip on its way through the codec."""

    frames: list[Blocks]
    qp: int
    stride: int
    left: int
    place: int = 0
    forward: bool = True
    seen: Blocks | None = None
    "The last reconstruction."
    vectors: NDArray[np.int16] | None = None
    "Of the last frame; so is *intra*, where it had no prediction."
    intra: NDArray[np.uint8] | None = None

    def advance(self) -> None:
        """Go on to the next frame of the clip, to and fro."""
        for _ in range(self.stride):
            if self.forward and self.place == len(self.frames) - 1:
                self.forward = False
            elif not self.forward and self.place == 0:
                self.forward = True
            self.place += 1 if self.forward else -1


class Streams:
    """
    An endless supply of delta frames: what `take` gives out is given back, decoded, before long.

    Raises:
        InputError: If no clip is large enough.
    """

    def __init__(
        self,
        clips: Sequence[Sequence[PlaneArrays]],
        stills: Sequence[Picture],
        code_intra: Callable[[Blocks, int], Blocks],
        *,
        size: int,
        seed: int,
    ) -> None:
        """
        Args:
            clips: Frames in order, two or more each.
            stills: Pictures to move about.
            code_intra: What a stream's first frame becomes, at a qp.
            size: Side of the crops, a multiple of 64.
            seed: Of all choices.
        """
        self._clips = [c for c in clips if min(c[0][0].shape) >= size and len(c) > 1]
        self._stills = [p for p in stills if min(p.y.shape) >= size + 32]
        if not self._clips:
            raise InputError(f"no clip has both sides of at least {size} pixels and two frames")
        self._code_intra, self._size = code_intra, size
        self._random = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._reference = Reference(size // 16, size // 16)
        self._pool: list[Stream] = []

    def take(self, count: int) -> Draw:
        """The next frames of *count* streams that are not out already."""
        while len(self._pool) < max(POOL, count):
            self._pool.append(self._new_stream())
        self._random.shuffle(self._pool)
        out, self._pool = self._pool[:count], self._pool[count:]
        frames, predictions, motions, qps = zip(*map(self._next, out), strict=True)
        sample = Sample(
            to_samples(frames),
            to_samples(predictions),
            torch.from_numpy(np.stack(motions).astype(np.float32)).permute(0, 3, 1, 2),
            torch.tensor(qps),
        )
        return Draw(sample, out)

    def give_back(self, draw: Draw, x_hat: Tensor, symbols: Tensor | None = None) -> None:
        """
        Take what the frames of *draw* were decoded to.

        Args:
            draw: From `take`.
            x_hat: [N, 384, h16, w16].
            symbols: [N, 394, h16, w16]: edges are smoothed by them as a decoder would.
        """
        decoded = to_blocks(x_hat)
        if symbols is not None:
            said, qps = said_by_part(symbols), draw.sample.qp.tolist()
            decoded = [
                smoothed(blocks, sent, qp, stream.vectors, stream.intra)
                for blocks, sent, qp, stream in zip(decoded, said, qps, draw.streams, strict=True)
            ]
        for stream, blocks in zip(draw.streams, decoded, strict=True):
            if self._random.random() < DAMAGED_SHARE:
                self._conceal(stream, blocks)
            stream.seen = blocks
            stream.left -= 1
            if stream.left > 0:
                self._pool.append(stream)

    def _next(self, stream: Stream) -> tuple[Blocks, Blocks, NDArray[np.int16], int]:
        rng = self._random
        if stream.seen is None:
            finer = rng.choice(FIRST_FINER)
            stream.seen = self._code_intra(stream.frames[stream.place], max(0, stream.qp - finer))
        stream.advance()
        if rng.random() < SKIP_SHARE:
            stream.advance()
        frame = stream.frames[stream.place]
        qp = max(0, min(QP_COUNT - 1, stream.qp + rng.randint(-QP_JITTER, QP_JITTER)))
        self._reference.fill(stream.seen)
        step = float(qp_to_step(torch.tensor(float(qp))))
        vectors, intra = find_motion(self._reference, frame, step, stream.vectors)
        kind = rng.random()
        if kind < CUT_SHARE:
            intra[...] = 1
        elif kind < CUT_SHARE + GREY_SHARE:
            rows, columns = self._rectangle()
            intra[rows, columns] = 1
        vectors = np.where(intra[..., None, None] > 0, np.int16(0), vectors)
        stream.vectors, stream.intra = vectors, intra
        prediction = rounded(predict_best(self._reference, frame, vectors, intra, step))
        return frame, prediction, motion_symbols(vectors, intra), qp

    def _rectangle(self) -> tuple[slice, slice]:
        """Some of a crop's blocks."""
        side, rng = self._size // 16, self._random
        parts = []
        for _ in range(2):
            length = rng.randint(1, side // 2)
            start = rng.randint(0, side - length)
            parts.append(slice(start, start + length))
        return parts[0], parts[1]

    def _conceal(self, stream: Stream, blocks: Blocks) -> None:
        """Let tiles of *blocks* be lost: what was there before stands in."""
        assert stream.seen is not None
        tiles = self._noise.random((self._size // 64, self._size // 64)) < self._random.random() / 2
        lost = tiles.repeat(4, 0).repeat(4, 1)
        blocks[lost] = stream.seen[lost]

    def _new_stream(self) -> Stream:
        rng = self._random
        still = bool(self._stills) and rng.random() < STILL_SHARE
        frames = self._moved_still() if still else self._crop_of_clip()
        stride = 1 if still else rng.choice(STRIDES)
        stream = Stream(frames, rng.randrange(QP_COUNT), stride, rng.randint(*LIFE_FRAMES))
        stream.place = rng.randrange(len(frames))
        return stream

    def _crop_of_clip(self) -> list[Blocks]:
        rng, size = self._random, self._size
        clip = rng.choice(self._clips)
        height, width = clip[0][0].shape
        top, left = rng.randrange(0, height - size + 1, 2), rng.randrange(0, width - size + 1, 2)
        turn = rng.random() < 0.5, rng.random() < 0.1, rng.random() < 0.1
        gain, lift = 1.0, 0.0
        if rng.random() < 0.4:
            gain, lift = rng.uniform(0.75, 1.15), rng.uniform(-25, 25)
        drift = rng.uniform(-1.5, 1.5) if rng.random() < 0.1 else 0.0
        frames = []
        for number, planes in enumerate(clip):
            crops = []
            for plane, scale in zip(planes, (1, 2, 2), strict=True):
                rows = slice(top // scale, (top + size) // scale)
                part = plane[rows, left // scale : (left + size) // scale]
                part = part[:, ::-1] if turn[0] else part
                part = part[::-1] if turn[1] else part
                crops.append(part.T if turn[2] else part)
            shift = lift + drift * number
            if gain != 1.0 or shift:
                luma = crops[0].astype(np.float32) * gain + shift
                crops[0] = np.clip(luma + 0.5, 0, 255).astype(np.uint8)
            frames.append(_blocks_of(crops))
        return frames

    def _moved_still(self) -> list[Blocks]:
        """Frames of a still that pans, turns and zooms, with a piece of another moving over it."""
        rng = self._random
        fast = rng.choice((0.0, 0.5, 2.0, 6.0))
        count = rng.randint(4, 8)
        back = _Mover(rng, self._size, fast)
        front = _Mover(rng, self._size, rng.choice((1.0, 3.0, 8.0)))
        behind, before = (rng.choice(self._stills) for _ in range(2))
        masked = rng.random() < 0.5
        centre = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
        radius = rng.uniform(0.15, 0.4)
        noise = rng.choice((0.0, 0.0, 1.0, 2.0))
        frames = []
        for t in range(count):
            planes = []
            patch = _disc(self._size, centre, radius, front.offset(t))
            for index, (a, b) in enumerate(
                zip((behind.y, behind.u, behind.v), (before.y, before.u, before.v), strict=True)
            ):
                moved = back.move(a, t, chroma=index > 0)
                if masked:
                    mask = patch[:: 1 + (index > 0), :: 1 + (index > 0)]
                    moved = np.where(mask, front.move(b, t, chroma=index > 0), moved)
                if noise:
                    moved = moved + self._noise.normal(0, noise, moved.shape).astype(np.float32)
                planes.append(np.clip(moved + 0.5, 0, 255).astype(np.uint8))
            frames.append(_blocks_of(planes))
        return frames


class _Mover:
    """A camera's path over a still: steady motion with a turn and a zoom."""

    def __init__(self, rng: random.Random, size: int, speed: float) -> None:
        self._size = size
        self._start = rng.random(), rng.random()
        self._speed = rng.uniform(-speed, speed), rng.uniform(-speed, speed)
        self._turn = rng.uniform(-0.004, 0.004) * speed / 3
        self._zoom = 1 + rng.uniform(-0.004, 0.004) * speed / 3

    def offset(self, t: int) -> tuple[float, float]:
        """Across and down at frame *t*, in luma samples."""
        return self._speed[0] * t, self._speed[1] * t

    def move(self, plane: Bytes, t: int, *, chroma: bool) -> NDArray[np.float32]:
        """The crop of *plane* at frame *t*, float32."""
        scale = 2 if chroma else 1
        size = self._size // scale
        height, width = plane.shape
        top = round(self._start[1] * (height - size))
        left = round(self._start[0] * (width - size))
        zoom, turn = self._zoom**t, self._turn * t
        cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
        # grid_sample wants -1..1 over the plane; a crop's centre is where it turns
        kx, ky = size / width, size / height
        cx = (2 * (left + self._speed[0] * t / scale) + size) / width - 1
        cy = (2 * (top + self._speed[1] * t / scale) + size) / height - 1
        theta = torch.tensor([[[cos * kx, -sin * kx, cx], [sin * ky, cos * ky, cy]]])
        grid = F.affine_grid(theta.float(), [1, 1, size, size], align_corners=False)
        source = torch.from_numpy(plane.astype(np.float32))[None, None]
        moved = F.grid_sample(
            source, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        return moved[0, 0].numpy()


def _disc(
    size: int, centre: tuple[float, float], radius: float, offset: tuple[float, float]
) -> NDArray[np.bool_]:
    """Where a disc of the front is, [size, size]."""
    across = np.arange(size) - centre[0] * size + offset[0]
    down = np.arange(size) - centre[1] * size + offset[1]
    return across[None] ** 2 + down[:, None] ** 2 < (radius * size) ** 2


def _blocks_of(planes: Sequence[Bytes]) -> Blocks:
    side = planes[0].shape[0] // 16
    blocks = np.empty((side, side, PIXEL_CHANNELS), np.uint8)
    fill_blocks(planes, blocks)
    return blocks


def smoothed(
    blocks: Blocks,
    coded: NDArray[np.uint8],
    qp: int,
    vectors: NDArray[np.int16] | None,
    intra: NDArray[np.uint8] | None,
) -> Blocks:
    """
    A decoded frame with its edges smoothed, as a decoder does it.

    Args:
        blocks: As decoded.
        coded: Of `said_by_part`, [h16, w16].
        qp: 0..63.
        vectors: Of its prediction.
        intra: Of its prediction.
    """
    assert vectors is not None
    assert intra is not None
    h, w = intra.shape
    said = (coded > 0) | (intra > 0) | vectors.any((2, 3))
    by_tile = said.reshape(h // 4, 4, w // 4, 4).any((1, 3))
    still = ~by_tile.repeat(4, 0).repeat(4, 1)
    fine = blocks.astype(np.uint16) * np.uint16(FINE)
    luma, chroma = (int(step) for step in step_table()[qp])
    smooth(fine, coded, vectors, intra, still, limits((luma, chroma)))
    return rounded(fine)


def said_by_part(symbols: Tensor) -> NDArray[np.uint8]:
    """Symbols [N, 394, h16, w16] -> [N, h16, w16], bit p set where part p has one other than 0."""
    n, _, h, w = symbols.shape
    by_part = (symbols[:, :PIXEL_CHANNELS] != 0).reshape(n, -1, PARTS, h, w).any(1)
    bits = (1 << torch.arange(PARTS, device=symbols.device))[:, None, None]
    return (by_part * bits).sum(1).to(torch.uint8).cpu().numpy()


def to_samples(blocks: Sequence[Blocks]) -> Tensor:
    """Blocks of one size -> [N, 384, h16, w16] in channels-last order, / 255 - 0.5."""
    stacked = torch.from_numpy(np.stack(blocks)).permute(0, 3, 1, 2)
    return stacked.float() / 255 - 0.5


def to_blocks(x: Tensor) -> list[Blocks]:
    """Invert `to_samples`, rounded to bytes."""
    samples = ((x.detach().float() + 0.5) * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return list(np.ascontiguousarray(samples.permute(0, 2, 3, 1).cpu().numpy()))
