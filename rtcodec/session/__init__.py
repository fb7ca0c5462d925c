"""
Who is in which room, and for how long: one state machine, no I/O.

`lobby` decides who may come in and who must go; `message` reads the small
documents of WHIP and WHEP; `rate_limit` and `candidate` say what is too much
and where not to send. No clock, no sockets, no SDP.
"""
