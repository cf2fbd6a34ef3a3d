"""What is written into a spool, and how: frames of length, CRC and a record.

Rules of this file:

- A frame is eight bytes (the length of what follows and its CRC-32), then a byte that tells kind and version, the
  record's sequence in eight bytes, and the rest of the record as a MessagePack array; numbers are little-endian. What
  was written by an older version stays readable: fields are added at the end, with defaults; whatever else changes
  gets a new kind.
- A frame counts once all of it is there and its CRC agrees. Reading never fails: what cannot be read is passed over
  and counted, frame by frame as long as lengths can be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from zlib import crc32

import msgspec

#: The longest frame that is written or believed, in bytes.
LONGEST = 1 << 16
#: Kinds of records.
ADMITTED, FINISHED = 0x11, 0x12
#: Strings of others are cut at so many characters.
_TEXT = 256
_HEAD = Struct("<II")
_KIND = Struct("<BQ")
_BOTH = Struct("<IIBQ")


class Admitted(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request that may be served, before it goes anywhere. ``received_at`` is in microseconds since 1970."""

    received_at: int
    id: str
    endpoint: str
    stream: bool
    caller: str
    caller_group: str
    requested_model: str
    model: str
    configuration: str


class Finished(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request that has ended. Fields are the store's columns but the first two, in their order."""

    received_at: int
    id: str
    upstream_request_id: str
    endpoint: str
    stream: bool
    duration: int
    caller: str
    caller_group: str
    requested_model: str
    model: str
    target: str
    upstream_model: str
    credential: str
    attempts: str
    status: int
    error_code: str
    outcome: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    input_provenance: str
    output_provenance: str
    cost: int | None
    credits: int | None
    price: str
    configuration: str
    first_content: int | None
    bytes_in: int
    bytes_out: int
    upstream_bytes_in: int
    upstream_bytes_out: int


Record = Admitted | Finished
#: A frame as read: its kind (0 if it is damaged), its sequence, the record's bytes, and where it ends.
Frame = tuple[int, int, bytes, int]

_encode = msgspec.msgpack.Encoder().encode
_admitted = msgspec.msgpack.Decoder(Admitted).decode
_finished = msgspec.msgpack.Decoder(Finished).decode


def frame(sequence: int, record: Record) -> bytes:
    """Give the bytes to append to a spool. Raises ValueError for a record above 64 KiB, which no request makes."""
    try:
        payload = _encode(record)
    except UnicodeEncodeError:  # a lone surrogate in what a caller sent
        payload = _encode(_cleaned(record))
    body = _KIND.pack(FINISHED if type(record) is Finished else ADMITTED, sequence) + payload
    if len(body) > LONGEST:
        raise ValueError("a record is too long")
    return _HEAD.pack(len(body), crc32(body)) + body


def admitted(payload: bytes) -> Admitted | None:
    """Give an admission's record; None if these are not its bytes."""
    try:
        return _admitted(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def finished(payload: bytes) -> Finished | None:
    """Give an end's record; None if these are not its bytes."""
    try:
        return _finished(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def frames(data: bytes) -> Iterator[Frame]:
    """Give the frames of ``data`` that are whole; stops before what is not, or has a length beyond belief."""
    place, size = 0, len(data)
    while place + _BOTH.size <= size:
        length, check, kind, sequence = _BOTH.unpack_from(data, place)
        end = place + _HEAD.size + length
        if not _KIND.size <= length <= LONGEST or end > size:
            return
        agrees = crc32(data[place + _HEAD.size : end]) == check
        yield kind if agrees else 0, sequence, data[place + _BOTH.size : end], end
        place = end


def unbelievable(data: bytes, place: int) -> bool:
    """Tell whether what stands at ``place`` can never become a frame, however much follows."""
    if place + _HEAD.size > len(data):
        return False
    length = _HEAD.unpack_from(data, place)[0]
    return not _KIND.size <= length <= LONGEST


def cut(text: str) -> str:
    """Give at most 256 characters of what others have written."""
    return text if len(text) <= _TEXT else text[:_TEXT]


def _cleaned(record: Record) -> Record:
    changes = {
        name: value.encode("utf-8", "replace").decode("utf-8")
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), str)
    }
    return msgspec.structs.replace(record, **changes)
