"""
Block motion: what of the last picture comes back where.

    native   find vectors, predict blocks: C through ctypes, without the GIL
    predict  the prediction again, slow and plain, which `native` equals bit for bit
    vectors  vectors as the small symbols that the entropy coder takes

Integers throughout: a prediction from the same reference is the same on every machine.
"""
