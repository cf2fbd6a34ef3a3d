"""What a key looks like that this gateway has made: a prefix, 32 random characters, 6 that check the rest.

190 bits nobody guesses; a CRC-32, so that what was mistyped, cut or made up is refused before anything is looked up,
and so that whoever scans texts for leaked keys knows one for certain.
"""

from __future__ import annotations

from binascii import crc32
import string
from types import MappingProxyType
from typing import Final

#: What keys are made of behind their prefix.
ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
#: Characters by chance, and of the checksum: 62^6 is above 2^32.
RANDOM: Final = 32
_CHECK: Final = 6
#: Characters of a key that are shown to tell it from others: of those by chance, four.
_SHOWN: Final = 4
_VALUES: Final = MappingProxyType({digit: value for value, digit in enumerate(ALPHABET)})


def complete(prefix: str, random: str) -> str:
    """Make a key of its prefix and its random characters."""
    return prefix + random + _checksum(prefix + random)


def well_formed(key: str, prefix: str) -> bool:
    """Whether a text that begins with ``prefix`` may be a key. Written for the way of every request: under 3 us."""
    if len(key) != len(prefix) + RANDOM + _CHECK or not key.isascii():
        return False
    number = 0
    for digit in key[-_CHECK:]:
        if (value := _VALUES.get(digit)) is None:
            return False
        number = number * 62 + value
    return crc32(key[:-_CHECK].encode("ascii")) == number


def shown(key: str, prefix: str) -> str:
    """Give what of a key people may see."""
    return key[: len(prefix) + _SHOWN]


def _checksum(text: str) -> str:
    number = crc32(text.encode("ascii"))
    digits = []
    for _ in range(_CHECK):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
