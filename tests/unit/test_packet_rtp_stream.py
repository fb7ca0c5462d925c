"""RTP packets of one receiver, read back by another implementation."""

from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpSendParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket, unwrap_rtx

from rtcodec.packet.packetizer import Packetizer, cut_frame, foreign_frame
from rtcodec.packet.payload import FrameTiming
from rtcodec.packet.rtp_stream import RESEND_BURST_PACKETS, ExtensionBlock, RetransmitAs, RtpStream
from rtcodec.webrtc.header_extensions import extension_block
from rtcodec.webrtc.transport_feedback import EXTENSION_URI

TIMING = FrameTiming(pts=1, received_us=2)
PACKETS = (b"first", b"second" * 400, b"last")
FRAME = cut_frame(PACKETS, timing=TIMING, is_keyframe=True)
RTX = RetransmitAs(104, 8)
NTP = 0x12345678_9ABCDEF0
EXTENSIONS = HeaderExtensionsMap()
EXTENSIONS.configure(
    RTCRtpSendParameters(
        headerExtensions=[
            RTCRtpHeaderExtensionParameters(1, "urn:ietf:params:rtp-hdrext:sdes:mid"),
            RTCRtpHeaderExtensionParameters(
                3, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
            ),
        ]
    )
)


def stream(*, seq: int = 65_534, rtx: RetransmitAs | None = RTX, history: int = 16) -> RtpStream:
    return RtpStream(
        payload_type=103,
        ssrc=7,
        first_seq=seq,
        timestamp_origin=2**32 - 1000,
        extensions=extension_block(EXTENSIONS, "0"),
        rtx=rtx,
        first_rtx_seq=65_535,
        history_packets=history,
    )


def write(made: RtpStream, delivery: int = 0, pts: int = 3000) -> list[RtpPacket]:
    return [RtpPacket.parse(packet, EXTENSIONS) for packet in wire(made, delivery, pts)]


def wire(made: RtpStream, delivery: int = 0, pts: int = 0) -> list[bytes]:
    packets = made.lay_out(FRAME, delivery=delivery, pts=pts)
    return [made.write(packet, ntp=NTP) for packet in packets]


def again(made: RtpStream, seq: int) -> bytes:
    packet = made.kept(seq)
    assert packet is not None
    return made.write_again(packet, ntp=NTP)


def test_packets_carry_what_a_packetizer_of_their_own_would_have_made() -> None:
    packetizer, made = Packetizer(), stream()
    n_bytes = 0
    for delivery in range(2):
        payloads = packetizer.packetize(PACKETS, timing=TIMING, is_keyframe=True)
        assert [packet.payload for packet in write(made, delivery)] == payloads
        n_bytes += sum(map(len, payloads))
    assert made.n_packets == 2 * len(FRAME.payloads)
    assert made.n_bytes == n_bytes == 2 * FRAME.payload_bytes
    assert FRAME.bitstream_bytes == sum(map(len, PACKETS))


def test_headers_say_where_a_packet_stands() -> None:
    made = stream()
    packets = write(made)
    assert [packet.sequence_number for packet in packets] == [65_534, 65_535, 0, 1, 2]
    assert [packet.marker for packet in packets] == [0, 0, 0, 0, 1]
    assert {packet.timestamp for packet in packets} == {2000} == {made.timestamp}
    assert {(packet.ssrc, packet.payload_type) for packet in packets} == {(7, 103)}
    assert {packet.extensions.mid for packet in packets} == {"0"}
    assert {packet.extensions.abs_send_time for packet in packets} == {NTP >> 14 & 0xFFFFFF}


def test_the_bytes_of_a_frame_are_shared_between_receivers() -> None:
    one, other = stream(), stream(seq=5)
    write(one), write(other, delivery=9)
    shared = FRAME.payloads[0].rest
    kept = [made._history[seq % 16] for made, seq in ((one, 65_534), (other, 5))]
    assert all(sent is not None and sent.payload.rest is shared for sent in kept)


