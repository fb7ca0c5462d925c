"""
Exactly lossless pictures of 8 to 16 bits, coarse to fine, tile by tile.

No floats decide what is read, no I/O, no clock: samples in, bytes out. What the bytes mean is
SPEC.md beside this; `tile` is the slow form that the C files equal.
"""
