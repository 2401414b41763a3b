"""Sound, copied as it is from one video file into another."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

LEAD = Fraction(1, 10)  # seconds: what an encoder sends ahead lies before the first picture


class CopiedSound:
    """The sound of a file on its way into a container, as far as its pictures have come.

    Its time is counted from the source's first picture.

    Args:
        source: an open container with sound.
        target: an open container, to which a stream is added.
    """

    def __init__(self, source: Any, target: Any) -> None:
        heard = source.streams.audio[0]
        self._target, self._stream = target, target.add_stream_from_template(heard)
        self._packets = _packets(source, heard)
        self._next = next(self._packets, None)
        self.copied: int = 0

    def until(self, seconds: Fraction) -> None:
        """Copy what begins before that time and was not copied yet."""
        while self._next is not None and self._next[0] < seconds:
            packet = self._next[1]
            packet.stream = self._stream
            self._target.mux(packet)
            self.copied += 1
            self._next = next(self._packets, None)


def has_sound(path: Path) -> bool:
    """Whether a file is there, and has sound."""
    import av

    if not path.is_file():
        return False
    with av.open(str(path.absolute())) as container:
        return bool(container.streams.audio)


def _packets(source: Any, heard: Any) -> Iterator[tuple[Fraction, Any]]:
    """When each packet begins, and it, the time of both counted from the first picture."""
    start = _start(source)
    for packet in source.demux(heard):
        if packet.dts is None or packet.pts is None or packet.time_base is None:
            continue  # the end of the stream
        shift = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        begins = packet.pts * packet.time_base
        if begins >= -LEAD:
            yield begins, packet


def _start(source: Any) -> Fraction:
    """The time of a container's first picture, in seconds."""
    for stream in source.streams.video:
        if stream.start_time is not None and stream.time_base is not None:
            return stream.start_time * stream.time_base
    return Fraction(0)
