"""
What a supervisor and its children say to each other, and how children end with it. Linux only.

For server and engines. Nothing here has a name that anybody else could open, so nothing can be
left behind: sockets come in pairs, memory comes as descriptors.
"""

from rtcodec.process.child import adopt_channel, die_with_parent, spawn
from rtcodec.process.control import ControlChannel, Message
from rtcodec.process.packet import receive_packet

__all__ = [
    "ControlChannel",
    "Message",
    "adopt_channel",
    "die_with_parent",
    "receive_packet",
    "spawn",
]
