"""
The header of an exact picture: what holds for all its frames (rtcodec/exact/SPEC.md 2).

What the numbers do to samples is `rtcodec.exact`'s business.
"""

import zlib
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rtcodec.bitstream.cursor import Cursor, write_varint
from rtcodec.errors import Corrupt, Unsupported

MAGIC: Final = b"\x89RTX"
VERSION: Final = 1
BOUND_VERSION: Final = 2
"Of pictures that are within a bound before they are exact."

WHOLE_VERSION: Final = 3
"Of pictures whose frames are code streams of others, none of tiles."

COLOR_VERSION: Final = 4
"Of pictures of few colours, numbers of a list; and of exact ones whose differences do not wrap."

PALETTE_MAX: Final = 1 << 16
"Colours in the list."

STEPS: Final = 6
"Payloads of a tile until it has every row and column: its coarsest grid and five levels."

ALL_STEPS: Final = STEPS + 1
"Where samples are within a bound by then, and refined."

BOUND_MAX: Final = 11
SIDE_MAX: Final = 65535
SAMPLES_MAX: Final = 1 << 28
"Of one frame, all components: half a gigabyte in 16 bits."

FRAMES_MAX: Final = 1 << 24
COMPONENTS_MAX: Final = 4
TILE_BITS: Final = range(5, 10)
NOTES_MAX_BYTES: Final = 1 << 20
HEADER_MAX_BYTES: Final = NOTES_MAX_BYTES + (1 << 16) + PALETTE_MAX * (1 + 3 * COMPONENTS_MAX)

GROUPS: Final = 3
PHASES: Final = 3
TAPS: Final = 16
CLASSES_MAX: Final = 8
ENERGIES: Final = 11
WEIGHT_MAX: Final = 32767
ENERGY_MAX: Final = 65535
THRESHOLD_MAX: Final = (1 << 24) - 1

GREEN: Final = 1
"The component that differences are from."

_SIGNED, _DIFFERENCES = 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Fit:
    """How the samples of one phase of one group of levels are expected."""

    thresholds: tuple[int, ...]
    "Activity at which each class but the first begins, rising; 0 to THRESHOLD_MAX."

    weights: tuple[tuple[int, ...], ...]
    "Of each class, TAPS of them, in 256ths; -WEIGHT_MAX to WEIGHT_MAX."

    energies: tuple[int, ...]
    "ENERGIES factors, in 256ths of eighths; 0 to ENERGY_MAX."


Fits = tuple[tuple[Fit, ...], ...]
"For each group of levels, and what refines the finest if anything does, one for each phase."

_COMMON = (
    Fit(
        (),
        ((0, -4, -5, 11, -2, -7, -4, 2, -6, -9, 4, 5, 52, 53, -23, -13),),
        (2, 422, 294, 45, 0, 0, 0, 225, 189, 143, 21),
    ),
    Fit(
        (),
        ((-8, 2, 2, 13, -13, -6, -17, -6, -11, -13, -5, -8, 25, 17, -2, 3),),
        (0, 267, 95, 46, 0, 150, 0, 171, 121, 189, 10),
    ),
    Fit(
        (),
        ((8, 4, 2, -3, -20, -19, -23, -18, -12, -2, -11, -3, 19, 8, -2, -7),),
        (0, 110, 11, 0, 0, 70, 200, 122, 109, 137, 4),
    ),
)
_COMMON_REFINEMENT = (
    Fit(
        (),
        ((3, 4, 4, -2, -48, -43, -42, -44, 0, -2, -2, -1, 0, 0, -1, 1),),
        (39, 2, 0, 94, 75, 19, 12, 0, 4, 22, 755),
    ),
    Fit(
        (),
        ((3, 3, -2, 3, -44, -42, -44, -44, -1, -2, -1, -1, -1, 0, -1, 0),),
        (15, 0, 0, 172, 42, 5, 3, 5, 4, 31, 656),
    ),
    Fit(
        (),
        ((5, 5, 0, -3, -45, -44, -41, -47, -2, -1, -3, -1, 0, 1, 0, 0),),
        (9, 64, 7, 74, 85, 8, 10, 1, 0, 42, 691),
    ),
)
COMMON_FITS: Final[Fits] = (_COMMON,) * GROUPS
"For pictures too small to bring their own; fitted to photographs, half of them in 12 bits."

