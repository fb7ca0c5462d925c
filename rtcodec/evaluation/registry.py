"""The codecs that can be compared, by name."""

import difflib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import av
from PIL import features

from rtcodec.errors import ConfigError
from rtcodec.evaluation.baseline import BASELINES, Progressive
from rtcodec.evaluation.clip import Kind
from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.compressai_model import PREFIX, open_compressai
from rtcodec.evaluation.motion import MOTION_CODECS, Motion
from rtcodec.evaluation.still import Avif, Jpeg, JpegLs, Png, WebP

_ALL: tuple[Codec, ...] = (
    Jpeg(), WebP(), Avif(), Png(), JpegLs(), *BASELINES, *MOTION_CODECS,
)  # fmt: skip

RIVALS: dict[str, Codec] = {codec.name: codec for codec in _ALL}
"Every codec that is not one of our models."

OURS = ("s128", "n64")
"Models that a default comparison includes."

DEFAULTS: dict[Kind, tuple[str, ...]] = {
    "image": (*OURS, "jpeg", "webp", "avif", "png", "x264-intra"),
    "video": (*OURS, "vp8", "vp9", "x264-veryfast", "x264-medium", "x265", "svtav1"),
}
"What is compared when nothing is named."


def available(codec: Codec) -> str | None:
    """Return why *codec* cannot run on this installation, or None if it can."""
    if codec.name == "avif" and not features.check("avif"):
        return "this Pillow has no AVIF"
    if codec in BASELINES and not isinstance(codec, Progressive):
        return None if find_spec("imagecodecs") else "imagecodecs (the extra medical) is missing"
    needed: list[tuple[str, Literal["r", "w"]]] = []
    if isinstance(codec, Motion):
        needed = [(codec.encoder, "w"), (codec.decoder, "r")]
    elif codec.name in ("webp", "jpegls"):
        needed = [("libwebp" if codec.name == "webp" else "jpegls", "w"), (codec.name, "r")]
    for name, mode in needed:
        try:
            av.Codec(name, mode)
        except ValueError:
            return f"this FFmpeg has no {name}"
    return None


class CodecShelf:
    """Codecs by name, each opened once and closed together."""

    def __init__(self, *, threads: int = 1, keyframe_interval: int | None = None) -> None:
        """
        Args:
            threads: For our engine.
            keyframe_interval: Frames from one key frame to the next; None for one alone.
        """
        self._threads = threads
        self._keyframe_interval = keyframe_interval
        self._models: dict[str, Codec] = {}

    def resolve(self, wanted: Sequence[str | Codec] | None, kind: Kind) -> list[Codec]:
        """
        Turn names into codecs.

        Args:
            wanted: Names, paths of model bundles (`.rtcm`), models of CompressAI (see
                `compressai_model`), or codecs, which stay the caller's; None takes the
                defaults of *kind* that this installation has.
            kind: Of the input; decides the defaults only.

        Raises:
            ConfigError: If a name is unknown or not available here.
            EngineError: If no engine can run our model.
        """
        if wanted is not None:
            return [self._codec(each) if isinstance(each, str) else each for each in wanted]
        return [
            self._codec(name)
            for name in DEFAULTS[kind]
            if name not in RIVALS or available(RIVALS[name]) is None
        ]

    def close(self) -> None:
        """Close the models that were opened."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def _codec(self, name: str) -> Codec:
        codec = RIVALS.get(name)
        if codec is None:
            return self._model(name)
        reason = available(codec)
        if reason is not None:
            raise ConfigError(f"codec {name} is not available: {reason}")
        if self._keyframe_interval is not None and isinstance(codec, Motion):
            return codec.with_keyframes(self._keyframe_interval)
        return codec

    def _model(self, name: str) -> Codec:
        if name not in self._models:
            self._models[name] = _open_model(name, self._threads, self._keyframe_interval)
        return self._models[name]


def _open_model(name: str, threads: int, keyframe_interval: int | None) -> Codec:
    from rtcodec.evaluation.latent import installed_models, open_latent_codec

    if name.startswith(PREFIX):
        return open_compressai(name)
    models = installed_models()
    if name not in models and Path(name).suffix != ".rtcm":
        near = difflib.get_close_matches(name, [*RIVALS, *models], n=1)
        hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join([*models, *RIVALS])
        raise ConfigError(f"unknown codec {name!r}; {hint}")
    return open_latent_codec(name, threads=threads, keyframe_interval=keyframe_interval)
