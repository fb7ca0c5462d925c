"""The curve of a run: estimated rate and PSNR of the rounded codec on pictures of its own."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtcodec.errors import InputError
from rtcodec.models.data import image_files, read_image
from rtcodec.models.loss import BLOCK_PIXELS, weighted_psnr
from rtcodec.models.network import Codec, pack_planes

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
        self._pictures = [crop for crop in crops if crop is not None]
        if not self._pictures:
            raise InputError(f"{folder}: no PNG image of at least 64x64 pixels to validate on")

    @torch.no_grad()
    def __call__(self, net: Codec) -> list[dict[str, float]]:
        """Mean bits per pixel and mean 6:1:1 PSNR (dB) for each of QPS."""
        device = next(net.parameters()).device
        net.eval()
        rows = []
        for qp in QPS:
            bpps, psnrs = [], []
            for picture in self._pictures:
                x = picture.to(device)
                coded = net(x, torch.full((1,), qp, device=device))
                bits = (coded.bits_y + coded.bits_z).item()
                bpps.append(bits / (x.shape[2] * x.shape[3] * BLOCK_PIXELS))
                psnrs.append(weighted_psnr(coded.x_hat, x))
            rows.append({"qp": qp, "bpp": float(np.mean(bpps)), "psnr": float(np.mean(psnrs))})
        net.train()
        return rows


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
