"""
The relay: WHIP in, latents out.

A shell around `rtcodec`: sockets, threads and clocks live here, decisions do
not. `app` puts the parts together.
"""
