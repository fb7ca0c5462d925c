"""`python -m rtcodec_server` is `rtcodec serve`."""

import sys

from rtcodec.cli import main

sys.exit(main(["serve", *sys.argv[1:]]))
