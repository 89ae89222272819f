"""Ways to cut the same input into pieces."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

Cut: TypeAlias = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def octet_by_octet(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def at_random(data: bytes) -> list[bytes]:
    """Cut into random pieces of 1 to 12 octets, which are the same for the same data."""
    dice = random.Random(zlib.crc32(data))
    pieces: list[bytes] = []
    start = 0
    while start < len(data):
        stop = start + dice.randint(1, 12)
        pieces.append(data[start:stop])
        start = stop
    return pieces


CUTS: Final[Mapping[str, Cut]] = {cut.__name__: cut for cut in (whole, octet_by_octet, at_random)}
