"""Damage to files as copies, editors and other programs do it, and worse; the same numbers make the same damage."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

NUMBER = re.compile(rb"-?\d+(\.\d+)?")
WORDS = (
    *(b"0", b"-1", b"1e400", b"nan", b"inf", b"9" * 30, b"1" * 5000, b"-0.0", b"0x10", b"1_0", b"\xd9\xa3", b""),
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b'"',
        b"'",
        b"#",
        b"@",
        b"_",
        b"data_",
        b"loop_",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(
        b"[",
        b"{",
        b"&a ",
        b"*a",
        b"!!python/name:os.system ",
        b"../../..",
        b"%s%n",
        b"$(id)",
        b"\x1f\x8b",
        b"PK\x03\x04",
    ),
)
NUMBERS = (0, 1, -1, 2, 255, 1024, 2**15, 2**16, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
HEADER = 1100


def damaged(seeds: list[bytes], rng: random.Random) -> bytes:
    """One of the seeds after one to four kinds of damage."""
    content = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        content = rng.choice(DAMAGES)(content, rng, seeds)
    return content


Damage = Callable[[bytes, random.Random, list[bytes]], bytes]


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    low = rng.randrange(len(content) + 1)
    return low, min(len(content), low + int(2 ** rng.uniform(0, 12)))


def _flip(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    changed = bytearray(content)
    for _i in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    low, high = _span(content, rng)
    return content[:low] + rng.randbytes(high - low) + content[high:]


def _delete(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    low, high = _span(content, rng)
    return content[:low] + content[high:]


def _repeat(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    low, high = _span(content, rng)
    return content[:low] + content[low:high] * rng.choice((2, 2, 3, 50)) + content[high:]


def _truncate(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _insert(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(WORDS) + content[at:]


def _number_in_text(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    found = list(NUMBER.finditer(content[:20_000]))
    if not found:
        return content
    low, high = rng.choice(found).span()
    return content[:low] + rng.choice(WORDS) + content[high:]


def _number_in_header(content: bytes, rng: random.Random, _: list[bytes]) -> bytes:
    """An extreme number, in any place or where headers have theirs, at the beginning or the end of the file."""
    width, order = rng.choice("hiqfd"), rng.choice("<>")
    value = rng.choice(NUMBERS)
    if width in "fd":
        raw = struct.pack(order + width, float(rng.choice((value, "nan", "inf", "-inf", "1e38"))))
    else:
        size = struct.calcsize(width)
        raw = (value % 2 ** (8 * size)).to_bytes(size, "little" if order == "<" else "big")
    reach = max(min(len(content), HEADER) - len(raw), 1)
    at = rng.choice((rng.randrange(0, reach, 4), rng.randrange(reach), max(len(content) - rng.randrange(reach), 0)))
    return content[:at] + raw + content[at + len(raw) :]


def _splice(content: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    other = rng.choice(seeds)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


DAMAGES: tuple[Damage, ...] = (
    *(_flip, _overwrite, _delete, _repeat, _truncate, _insert, _number_in_text, _number_in_header, _splice),
)
