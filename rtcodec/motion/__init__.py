"""
Block motion: what of the last picture comes back where.

    native   find vectors, predict and paint blocks: C through ctypes, without the GIL
    latents  from samples to symbols, in C; what matters of them is listed
    hyper    hyper-latents of what is listed, in C
    search   what an encoder asks of the search, by its quantiser step
    predict  the prediction again, slow and plain, which `native` equals bit for bit
    vectors  vectors as the small symbols that the entropy coder takes
    said     which symbols of a frame are not zero

Integers throughout: a prediction from the same reference is the same on every machine.
"""
