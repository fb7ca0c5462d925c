"""A model small enough to train and export within a test, and pictures for it. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rtcodec.bundle import Bundle
from rtcodec.models.config import TrainConfig
from rtcodec.models.data import Crops, Picture, PlaneArrays, rgb_to_planes
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.export import export, export_part
from rtcodec.models.network import Codec
from rtcodec.models.run import Run
from rtcodec.models.start import set_ranges, start
from rtcodec.models.supply import CropSupply, StreamSupply, stream_supply
from rtcodec.models.tier import Tier

TINY = Tier("tiny", 16, 24, 8, 1, 2, 8)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Smooth RGB [height, width, 3] with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(image, np.float64) + rng.normal(0, 4, (height, width, 3))
    return noisy.round().clip(0, 255).astype(np.uint8)


def pictures(count: int = 3, height: int = 96, width: int = 128) -> list[Picture]:
    """Pictures as `load_pictures` returns them."""
    return [Picture(*rgb_to_planes(picture(height, width, i)), 1.0) for i in range(count)]


def crops(seed: int = 1) -> Crops:
    """Crops of 64x64 pixels."""
    return Crops(pictures(), size=64, seed=seed)


def supply(seed: int = 1, *, batch: int = 2, in_turns: bool = False) -> CropSupply:
    """Training batches of those crops."""
    return CropSupply(crops(seed), batch=batch, in_turns=in_turns)


def started(config: TrainConfig, out: Path, **options: Any) -> Run:
    """A run of the tiny tier on those crops; *options* as of `Run`."""
    return Run(config, out, supply(), torch.device("cpu"), crops=crops(), **options)


def codec(seed: int = 0, *, int8: bool = False) -> Codec:
    """A tiny codec as if trained: a transform, every weight a little off its start."""
    torch.manual_seed(seed)
    net = Codec(TINY)
    start(net, crops())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    net.eval()
    if int8:
        set_ranges(net, supply(batch=8, in_turns=True), batches=8)
    return net


def delta_codec(seed: int = 0) -> DeltaCodec:
    """Tiny networks of delta frames as if trained."""
    torch.manual_seed(seed)
    net = DeltaCodec(TINY)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return net.eval()


def clip(seed: int = 0, *, frames: int = 4, side: int = 64) -> list[PlaneArrays]:
    """Frames of a picture that moves by 3 samples down and 2 across from one to the next."""
    whole = picture(side + 32, side + 32, seed)
    return [rgb_to_planes(whole[3 * t : 3 * t + side, 2 * t : 2 * t + side]) for t in range(frames)]


def clip_pictures(count: int = 2) -> list[Picture]:
    """Two clips and two stills, as `load_pictures` returns them."""
    found = [Picture(*planes, 1.0, i) for i in range(count) for planes in clip(i)]
    return [*found, *pictures(2, 128, 128)]


@contextmanager
def delta_supply(seed: int = 1, *, batch: int = 2) -> Iterator[StreamSupply]:
    """Delta frames of those clips, their first frames coded by the tiny intra codec."""
    config = TrainConfig(tier="tiny", delta=True, crop_px=64, batch=batch)
    with stream_supply(clip_pictures(), codec(), config, seed=seed) as feed:
        yield feed


def delta_bundle(folder: Path, *, int8: bool = False) -> Bundle:
    """A tiny model of both kinds of frames."""
    intra = export(codec(int8=int8), crops(), folder, batches=2, card={"note": "tiny"})
    with delta_supply() as feed:
        return export_part(delta_codec(), intra, feed, folder, batches=2, card={"note": "tiny too"})


def assert_go_on_alike(run: Run, resumed: Run) -> None:
    """One more step leaves both runs with the same weights."""
    for one in (run, resumed):
        one.supply = supply(seed=8)
        torch.manual_seed(2)
        one.advance(0.2)
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    for name, value in run.averages.items():
        assert torch.equal(value, resumed.averages[name]), name


def data_folder(folder: Path, *, images: int = 2) -> Path:
    """Write a training folder with a few PNG images of 128x96 pixels and no clips."""
    (folder / "images").mkdir(parents=True)
    for i in range(images):
        Image.fromarray(picture(96, 128, i)).save(folder / "images" / f"p{i}.png")
    return folder


def write_clip(path: Path, frames: int) -> None:
    """Write a lossless yuv420p clip of 96x64 pixels."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(frames):
            grey = np.full((96, 96), 10 + 20 * i, np.uint8)  # [H * 3 / 2, W]
            grey[64:80] = 90 + i
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "yuv420p")))
        container.mux(stream.encode(None))
