"""
Runs clips through codecs and measures size, PSNR and time.

    clip --encode--> bytes --decode--> planes --PSNR against the clip--> Point

Reads the clock; otherwise the same inputs give the same points.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import av

from rtcodec.errors import BitstreamError, InputError
from rtcodec.evaluation.clip import Clip, find_inputs, read_clip
from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.registry import CodecShelf
from rtcodec.evaluation.result import Evaluation, Failure, Point
from rtcodec.quality import PlanePsnr, mean_psnr, picture_psnr
from rtcodec.types import Planes

Progress = Callable[[int, str], None]
"Called after each point with the number of points in all, and the point in words."

_FAILURES = (av.FFmpegError, BitstreamError, InputError, OSError, ValueError)


def evaluate(
    inputs: Sequence[Path | Clip],
    codecs: Sequence[str | Codec] | None = None,
    *,
    max_frames: int | None = None,
    settings: Mapping[str, Sequence[int]] | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    into: Evaluation | None = None,
) -> Evaluation:
    """
    Measure the rate-distortion of codecs on the caller's own material.

    Args:
        inputs: Files, folders of files, or clips already read.
        codecs: Names (see `registry`), paths of model bundles, or objects; None
            takes our models and the usual rivals of each kind of input.
        max_frames: Frames read of each video; None for all.
        settings: Codec name to the settings to measure instead of its own.
        threads: Points of other codecs measured side by side (each on one
            thread), and threads of our engine.
        progress: Told about each step.
        into: Filled as points come in, so that an interrupted run keeps them.

    Raises:
        InputError: If an input cannot be read; before anything is measured.
        ConfigError: If a codec is unknown or not available.
        EngineError: If no engine can run our model.
    """
    result = Evaluation() if into is None else into
    with ExitStack() as stack:
        shelf = stack.enter_context(closing(CodecShelf(threads=threads)))
        sources = _sources(inputs)
        jobs = [
            (source, name, _jobs(shelf.resolve(codecs, _load(source, 1).kind), settings))
            for source, name in zip(sources, _names(sources), strict=True)
        ]
        total = sum(len(todo) for _, _, todo in jobs)
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=max(1, threads)))
        for source, name, todo in jobs:
            for codec, _ in todo:
                result.descriptions.setdefault(codec.name, codec.description)
            for label, outcome in _run(replace(_load(source, max_frames), name=name), todo, pool):
                if isinstance(outcome, Point):
                    result.points.append(outcome)
                else:
                    result.failures.append(outcome)
                if progress is not None:
                    progress(total, label)
    return result


def measure(codec: Codec, clip: Clip, setting: int) -> Point:
    """
    Code and decode *clip* once.

    Raises:
        ValueError: If it does not come back with the same frames.
    """
    start = time.perf_counter()
    encoded = codec.encode(clip, setting)
    encode_s = time.perf_counter() - start
    decode_s, pictures = _decode(codec.decode(encoded, clip), clip)
    n_frames = len(clip.frames)
    return Point(
        clip=clip.name,
        kind=clip.kind,
        width=clip.width,
        height=clip.height,
        n_frames=n_frames,
        frame_rate=clip.frame_rate,
        codec=codec.name,
        unit=codec.unit,
        setting=setting,
        size_bytes=encoded.size_bytes,
        psnr_db=mean_psnr(pictures),
        encode_ms=1000 * encode_s / n_frames,
        decode_ms=1000 * decode_s / n_frames,
    )


def _decode(decoded: Iterator[Planes], clip: Clip) -> tuple[float, list[PlanePsnr]]:
    """Return the seconds spent decoding, and each frame's PSNR (not timed)."""
    seconds = 0.0
    pictures: list[PlanePsnr] = []
    while True:
        start = time.perf_counter()
        planes = next(decoded, None)
        seconds += time.perf_counter() - start
        if planes is None:
            break
        if len(pictures) < len(clip.frames):
            pictures.append(picture_psnr(clip.frames[len(pictures)], planes))
        else:
            raise ValueError(f"more than {len(clip.frames)} frames came back")
    if len(pictures) != len(clip.frames):
        raise ValueError(f"{len(pictures)} of {len(clip.frames)} frames came back")
    return seconds, pictures


def _sources(inputs: Sequence[Path | Clip]) -> list[Path | Clip]:
    """Return the clips, then the files, folders replaced by what is in them, each once."""
    clips = [source for source in inputs if isinstance(source, Clip)]
    paths = [source for source in inputs if isinstance(source, Path)]
    return [*clips, *dict.fromkeys(find_inputs(paths) if paths or not clips else [])]


def _names(sources: Sequence[Path | Clip]) -> list[str]:
    """Return a name for each: that of the file, or its path where files share one."""
    names = [source.name for source in sources]
    return [
        str(source) if isinstance(source, Path) and names.count(name) > 1 else name
        for source, name in zip(sources, names, strict=True)
    ]


def _load(source: Path | Clip, max_frames: int | None) -> Clip:
    return source if isinstance(source, Clip) else read_clip(source, max_frames=max_frames)


def _jobs(
    codecs: Sequence[Codec], settings: Mapping[str, Sequence[int]] | None
) -> list[tuple[Codec, int]]:
    chosen = settings or {}
    return [(codec, s) for codec in codecs for s in chosen.get(codec.name, codec.settings)]


def _run(
    clip: Clip, jobs: Sequence[tuple[Codec, int]], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, Point | Failure]]:
    """Yield outcomes in the order of *jobs*; threaded codecs run alone, the rest in *pool*."""

    def attempt(codec: Codec, setting: int) -> Point | Failure:
        try:
            return measure(codec, clip, setting)
        except _FAILURES as error:
            return Failure(clip.name, codec.name, setting, " ".join(str(error).split()))

    def label(codec: Codec, setting: int) -> str:
        return f"{clip.name} {codec.name} {codec.unit} {setting}"

    for codec in dict.fromkeys(codec for codec, _ in jobs):
        codec.prepare(clip)
    for codec, setting in jobs:
        if codec.threaded:
            yield label(codec, setting), attempt(codec, setting)
    futures: list[tuple[str, Future[Point | Failure]]] = [
        (label(codec, setting), pool.submit(attempt, codec, setting))
        for codec, setting in jobs
        if not codec.threaded
    ]
    try:
        for text, future in futures:
            yield text, future.result()
    finally:
        for _, future in futures:
            future.cancel()
