"""
Delta frames as integer operations on batches of tensors, on any device that torch has.

    vectors    vectors from symbols and back
    predict    what vectors bring from stored pictures
    paint      symbols transformed back and added
    smooth     the edges of what was coded
    refine     pictures, once they are decoded
    tiles      symbols as lists of the tiles that say something
    search     vectors for a picture; latents, scales, rest: from samples to symbols
    frames     what an engine does with a batch of frames, of these

What a decoder does equals `rtcodec.motion` to the last bit: the tests ask for that on random
frames, vectors and all qp. What only an encoder does need not. Torch only: no engine, no files,
no threads.

Dims: `N` frames of a batch, `h w` places of 16x16, `Th Tw` tiles of 4x4 places, `H W` samples of a
plane. Samples are of `Fine`, 0..4080: int16 where they are kept, int32 on the way.
"""
