"""
What talks to a relay: publisher, watcher and demo.

May import `rtcodec` (and its WebRTC shell), never the server or an engine.
"""
