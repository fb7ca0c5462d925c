"""One packet with descriptors beside it; `socket.recv_fds` forgets the flags that it is given."""

import array
import socket

Received = tuple[bytes, list[int], bool]


def receive_packet(end: socket.socket, max_bytes: int, max_descriptors: int) -> Received:
    """
    Receive one packet of a SOCK_SEQPACKET pair.

    Returns:
        The packet, nothing when the other side has gone; descriptors, which belong to the caller
        and are not inherited; whether something was cut off.
    """
    numbers = array.array("i")
    space = socket.CMSG_SPACE(max_descriptors * numbers.itemsize)
    data, ancillary, flags, _ = end.recvmsg(max_bytes, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, numbers.tolist(), bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))
