"""The curve of a run: estimated rate and PSNR of the rounded codec on pictures of its own."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtcodec.errors import InputError
from rtcodec.models.data import image_files, read_clip, read_image
from rtcodec.models.delta import DeltaCodec
from rtcodec.models.layer import qp_to_step
from rtcodec.models.loss import BLOCK_PIXELS, weighted_psnr
from rtcodec.models.network import Codec, pack_planes
from rtcodec.models.spatial import SpatialCodec, spatial_sample
from rtcodec.models.streams import Blocks, said_by_part, smoothed, to_blocks, to_samples
from rtcodec.motion.native import Reference, rounded
from rtcodec.motion.search import find_motion, predict_best
from rtcodec.motion.vectors import motion_symbols

QPS = (4, 14, 24, 34, 44, 54, 62)


class Validation:
    """
    Centre crops of a folder's PNG images, ready to be coded.

    Raises:
        InputError: If the folder has no PNG image of at least 64x64 pixels.
    """

    def __init__(self, folder: Path, *, side: int = 512) -> None:
        """
        Args:
            folder: Looked through for `.png`, not below it.
            side: Largest side of a crop, a multiple of 64.
        """
        paths = [path for path in image_files(folder) if path.suffix.lower() == ".png"]
        crops = [_centre(read_image(path), side) for path in paths]
        self.pictures = [crop for crop in crops if crop is not None]
        if not self.pictures:
            raise InputError(f"{folder}: no PNG image of at least 64x64 pixels to validate on")

    @torch.no_grad()
    def __call__(self, net: Codec | DeltaCodec) -> list[dict[str, float]]:
        """Mean bits per pixel and mean 6:1:1 PSNR (dB) for each of QPS."""
        device = next(net.parameters()).device
        net.eval()
        rows = []
        for qp in QPS:
            bpps, psnrs = [], []
            for picture in self.pictures:
                x = picture.to(device)
                if isinstance(net, SpatialCodec):
                    sample = spatial_sample(to_blocks(picture), [qp])
                    coded = net(*(tensor.to(device) for tensor in sample))
                else:
                    coded = net(x, torch.full((1,), qp, device=device))
                bits = (coded.bits_y + coded.bits_z).item()
                bpps.append(bits / (x.shape[2] * x.shape[3] * BLOCK_PIXELS))
                psnrs.append(weighted_psnr(coded.x_hat, x))
            rows.append({"qp": qp, "bpp": float(np.mean(bpps)), "psnr": float(np.mean(psnrs))})
        net.train()
        return rows


class ClipValidation:
    """
    The middle of the first frames of a folder's clips, coded one after the other.

    Raises:
        InputError: If the folder has no clip of at least 64x64 pixels.
    """

    def __init__(self, folder: Path, *, side: int = 256, frames: int = 8) -> None:
        """
        Args:
            folder: Looked through for `.mkv`, not below it.
            side: Largest side of a crop, a multiple of 64.
            frames: Of each clip, at most.
        """
        self._clips: list[list[Blocks]] = []
        for path in sorted(folder.glob("*.mkv")):
            middles = [_centre(planes, side) for planes in islice(read_clip(path), frames)]
            if len(middles) > 1 and middles[0] is not None:
                self._clips.append([to_blocks(x)[0] for x in middles if x is not None])
        if not self._clips:
            raise InputError(f"{folder}: no clip of at least 64x64 pixels to validate on")
        self._firsts: dict[tuple[int, int], Blocks] = {}

    @torch.no_grad()
    def code_first_frames(self, intra: Codec) -> None:
        """Code the frame before the first delta frame, as often as there are QPS."""
        intra.eval()
        for number, clip in enumerate(self._clips):
            for qp in QPS:
                x_hat = intra(to_samples(clip[:1]), torch.tensor([qp])).x_hat
                self._firsts[number, qp] = to_blocks(x_hat)[0]

    @torch.no_grad()
    def __call__(self, net: Codec | DeltaCodec) -> list[dict[str, float]]:
        """Mean bits per pixel and mean 6:1:1 PSNR (dB) of the delta frames for each of QPS."""
        net.eval()
        rows = []
        for qp in QPS:
            figures = [self._code(net, number, qp) for number in range(len(self._clips))]
            bpps, psnrs = (np.concatenate(part) for part in zip(*figures, strict=True))
            rows.append({"qp": qp, "bpp": float(bpps.mean()), "psnr": float(psnrs.mean())})
        net.train()
        return rows

    def _code(self, net: nn.Module, number: int, qp: int) -> tuple[list[float], list[float]]:
        """Bits per pixel and PSNR of one clip's delta frames."""
        clip, seen = self._clips[number], self._firsts[number, qp]
        reference, start = Reference(*seen.shape[:2]), None
        device = next(net.parameters()).device
        bpps, psnrs = [], []
        for frame in clip[1:]:
            reference.fill(seen)
            step = float(qp_to_step(torch.tensor(float(qp))))
            start, intra = find_motion(reference, frame, step, start)
            fine = predict_best(reference, frame, start, intra, step)
            prediction = to_samples([rounded(fine)]).to(device)
            symbols = torch.from_numpy(motion_symbols(start, intra)[None].astype(np.float32))
            x, motion = to_samples([frame]).to(device), symbols.permute(0, 3, 1, 2).to(device)
            coded = net(x, prediction, motion, torch.full((1,), qp, device=device))
            said = said_by_part(coded.symbols)[0]
            seen = smoothed(to_blocks(coded.x_hat)[0], said, qp, start, intra)
            bits = (coded.bits_y + coded.bits_z).item()
            bpps.append(bits / (x.shape[2] * x.shape[3] * BLOCK_PIXELS))
            psnrs.append(weighted_psnr(to_samples([seen]).to(device), x))
        return bpps, psnrs


def _centre(planes: tuple[np.ndarray, np.ndarray, np.ndarray], side: int) -> Tensor | None:
    """The middle of a picture as [1, 384, h16, w16]; None if it is smaller than a tile."""
    h, w = (min(side, s // 64 * 64) for s in planes[0].shape)
    if not h or not w:
        return None
    top, left = ((s - c) // 4 * 2 for s, c in zip(planes[0].shape, (h, w), strict=True))
    parts = []
    for plane, s in zip(planes, (1, 2, 2), strict=True):
        part = plane[top // s : (top + h) // s, left // s : (left + w) // s]
        parts.append(torch.from_numpy(part.astype(np.float32))[None, None] / 255.0 - 0.5)
    return pack_planes(*parts)
