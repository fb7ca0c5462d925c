"""
The library of the entropy coder and the scale network: what its functions take.

For `native` and `native_tiles` only, which check every argument before they call one.
"""

from __future__ import annotations

import ctypes
from functools import cache

from rtcodec.entropy.build import LIBRARY
from rtcodec.entropy.library import Signatures, load_library

LIBRARY_VERSION = 5
"What rtc_version of a library built from this source returns."

PTR = ctypes.c_void_p
U32 = ctypes.c_uint32
_SIGNATURES: Signatures = {
    "rtc_version": (U32, ()),
    "rtc_tables_size": (ctypes.c_size_t, (U32,)),
    "rtc_tables_build": (None, (PTR, PTR, U32, U32, PTR, U32, PTR)),
    "rtc_context_indices": (None, (PTR, PTR, PTR, U32, PTR)),
    "rtc_decode_begin": (ctypes.c_int32, (PTR, ctypes.c_char_p, U32, U32)),
    "rtc_decode_z": (ctypes.c_int32, (PTR, PTR, U32, PTR, U32)),
    "rtc_decode_y": (ctypes.c_int32, (PTR, PTR, PTR, U32, PTR)),
    "rtc_encode_list": (None, (PTR, PTR, PTR, U32, PTR, PTR)),
    "rtc_tile_costs": (None, (PTR, PTR, PTR, PTR, U32, U32, PTR)),
    "rtc_encode": (U32, (PTR, U32, PTR, U32, PTR, U32, U32, PTR, U32)),
    "rtc_gather": (None, (PTR, PTR, PTR, PTR, U32, U32, U32, U32)),
    "rtc_scatter": (None, (PTR, PTR, PTR, PTR, U32, U32, U32, U32)),
    "rtc_scale_scratch": (ctypes.c_size_t, (PTR,)),
    "rtc_copies_decode": (ctypes.c_int32, (ctypes.c_char_p, U32, U32, U32, U32, PTR, PTR)),
    "rtc_copies_encode": (U32, (PTR, U32, U32, PTR, PTR, U32)),
    "rtc_scale_indices": (None, (PTR, PTR, U32, PTR, PTR)),
}


@cache
def library() -> ctypes.CDLL:
    """Return the library, loaded once; raises as `load_library`."""
    return load_library(LIBRARY, _SIGNATURES, LIBRARY_VERSION)