COMMON_REFINED_FITS: Final[Fits] = (*COMMON_FITS, _COMMON_REFINEMENT)
"The same, where there is a bound."


@dataclass(frozen=True, slots=True)
class TileModel:
    """What the tiles of a component have in common."""

    high: int
    "Samples are 0 to this, at most 65535."

    pad: int | None
    "The sample that stands for nothing, as outside a field of view; None: there is none."

    max_error: int
    "Most by which a decoded sample differs; 0: exact."

    fits: Fits

    bound: int = 0
    "0, or what samples are within after STEPS steps; 1 to BOUND_MAX."


@dataclass(frozen=True, slots=True)
class Component:
    """One of a picture's components."""

    low: int
    "Added to what tiles hold, 0..high; the least sample, may be negative."

    high: int
    pad: int | None
    fits: Fits
    "As in `TileModel`."


@dataclass(frozen=True, slots=True)
class ExactFormat:
    """What holds for all frames."""

    width: int
    height: int
    frames: int
    bits: int
    "Of a sample, 1 to 16."

    signed: bool
    differences: bool
    """Whether the first and the third of three unsigned components are coded as differences from
    the second: modulo 2**bits, or (not `is_modular`) as they are, from what it is decoded to."""

    tile_bits: int
    "Tiles are 2**tile_bits along a side."

    max_error: int
    components: tuple[Component, ...]
    "What tiles hold: each component of the picture, or, with a palette, one of numbers in it."

    notes: bytes
    "A zlib stream of JSON: what else belongs to the picture; at most NOTES_MAX_BYTES."

    bound: int = 0
    """What every sample is within once STEPS steps are there, 1 to BOUND_MAX, of pictures that are
    exact in the end; 0: nothing is said of that."""

    is_whole: bool = False
    "Whether no frame is of tiles, and HTJ2K and JPEG XL may be; exact, without differences."

    palette: tuple[tuple[int, ...], ...] = ()
    """The picture's colours, of each its components, where tiles hold numbers of them; at most
    PALETTE_MAX, and then exact without differences or bound. Empty: tiles hold samples."""

    is_unwrapped: bool = False
    "Whether differences of an exact picture without a bound are as they are, not modulo 2**bits."

    @property
    def version(self) -> int:
        """Which version of the format says this."""
        if self.is_whole:
            return WHOLE_VERSION
        if self.palette or self.is_unwrapped:
            return COLOR_VERSION
        return BOUND_VERSION if self.bound else VERSION

    @property
    def channels(self) -> int:
        """Components of the picture."""
        return len(self.palette[0] if self.palette else self.components)

    @property
    def least(self) -> int:
        """The least sample that depth and sign allow."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def steps(self) -> int:
        """Payloads of a tile."""
        return ALL_STEPS if self.bound else STEPS

    @property
    def is_modular(self) -> bool:
        """Whether differences are modulo 2**bits; not where samples are within a bound."""
        is_exact = not self.max_error and not self.bound
        return self.differences and is_exact and not self.is_unwrapped

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        side = 1 << self.tile_bits
        return -(-self.height // side), -(-self.width // side)

    def model(self, component: int) -> TileModel:
        """Return what the tiles of one component have in common."""
        one = self.components[component]
        bound = 0 if self.differences and component != GREEN else self.bound
        return TileModel(one.high, one.pad, self.max_error, one.fits, bound)


def write_exact_header(header: ExactFormat) -> bytes:
    """Write the header, check word included; `read_exact_header_at` is the inverse."""
    flags = (
        header.bits - 1
        | (_SIGNED if header.signed else 0)
        | (_DIFFERENCES if header.differences else 0)
    )
    out = bytearray([*MAGIC, header.version])
    for value in (header.width, header.height, header.frames):
        out += write_varint(value - 1)
    out += bytes([flags, header.channels - 1 << 4 | header.tile_bits])
    out += write_varint(header.max_error)
    if header.bound:
        out += write_varint(header.bound)
    if header.version == COLOR_VERSION:
        out += _write_palette(header.palette)
    for component in header.components:
        out += write_varint(_folded(component.low)) + write_varint(component.high)
        out += write_varint(0 if component.pad is None else component.pad + 1)
        out += _write_fits(component.fits)
    out += write_varint(len(header.notes)) + header.notes
    return bytes(out) + zlib.crc32(out).to_bytes(4, "big")


def read_exact_header_at(cursor: Cursor, data: bytes) -> ExactFormat:
    """
    Read the header.

    Args:
        cursor: At the first byte of *data*.
        data: What the cursor reads, for the check word.

    Raises:
        Truncated: If the bytes end early.
        Corrupt: If a field is out of range or the check word is wrong.
        Unsupported: If the version is another.
    """
    for place, byte in enumerate(MAGIC):
        if cursor.u8(f"magic[{place}]") != byte:
            raise Corrupt("not an exact picture", offset=place)
    version = cursor.u8("version")
    if version not in (VERSION, BOUND_VERSION, WHOLE_VERSION, COLOR_VERSION):
        raise Unsupported(f"exact picture version {version}", offset=len(MAGIC))
    width, height = (
        cursor.varint(name, limit=SIDE_MAX - 1) + 1 for name in ("width - 1", "height - 1")
    )
    frames = cursor.varint("frames - 1", limit=FRAMES_MAX - 1) + 1
    at = cursor.offset
    flags = cursor.u8("flags")
    bits, signed, differences = (flags & 15) + 1, bool(flags & _SIGNED), bool(flags & _DIFFERENCES)
    cursor.explain(lambda: f"{bits} bits, {'signed' if signed else 'unsigned'}")
    shape = cursor.u8("shape")
    channels, tile_bits = (shape >> 4) + 1, shape & 15
    cursor.explain(lambda: f"{channels} components, tiles of {1 << tile_bits}")
    if flags & ~(15 | _SIGNED | _DIFFERENCES):
        raise Corrupt(f"reserved flags set: {flags:#04x}", offset=at)
    if differences and (channels != 3 or signed):
        raise Corrupt("differences are between three unsigned components", offset=at)
    if channels > COMPONENTS_MAX or tile_bits not in TILE_BITS:
        raise Corrupt(f"{channels} components in tiles of 2**{tile_bits}", offset=at + 1)
    if width * height * channels > SAMPLES_MAX:
        raise Corrupt(f"a frame of {width}x{height} is too large", offset=at + 1)
    max_error = cursor.varint("max_error", limit=SIDE_MAX)
    is_whole = version == WHOLE_VERSION
    if version in (WHOLE_VERSION, COLOR_VERSION) and max_error:
        raise Corrupt(f"version {version} has no error", offset=at)
    if is_whole and differences:
        raise Corrupt("frames without tiles have no differences", offset=at)
    at = cursor.offset
    bound = cursor.varint("bound", limit=BOUND_MAX) if version == BOUND_VERSION else 0
    if version == BOUND_VERSION and (max_error or not bound):
        raise Corrupt(f"within {bound} and then within {max_error}", offset=at)
    samples = range(-(1 << bits - 1), 1 << bits - 1) if signed else range(1 << bits)
    is_unwrapped = version == COLOR_VERSION and differences
    at = cursor.offset
    palette = _read_palette(cursor, channels, samples) if version == COLOR_VERSION else ()
    if version == COLOR_VERSION and bool(palette) == differences:
        raise Corrupt("version 4 has either a palette or differences", offset=at)
    components = []
    for number in range(1 if palette else channels):
        is_apart = is_unwrapped or (differences and max_error + bound > 0)
        is_apart &= number != GREEN
        least, most = (1 - (1 << bits) if is_apart else samples[0]), samples[-1]
        if palette:
            least, most = 0, len(palette) - 1
        with cursor.within(f"component[{number}]"):
            components.append(_read_component(cursor, least, most, common_fits(bound)))
    notes = cursor.raw("notes", cursor.varint("notes_size", limit=NOTES_MAX_BYTES))
    at = cursor.offset
    crc = cursor.u32("crc")
    if crc != zlib.crc32(data[:at]):
        raise Corrupt("header's CRC does not match", offset=at)
    return ExactFormat(
        width, height, frames, bits, signed, differences, tile_bits, max_error,
        tuple(components), notes, bound, is_whole, palette, is_unwrapped,
    )  # fmt: skip


def _read_component(cursor: Cursor, least: int, most: int, common: Fits) -> Component:
    at = cursor.offset
    low = _unfolded(cursor.varint("low", limit=2 * SIDE_MAX + 1))
    high = cursor.varint("high", limit=SIDE_MAX)
    if low < least or low + high > most:
        raise Corrupt(f"{low} to {low + high} are not within {least} to {most}", offset=at)
    pad = cursor.varint("pad + 1", limit=high + 1)
    return Component(low, high, pad - 1 if pad else None, _read_fits(cursor, common))


def _write_palette(palette: tuple[tuple[int, ...], ...]) -> bytes:
    """Write colours as runs, in which each is as far from the one before."""
    out = bytearray(write_varint(len(palette)))
    before: tuple[int, ...] = (0,) * COMPONENTS_MAX
    steps = []
    for color in palette:
        steps.append(tuple(a - b for a, b in zip(color, before, strict=False)))
        before = color
    for step, run in groupby(steps):
        out += write_varint(sum(1 for _ in run) - 1)
        for part in step:
            out += write_varint(_folded(part))
    return bytes(out)


def _read_palette(cursor: Cursor, channels: int, samples: range) -> tuple[tuple[int, ...], ...]:
    count = cursor.varint("colors", limit=PALETTE_MAX)
    colors: list[tuple[int, ...]] = []
    last = (0,) * channels
    while len(colors) < count:
        at = cursor.offset
        with cursor.within(f"colors[{len(colors)}]"):
            run = cursor.varint("run - 1", limit=count - len(colors) - 1) + 1
            step = [_unfolded(cursor.varint("step", limit=2 * SIDE_MAX + 1)) for _ in last]
        ends = [(value + part, value + run * part) for value, part in zip(last, step, strict=True)]
        if any(end not in samples for pair in ends for end in pair):
            raise Corrupt("a colour has a sample that is none", offset=at)
        for _ in range(run):
            last = tuple(value + part for value, part in zip(last, step, strict=True))
            colors.append(last)
    return tuple(colors)


def common_fits(bound: int) -> Fits:
    """Return those of pictures that bring none, with or without a bound."""
    return COMMON_REFINED_FITS if bound else COMMON_FITS


def _write_fits(fits: Fits) -> bytes:
    common = COMMON_REFINED_FITS[: len(fits)]
    if fits == common:
        return b"\x00"
    out = bytearray(b"\x01")
    for row, usual_row in zip(fits, common, strict=True):
        for fit, usual in zip(row, usual_row, strict=True):
            out.append(len(fit.weights) - 1)
            last = 0
            for threshold in fit.thresholds:
                out += write_varint(threshold - last)
                last = threshold
            before = usual.weights[0]
            for weights in fit.weights:
                for weight, old in zip(weights, before, strict=True):
                    out += write_varint(_folded(weight - old))
                before = weights
            for energy in fit.energies:
                out += write_varint(energy)
    return bytes(out)


def _read_fits(cursor: Cursor, common: Fits) -> Fits:
    at = cursor.offset
    form = cursor.u8("fits")
    cursor.explain(lambda: "common" if not form else "its own")
    if form > 1:
        raise Corrupt(f"fits of form {form}", offset=at)
    if not form:
        return common
    return tuple(
        tuple(
            _read_fit(cursor, f"fit[{group}][{phase}]", common[group][phase])
            for phase in range(PHASES)
        )
        for group in range(len(common))
    )


def _read_fit(cursor: Cursor, name: str, usual: Fit) -> Fit:
    with cursor.within(name):
        at = cursor.offset
        n_classes = cursor.u8("classes - 1") + 1
        if n_classes > CLASSES_MAX:
            raise Corrupt(f"{n_classes} classes", offset=at)
        thresholds, last = [], 0
        for _ in range(n_classes - 1):
            last += cursor.varint("threshold", limit=THRESHOLD_MAX - last)
            thresholds.append(last)
        rows, before = [], usual.weights[0]
        for _ in range(n_classes):
            at = cursor.offset
            moves = [cursor.varint("weight", limit=4 * WEIGHT_MAX + 1) for _ in range(TAPS)]
            before = tuple(old + _unfolded(move) for old, move in zip(before, moves, strict=True))
            if max(map(abs, before)) > WEIGHT_MAX:
                raise Corrupt(f"a weight is beyond {WEIGHT_MAX}", offset=at)
            rows.append(before)
        energies = [cursor.varint("energy", limit=ENERGY_MAX) for _ in range(ENERGIES)]
        return Fit(tuple(thresholds), tuple(rows), tuple(energies))


def _folded(value: int) -> int:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    return 2 * value if value >= 0 else -2 * value - 1


def _unfolded(value: int) -> int:
    return value // 2 if value % 2 == 0 else -(value + 1) // 2
