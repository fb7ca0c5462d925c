"""
Runs clips through codecs, and takes over what an earlier run measured.

    inputs x codecs x settings --Reuse, or measure--> points

The same inputs give the same points, times apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import av

from rtcodec.errors import BitstreamError, InputError
from rtcodec.evaluation.clip import Clip, clip_sha256, find_inputs, read_clip
from rtcodec.evaluation.codec import Codec
from rtcodec.evaluation.measure import measure
from rtcodec.evaluation.registry import CodecShelf
from rtcodec.evaluation.result import Evaluation, Failure, Point
from rtcodec.evaluation.reuse import Reuse

Progress = Callable[[int, str], None]
"Called after each point with the number of points in all, and the point in words."

_Find = Callable[[Codec, int], Point | None]

_FAILURES = (av.FFmpegError, BitstreamError, InputError, OSError, ValueError)


def evaluate(
    inputs: Sequence[Path | Clip],
    codecs: Sequence[str | Codec] | None = None,
    *,
    max_frames: int | None = None,
    settings: Mapping[str, Sequence[int]] | None = None,
    threads: int = 1,
    keyframe_interval: int | None = None,
    reuse: Reuse | None = None,
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
        keyframe_interval: Frames from one key frame to the next, for every codec
            that has others; None for one alone. Codecs given as objects keep theirs.
        reuse: Points that need not be measured again.
        progress: Told about each step.
        into: Filled as points come in, so that an interrupted run keeps them.

    Raises:
        InputError: If an input cannot be read; before anything is measured.
        ConfigError: If a codec is unknown or not available.
        EngineError: If no engine can run our model.
    """
    result = Evaluation() if into is None else into
    with ExitStack() as stack:
        shelf = stack.enter_context(
            closing(CodecShelf(threads=threads, keyframe_interval=keyframe_interval))
        )
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
            clip = replace(_load(source, max_frames), name=name)
            result.digests[name] = clip_sha256(clip)
            for label, outcome in _run(clip, todo, pool, _finder(reuse, clip, result.digests)):
                if isinstance(outcome, Point):
                    result.points.append(outcome)
                else:
                    result.failures.append(outcome)
                if progress is not None:
                    progress(total, label)
    return result


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


def _finder(reuse: Reuse | None, clip: Clip, digests: Mapping[str, str]) -> _Find:
    """Return what looks up a point of *clip* in an earlier run."""

    def find(codec: Codec, setting: int) -> Point | None:
        if reuse is None:
            return None
        return reuse.find(codec, clip, digests[clip.name], setting)

    return find


def _run(
    clip: Clip, jobs: Sequence[tuple[Codec, int]], pool: ThreadPoolExecutor, find: _Find
) -> Iterator[tuple[str, Point | Failure]]:
    """Yield what is found or runs alone, then the rest from *pool*, each in the order of *jobs*."""

    def attempt(codec: Codec, setting: int) -> Point | Failure:
        try:
            return measure(codec, clip, setting)
        except _FAILURES as error:
            return Failure(clip.name, codec.name, setting, " ".join(str(error).split()))

    def label(codec: Codec, setting: int) -> str:
        return f"{clip.name} {codec.name} {codec.unit} {setting}"

    found = [find(codec, setting) for codec, setting in jobs]
    open_jobs = [job for job, point in zip(jobs, found, strict=True) if point is None]
    for codec in dict.fromkeys(codec for codec, _ in open_jobs):
        codec.prepare(clip)
    for (codec, setting), point in zip(jobs, found, strict=True):
        if point is not None or codec.threaded:
            yield label(codec, setting), point or attempt(codec, setting)
    futures: list[tuple[str, Future[Point | Failure]]] = [
        (label(codec, setting), pool.submit(attempt, codec, setting))
        for codec, setting in open_jobs
        if not codec.threaded
    ]
    try:
        for text, future in futures:
            yield text, future.result()
    finally:
        for _, future in futures:
            future.cancel()
