"""
Conformance vectors: what every decoder must make of given bytes.

`observe` says what this decoder makes of a stream, `compare` what differs from
the expectation, `recipes` make the streams, `rtcodec vectors` runs it all.
Imported by nobody in rtcodec but the command.
"""
