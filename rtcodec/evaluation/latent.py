"""
Our own models as a codec under evaluation: whole `.rtc` files, written and read back.

    planes --engine, entropy coder--> .rtc bytes --parser, entropy coder, engine--> planes

What is counted is the file: sequence header, packet headers, check words and all.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rtcodec.bitstream.file import RtcReader, RtcWriter
from rtcodec.bitstream.packet import Geometry
from rtcodec.bitstream.sequence import MODEL_ID_BYTES, ColorRange, SequenceHeader
from rtcodec.bundle import SUFFIX, Bundle, find_bundle, installed_bundles
from rtcodec.codec.decoder import FrameDecoder
from rtcodec.codec.encoder import FrameEncoder, FramePacker
from rtcodec.codec.intra_choice import CHEAPER, NEURAL, intra_kind, is_neural_cheaper
from rtcodec.codec.reference import NewestReference, intra_qp
from rtcodec.codec.slicing import Slicing
from rtcodec.engine.api import Engine
from rtcodec.engine.loader import AUTO, open_engine
from rtcodec.errors import ConfigError
from rtcodec.evaluation.clip import Clip, Kind
from rtcodec.evaluation.codec import Encoded
from rtcodec.types import Planes

DEFAULT_QPS = (63, 56, 49, 42, 35, 28, 21, 14, 7, 0)


class Latent:
    """One of our models on one engine; delta frames after the first where the model has them."""

    unit = "qp"
    kinds: frozenset[Kind] = frozenset({"image", "video"})
    threaded = True

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        name: str | None = None,
        settings: Sequence[int] = DEFAULT_QPS,
        keyframe_interval: int | None = None,
    ) -> None:
        """
        Args:
            bundle: The model.
            engine: Runs that model; closed with the codec.
            name: In tables and plots; that of the bundle by default.
            settings: qp values to measure, from coarse to fine.
            keyframe_interval: Frames from one key frame to the next; None for one alone.
        """
        self.name = name or bundle.name
        self.settings = tuple(settings)
        self._bundle = bundle
        self._engine = engine
        self._keyframe_interval = keyframe_interval

    @property
    def description(self) -> str:
        info = self._engine.info
        model_id = self._bundle.model_id[:MODEL_ID_BYTES].hex()
        return f"rtcodec model {model_id}, {info.name} {info.precision}, .rtc files"

    def prepare(self, clip: Clip) -> None:
        first = replace(clip, frames=clip.frames[:1])
        for _ in self.decode(self.encode(first, self.settings[0]), first):
            pass

    def close(self) -> None:
        self._engine.close()

    def encode(self, clip: Clip, setting: int) -> Encoded:
        packer = FramePacker(
            self._bundle.entropy_tables,
            Slicing(),
            delta_tables=self._bundle.delta_tables,
            spatial_tables=self._bundle.spatial_tables,
        )
        leans = self._is_inter(clip) and self._keyframe_interval != 1
        chain = NewestReference() if leans else None
        encoder = FrameEncoder(
            self._engine, packer, clip.width, clip.height, references=chain, thorough=True
        )
        kind = intra_kind(None, self._bundle)
        encoder.neural = kind == NEURAL
        out = io.BytesIO()
        sizes_bytes: list[int] = []
        interval = self._keyframe_interval or len(clip.frames)
        try:
            with RtcWriter(out, self._sequence(clip)) as writer:
                for number, planes in enumerate(clip.frames):
                    keyframe = number % interval == 0
                    leading = keyframe and chain is not None
                    if kind == CHEAPER and keyframe:
                        qp = intra_qp(setting, neural=True) if leading else setting
                        encoder.neural = is_neural_cheaper(encoder, self._bundle, planes, qp)
                    qp = intra_qp(setting, neural=encoder.neural) if leading else setting
                    frame = encoder.encode(planes, qp=qp, pts=number, keyframe=keyframe)
                    sizes_bytes.append(writer.write(frame.unit))
        finally:
            encoder.close()
        return Encoded((out.getvalue(),), tuple(sizes_bytes))

    def decode(self, encoded: Encoded, clip: Clip) -> Iterator[Planes]:
        [data] = encoded.parts
        reader = RtcReader(io.BytesIO(data))
        sequence = reader.sequence
        decoder = FrameDecoder(
            self._engine,
            self._bundle,
            sequence.width,
            sequence.height,
            references=sequence.references,
        )
        try:
            for unit in reader:
                yield decoder.decode(unit.packets).planes
        finally:
            decoder.close()

    def _is_inter(self, clip: Clip) -> bool:
        """Whether frames are predicted from those before."""
        return clip.kind == "video" and self._engine.info.references >= NewestReference.SLOTS

    def _sequence(self, clip: Clip) -> SequenceHeader:
        still = clip.kind == "image"
        return SequenceHeader(
            model_id=self._bundle.model_id[:MODEL_ID_BYTES],
            geometry=Geometry(clip.width, clip.height),
            time_base=1 / clip.frame_rate,
            frame_rate=None if still else clip.frame_rate,
            color_range=ColorRange.FULL if still else ColorRange.UNSPECIFIED,
            source_format="rgb24" if still else "yuv420p",
            references=NewestReference.SLOTS if self._is_inter(clip) else 0,
        )


def installed_models() -> list[str]:
    """Return the names of the models that are shipped, the default one first."""
    names = [path.name.removesuffix(SUFFIX) for path in installed_bundles()]
    return sorted(names, key=lambda name: (name != "s128", name))


def open_latent_codec(
    name: str, *, threads: int = 1, engine: str = AUTO, keyframe_interval: int | None = None
) -> Latent:
    """
    Load a model and start an engine for it.

    Args:
        name: Of a shipped model, or the path of a `.rtcm` file.
        threads: Of the engine.
        engine: As `rtcodec.engine.loader` names it.
        keyframe_interval: Frames from one key frame to the next; None for one alone.

    Raises:
        ConfigError: If there is no such model or no engine.
        EngineError: If the engine does not start.
    """
    bundle = Bundle.load(Path(name)) if name.endswith(SUFFIX) else find_bundle(name)
    opened = _open(engine, bundle, threads)
    return Latent(bundle, opened, name=name, keyframe_interval=keyframe_interval)


def _open(engine: str, bundle: Bundle, threads: int) -> Engine:
    """Start an engine; baselines (`rtcodec train --arch`) have one of their own, in torch."""
    if bundle.card.get("arch", "rtcodec") == "rtcodec":
        return open_engine(engine, bundle, threads=threads)
    try:
        from rtcodec.models.baselines.engine import BaselineEngine
    except ModuleNotFoundError as error:
        raise ConfigError(f"model {bundle.name} needs {error.name} (the extra train)") from None
    return BaselineEngine(bundle)
