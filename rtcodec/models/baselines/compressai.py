"""
Models of CompressAI, a package of others, as writers and readers of pictures' files.

    RGB --compress--> quality, sizes, strings with their lengths --decompress--> RGB

Their weights come from the package, which downloads them, or from a folder of safetensors files:
nothing is unpickled here. Not a dependency: whoever wants the figures installs it.
"""

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from rtcodec.errors import ConfigError, Corrupt, Truncated

QUALITIES: Final = range(1, 9)
"As the package numbers its weights, from few bits to many."

MULTIPLE_PX: Final = 64
"Sides that all of its models take."

_HEADER: Final = struct.Struct(">BHHHHB")
_LENGTH: Final = struct.Struct(">I")


class CompressAiModel:
    """
    One architecture of the package's zoo with the weights of each quality, loaded when asked for.

    Raises:
        ConfigError: If the package, the architecture or the weights are missing.
    """

    def __init__(self, architecture: str, weights: Path | None = None) -> None:
        """
        Args:
            architecture: As the zoo calls it, such as `bmshj2018-hyperprior`.
            weights: Folder of `<quality>.safetensors`; None lets the package fetch its own.
        """
        self._zoo = _zoo()
        if architecture not in self._zoo.image_models:
            known = ", ".join(self._zoo.image_models)
            raise ConfigError(f"CompressAI has no model {architecture!r}; it has {known}")
        self._architecture, self._weights = architecture, weights
        self._nets: dict[int, Any] = {}
        self.qualities = self._known_qualities()
        self._net(self.qualities[0])  # what is missing is told before anything is measured

    @torch.no_grad()
    def write(self, rgb: NDArray[np.uint8], quality: int) -> bytes:
        """Code a picture [H, W, 3]."""
        height, width = rgb.shape[:2]
        x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
        pad = (0, -width % MULTIPLE_PX, 0, -height % MULTIPLE_PX)
        coded = self._net(quality).compress(F.pad(x, pad, mode="replicate"))
        strings = [one for [one] in coded["strings"]]
        head = _HEADER.pack(quality, width, height, *coded["shape"], len(strings))
        return head + b"".join(_LENGTH.pack(len(one)) + one for one in strings)

    @torch.no_grad()
    def read(self, data: bytes) -> NDArray[np.uint8]:
        """
        Return the picture of a file, [H, W, 3].

        Raises:
            Truncated: If it ends early.
            Corrupt: If bytes are left over, or there are no weights of its quality.
        """
        if len(data) < _HEADER.size:
            raise Truncated("header is incomplete", offset=len(data))
        quality, width, height, rows, columns, count = _HEADER.unpack_from(data)
        if quality not in self.qualities:
            raise Corrupt(f"quality {quality} has no weights here", offset=0)
        strings, offset = [], _HEADER.size
        for _ in range(count):
            if len(data) < offset + _LENGTH.size:
                raise Truncated("length of a string is incomplete", offset=len(data))
            (length,) = _LENGTH.unpack_from(data, offset)
            offset += _LENGTH.size
            if len(data) < offset + length:
                raise Truncated("string is incomplete", offset=len(data))
            strings.append([data[offset : offset + length]])
            offset += length
        if offset != len(data):
            raise Corrupt(f"{len(data) - offset} bytes after the strings", offset=offset)
        x_hat = self._net(quality).decompress(strings, (rows, columns))["x_hat"]
        samples = (x_hat[0, :, :height, :width].clamp(0, 1) * 255).round().to(torch.uint8)
        return np.ascontiguousarray(samples.permute(1, 2, 0).numpy())

    def _known_qualities(self) -> list[int]:
        if self._weights is None:
            # cheng2020 ends at 6
            return [q for q in QUALITIES if q in self._zoo.image.cfgs[self._architecture]]
        found = [q for q in QUALITIES if self._file(q).is_file()]
        if not found:
            raise ConfigError(f"{self._weights}: no 1.safetensors to 8.safetensors in it")
        return found

    def _file(self, quality: int) -> Path:
        assert self._weights is not None
        return self._weights / f"{quality}.safetensors"

    def _net(self, quality: int) -> Any:
        if quality not in self._nets:
            net = self._fetched(quality) if self._weights is None else self._loaded(quality)
            net.update()
            self._nets[quality] = net.eval()
        return self._nets[quality]

    def _fetched(self, quality: int) -> Any:
        try:
            return self._zoo.image_models[self._architecture](quality=quality, pretrained=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"CompressAI's weights of {self._architecture}, quality {quality}, cannot be "
                f"fetched: {error}; a folder of safetensors files will do, see docs/arch.md"
            ) from None

    def _loaded(self, quality: int) -> Any:
        path = self._file(quality)
        build = self._zoo.image.model_architectures[self._architecture]
        try:
            return build.from_state_dict(self._zoo.image.load_pretrained(load_file(path)))
        except (SafetensorError, OSError, RuntimeError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"{path}: no weights of {self._architecture}: {reason}") from None


def _zoo() -> Any:
    try:
        from compressai import zoo
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"CompressAI is not there: {error}; pip install compressai, beside a torchvision of "
            "the same build as torch"
        ) from None
    return zoo
