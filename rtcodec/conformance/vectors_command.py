"""
`rtcodec vectors`: check this decoder against the conformance vectors, or make them again.

    rtcodec vectors            every difference on its own line, exit 1 if there is one
    rtcodec vectors --write    print what changes, then write it, unless that breaks a promise
"""

import argparse
import sys
from pathlib import Path

from rtcodec.conformance.observe import FAST, REFERENCE
from rtcodec.conformance.store import annotated_spec, carry_out, describe, plan
from rtcodec.conformance.vector import check_vector, find_vectors
from rtcodec.errors import InputError

SPEC = Path(__file__).parents[1] / "bitstream" / "SPEC.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `rtcodec vectors`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("tests/conformance"),
        help="folder with vectors/ and models/",
    )
    parser.add_argument(
        "--reference", action="store_true", help="check the slow integers instead of the fast ones"
    )
    parser.add_argument("--write", action="store_true", help="make all vectors again")
    parser.add_argument("--dry-run", action="store_true", help="with --write: change nothing")


def run(args: argparse.Namespace) -> int:
    """
    Check or write.

    Raises:
        InputError: If there are no such vectors, one does not conform, or writing is refused.
    """
    if args.write:
        _write(args.root, dry_run=args.dry_run)
    else:
        _check(args)
    return 0


def _write(root: Path, *, dry_run: bool) -> None:
    planned = plan(root)
    for line in describe(planned, root):
        print(line)
    if dry_run:
        return
    carry_out(planned, root)
    smallest = (root / "vectors" / "smallest" / "input.rtc").read_bytes()
    if SPEC.exists():
        SPEC.write_text(annotated_spec(SPEC.read_text(), smallest))
    print(f"{len(find_vectors(root))} vectors are up to date", file=sys.stderr)


def _check(args: argparse.Namespace) -> None:
    vectors = find_vectors(args.root)
    unknown = set(args.names) - set(vectors)
    if unknown:
        raise InputError(f"{args.root}: no vector called {sorted(unknown)[0]}")
    failed = 0
    for name in args.names or vectors:
        coder = REFERENCE if args.reference else FAST
        differences = check_vector(vectors[name], args.root, coder=coder)
        failed += bool(differences)
        for line in differences:
            print(f"{name}: {line}")
    checked = len(args.names or vectors)
    if failed:
        raise InputError(f"{failed} of {checked} vectors differ")
    print(f"{checked} vectors conform", file=sys.stderr)