def test_a_retransmission_unwraps_to_what_was_sent() -> None:
    made = stream()
    sent = write(made, delivery=300)
    for n, packet in enumerate((sent[0], sent[4])):
        rtx = RtpPacket.parse(again(made, packet.sequence_number), EXTENSIONS)
        assert (rtx.ssrc, rtx.payload_type) == (8, 104)
        assert rtx.sequence_number == (65_535 + n) & 0xFFFF
        back = unwrap_rtx(rtx, payload_type=103, ssrc=7)
        assert vars(back) == vars(packet)


def test_without_rtx_a_packet_is_sent_again_as_it_was() -> None:
    made = stream(rtx=None)
    assert wire(made)[0] == again(made, 65_534)


def test_what_is_not_kept_cannot_be_sent_again() -> None:
    made = stream(history=4)
    assert made.kept(65_534) is None  # never sent
    write(made)
    assert made.kept(65_534) is None  # pushed out by the fifth
    assert made.kept(2) is not None


def test_no_more_is_sent_again_than_was_sent() -> None:
    made = stream()
    write(made)
    taken = [made.kept(2) for _ in range(RESEND_BURST_PACKETS + 10)]
    assert sum(packet is not None for packet in taken) == RESEND_BURST_PACKETS
    write(made)  # five packets, so five more
    taken = [made.kept(3) for _ in range(10)]
    assert sum(packet is not None for packet in taken) == 5


def test_a_stream_without_extensions_has_none() -> None:
    block = extension_block(HeaderExtensionsMap(), "0")
    assert block == ExtensionBlock(b"")
    made = RtpStream(
        payload_type=103,
        ssrc=7,
        first_seq=0,
        timestamp_origin=0,
        extensions=block,
        rtx=RetransmitAs(104, 8),
        history_packets=8,
    )
    packets = wire(made)
    assert [RtpPacket.parse(p).payload[5:] for p in packets][-1] == FRAME.payloads[-1].rest[2:]
    assert not made.has_numbers
    assert made.has_rtx
    assert (
        unwrap_rtx(RtpPacket.parse(again(made, 0)), 103, 7).payload
        == RtpPacket.parse(packets[0]).payload
    )


def test_payloads_of_another_codec_go_out_and_again_as_they_are() -> None:
    made = stream(seq=5)
    payloads = [b"\x90one", b"\x00two"]
    frame = foreign_frame(payloads)
    assert frame.bitstream_bytes == frame.payload_bytes == 8
    laid_out = made.lay_out(frame, delivery=9, pts=0)
    packets = [RtpPacket.parse(made.write(packet, ntp=NTP), EXTENSIONS) for packet in laid_out]
    assert [packet.payload for packet in packets] == payloads
    assert [packet.marker for packet in packets] == [0, 1]
    assert unwrap_rtx(RtpPacket.parse(again(made, 6), EXTENSIONS), 103, 7).payload == payloads[1]


def test_a_packet_is_numbered_when_it_leaves_and_again_when_it_is_sent_again() -> None:
    numbered = HeaderExtensionsMap()
    numbered.configure(
        RTCRtpSendParameters(
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(2, "urn:ietf:params:rtp-hdrext:sdes:mid"),
                RTCRtpHeaderExtensionParameters(4, EXTENSION_URI),
                RTCRtpHeaderExtensionParameters(
                    3, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
                ),
            ]
        )
    )
    for extensions in (numbered, only_numbers()):
        made = RtpStream(
            payload_type=103,
            ssrc=7,
            first_seq=0,
            timestamp_origin=0,
            extensions=extension_block(extensions, "0"),
            rtx=RTX,
            history_packets=8,
        )
        assert made.has_numbers
        assert not stream(rtx=None).has_rtx
        first, *_, last = made.lay_out(FRAME, delivery=0, pts=0)
        assert (first.ends_frame, last.ends_frame) == (False, True)
        for number, write in ((0x1234, made.write), (0xFFFF, made.write_again)):
            data = write(first, ntp=NTP, number=number)
            assert len(data) + 10 <= first.size_bytes + 4  # what pacers and estimates count
            read = RtpPacket.parse(data, extensions).extensions
            assert read.transport_sequence_number == number
            assert read.abs_send_time in (None, NTP >> 14 & 0xFFFFFF)


def only_numbers() -> HeaderExtensionsMap:
    extensions = HeaderExtensionsMap()
    extensions.configure(
        RTCRtpSendParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(4, EXTENSION_URI)])
    )
    return extensions
