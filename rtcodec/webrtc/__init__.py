"""
WebRTC for relay and clients: aiortc, its repairs, and our codec in it.

A leaf: nothing in `rtcodec` imports it, and only it knows aiortc's private
parts (`aiortc_patch` and what it installs). `new_connection` checks the
installed aiortc first and raises `UnsupportedAiortc` if it is not the one this
was made for.

Watch (everything on one event loop):

    connection = new_connection()
    ready = add_latent_receiver(connection)               # a future
    offer = await create_offer(connection, models=[model_id])
    answer = ...                                          # POST offer to /whep/{room}
    description = await accept_answer(connection, answer)
    model = description.of_kind("video")[0].latent_parameters["model"]
    receiver = await ready
    async for frame in receiver:                          # LatentFrame
        frame.packets        # tuple[bytes, ...]: whole bitstream packets that arrived
        frame.is_complete, frame.n_payloads_missing, frame.n_frames_lost_before
        frame.number         # frames sent to us before this one
        frame.timing         # FrameTiming or None: pts, received_us, capture_us, stages
        frame.arrived_us, frame.released_us               # monotonic_us()
    receiver.request_keyframe()                           # PLI, at most one per half second
    receiver.frames_received, .frames_lost, .frames_dropped, .counters, .rtt_us
    await connection.close()                              # ends the iteration too

Publish a camera or file:

    sender = add_video_track(connection, track, codecs=("VP8",))
    raise_bitrate_limits(start_bps=2_000_000, max_bps=8_000_000)   # process wide
    offer = await create_offer(connection)                # POST to /whip/{room}
    await accept_answer(connection, answer)

Send latents (the relay; a publisher of latents alike):

    sender = LatentSender(on_pli=..., on_remb=..., on_sent=..., on_dropped=...)
    sender.attach(connection)                             # before accept_offer
    await accept_offer(connection, offer); answer = await create_answer(connection, model=...)
    sender.send(OutgoingFrame(packets, pts=..., timing=FrameTiming(...), is_keyframe=True))

Receive and decode VP8 or H.264 (the relay): `VideoReceiver(receiver)` in the
connection's "track" event, then `await video.recv()` -> DecodedFrame.

`add_latent_receiver` puts its handlers on "track" and "connectionstatechange";
more of your own may be added. Loopback works everywhere: 127.0.0.1 is always
among the candidates, and the only one with `loopback_only=True`.
"""

from rtcodec.webrtc.aiortc_patch import (
    LATENT_CODEC_NAME,
    UnsupportedAiortc,
    install,
    raise_bitrate_limits,
)
from rtcodec.webrtc.clock import monotonic_us, to_unix_us, unix_us
from rtcodec.webrtc.connection import (
    accept_answer,
    accept_offer,
    add_latent_receiver,
    add_video_track,
    create_answer,
    create_offer,
    new_connection,
)
from rtcodec.webrtc.latent_receiver import LatentFrame, LatentReceiver
from rtcodec.webrtc.latent_sender import LatentSender
from rtcodec.webrtc.newest import NewestQueue, QueueClosed
from rtcodec.webrtc.outgoing_frame import OutgoingFrame
from rtcodec.webrtc.sdp import check_latent_offer, is_same_model, read_sdp
from rtcodec.webrtc.video_receiver import DecodedFrame, VideoReceiver

__all__ = [
    "LATENT_CODEC_NAME",
    "DecodedFrame",
    "LatentFrame",
    "LatentReceiver",
    "LatentSender",
    "NewestQueue",
    "OutgoingFrame",
    "QueueClosed",
    "UnsupportedAiortc",
    "VideoReceiver",
    "accept_answer",
    "accept_offer",
    "add_latent_receiver",
    "add_video_track",
    "check_latent_offer",
    "create_answer",
    "create_offer",
    "install",
    "is_same_model",
    "monotonic_us",
    "new_connection",
    "raise_bitrate_limits",
    "read_sdp",
    "to_unix_us",
    "unix_us",
]
