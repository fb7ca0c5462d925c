"""
Entropy coding of latents: frozen integer tables, rANS, the exact scale network.

Nothing here accepts a float array: integers choose symbols.
"""
