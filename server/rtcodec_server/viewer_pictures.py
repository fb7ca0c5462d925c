"""
A stream of latents as pictures for a room's ordinary viewers, while there are any.

A decoder is there from the first frame that finds a viewer to the moment when nobody is left.
Belongs to the event loop.
"""

import asyncio
from collections.abc import Callable

from rtcodec.types import Planes
from rtcodec_server.latent_pictures import CodedPicture, LatentPictures, PictureCalls
from rtcodec_server.legacy import LegacyAudience


class ViewerPictures:
    """What a stream that was coded elsewhere gives its frames to, for those without our codec."""

    def __init__(
        self,
        audience: LegacyAudience,
        new_pictures: Callable[[], LatentPictures],
        calls: PictureCalls,
    ) -> None:
        """
        Args:
            audience: Those who want pictures.
            new_pictures: Makes what decodes for them.
            calls: What the decoder has to say.
        """
        self.audience = audience
        self._new_pictures = new_pictures
        self._calls = calls
        self._pictures: LatentPictures | None = None
        self._ending: set[asyncio.Future[None]] = set()

    @property
    def is_decoding(self) -> bool:
        """Whether there is a decoder."""
        return self._pictures is not None

    def put(
        self,
        frame: CodedPicture,
        pts: int,
        size: tuple[int, int] | None,
        *,
        is_shown: bool = True,
    ) -> None:
        """
        Decode a frame if somebody wants pictures.

        Args:
            frame: As it was coded.
            pts: 90 kHz ticks.
            size: Width and height, if they are known.
            is_shown: Whether its picture comes out.
        """
        if is_shown:
            self.audience.note_coded(0, frame.packets)
        if not self.audience.is_wanted:
            return
        if self._pictures is None:
            self._pictures = self._new_pictures()
            self._pictures.start(
                size,
                self._calls,
                on_picture=self._show,
                on_busy=self.audience.note_decoding,
            )
        self._pictures.put(frame, pts, is_shown=is_shown)

    def end_unwanted(self) -> bool:
        """End the decoder if nobody wants pictures any more; return whether that was now."""
        if self._pictures is None or self.audience.is_wanted:
            return False
        self._end()
        return True

    async def close(self) -> None:
        """End the decoder and wait for its end."""
        self._end()
        await asyncio.gather(*self._ending)
        self._calls = PictureCalls()  # they know the stream, which knows this

    def _show(self, planes: Planes, pts: int) -> None:
        self.audience.put(planes, pts)
        self.audience.compare(0, planes, pts)  # what the publisher sent is not here

    def _end(self) -> None:
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            pictures.stop()
            ending = asyncio.ensure_future(asyncio.to_thread(pictures.join))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
