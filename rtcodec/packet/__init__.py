"""
Bitstream packets <-> RTP payloads, and the order they come out in.

    packets of a frame -> Packetizer -> RTP payloads -> network
      -> JitterBuffer (order, NACK, deadline) -> Depacketizer -> packets + timing

Sans-I/O: time is an argument, a deadline is a property, work comes out as
events. No sockets, no clock, no entropy decoding.
"""
