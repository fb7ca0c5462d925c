"""
Triton kernels for what `rtcodec_engines.tensor` does in many small steps: the same integers.

    motion      predictions, and symbols added to them
    edge        smoothing
    refinement  classes of cells, and pictures refined
    sight       what vectors leave of a picture
    trunk       a block of the intra networks, its trunks in 8-bit integers
    fused       `Frames` with these in place of torch

Sizes are never specialised on, so each is compiled once, when the engine starts, and not while
streams wait. Each is checked against the plain form, by Triton's interpreter where there is no
GPU. Importing this needs triton, so `fused` is imported only when asked for.
"""
