"""`python -m rtcodec` is the `rtcodec` command."""

import sys

from rtcodec.cli import main

if __name__ == "__main__":
    sys.exit(main())
