"""
Several processes that look like one relay.

    front (HTTP) --requests of a room--> its worker ==frames in shared memory==> engine process
    supervisor   --starts, watches, replaces-->  both

Media never pass the front: a worker's sockets are its own. Linux only.
"""
