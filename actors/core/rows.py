"""Many small texts by uid in few bytes: what the records of a million children are kept in.

A child as objects (a struct, its strings, an entry in each index) takes 350 B, and almost all children are well and looked at
by nobody. As a row it takes 38 B. Rows lie one behind the other in *buckets* of up to some dozen, chosen by the uid, and a
bucket is found and searched in less time than making an object takes. Buckets are ``bytes``: a changed one is a new one, so
that a copy of the rows shares all others, any thread may read while the one owner writes, and the garbage collector has
nothing to look at.

A row is the uid's key (16 bytes), the length of its text, and its text, which is ASCII. The ninth byte of a key never is, so
that no text can be taken for a key, whatever its author knows: a search finds rows, and nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Self
from zlib import crc32

__all__ = ["KEY_BYTES", "UUID_LETTERS", "Rows", "is_uuid", "key_of", "keys_of", "uid_of"]

_BUCKET_ROWS = 24
"""On average, at most. Larger ones cost time on each change (they are copied), smaller ones memory (50 B a bucket)."""
KEY_BYTES = 16
UUID_LETTERS = 36
_DASHES = (8, 13, 18, 23)
_TEXT_AT = KEY_BYTES + 1
"""From a row's beginning to that of its text, where its length is one byte."""
_LONG = 127
"""A length from here on takes three more bytes, of seven bits each: no byte of a length is beyond ASCII either."""


def is_uuid(uid: str, key: bytes | bytearray) -> bool:
    """Whether ``uid_of(key)`` is that uid, of which ``key`` is the key: so it is for all that an API server makes."""
    return uid[8::5][:4] == "----" and uid.replace("-", "") == key.hex()


def key_of(uid: str) -> bytes:
    """16 bytes for that uid, the same ones always: its own where it is a UUID (RFC 9562), else a digest."""
    if len(uid) == UUID_LETTERS:
        try:
            key = bytes.fromhex(uid.replace("-", ""))
        except ValueError:
            key = b""
        if len(key) == KEY_BYTES and key[8] > 127:
            return key
    digest = bytearray(blake2b(uid.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest())
    digest[8] |= 128
    return bytes(digest)


def keys_of(uids: list[str]) -> bytes | None:
    """As ``key_of`` of each, one behind the other; None where not all of them are UUIDs."""
    if set(map(len, uids)) != {UUID_LETTERS}:
        return None
    text = "".join(uids)
    digits = text.replace("-", "")
    dashes = all(text[at::UUID_LETTERS].count("-") == len(uids) for at in _DASHES)
    if not dashes or len(digits) != 2 * KEY_BYTES * len(uids):
        return None
    try:
        keys = bytes.fromhex(digits)
    except ValueError:
        return None
    return keys if keys.hex() == digits and min(keys[8::KEY_BYTES]) > 127 else None


def uid_of(key: bytes) -> str:
    """The UUID of that key."""
    text = key.hex("-", 2)  # four digits each; some belong together
    return f"{text[:4]}{text[5:29]}{text[30:34]}{text[35:]}"


class Rows:
    """Texts (ASCII bytes, 2 MB at most) by key. One writer; whoever reads meanwhile sees a row as it was before or after."""

    __slots__ = ("_buckets", "_count")

    def __init__(self) -> None:
        self._buckets: list[bytes] = [b""]  # as many as a power of two
        self._count = 0

    @classmethod
    def of(cls, count: int, buckets: list[bytes]) -> Self:
        """Those of another ``Rows``, which has ``count``. ValueError where that cannot be."""
        if not buckets or len(buckets) & (len(buckets) - 1) or count > _BUCKET_ROWS * len(buckets):
            raise ValueError(f"{count} rows in {len(buckets)} buckets")
        rows = cls()
        rows._buckets, rows._count = buckets, count
        return rows

    @property
    def buckets(self) -> Sequence[bytes]:
        """What it is made of."""
        return self._buckets

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> bytes | None:
        """The text of that key."""
        buckets = self._buckets
        bucket = buckets[crc32(key) & (len(buckets) - 1)]
        at = bucket.find(key)
        if at < 0:
            return None
        start = at + _TEXT_AT
        size = bucket[start - 1]
        if size < _LONG:
            return bucket[start : start + size]
        start, end = _text(bucket, at)
        return bucket[start:end]

    def put(self, key: bytes, text: bytes, *, new: bool = True) -> bytes | None:
        """Enter or replace; the text before. Not ``new``: what is not here is not entered either.

        In one piece, as ``get``: calls of the functions below, which say what is done, cost as much as what they do.
        """
        buckets = self._buckets
        number = crc32(key) & (len(buckets) - 1)
        bucket = buckets[number]
        at = bucket.find(key)
        if at < 0:
            if new:
                buckets[number] = b"".join((bucket, key, _length(text), text))
                self._count += 1
                if self._count > _BUCKET_ROWS * len(buckets):
                    self.fill(self.items(), self._count)
            return None
        start = at + _TEXT_AT
        size = bucket[start - 1]
        end = start + size
        if size >= _LONG:
            start, end = _text(bucket, at)
        before = bucket[start:end]
        if before != text:
            size = len(text)
            length = _SHORT[size] if size < _LONG else _length(text)
            buckets[number] = b"".join((bucket[: at + KEY_BYTES], length, text, bucket[end:]))
        return before

    def pop(self, key: bytes) -> bytes | None:
        """Remove; the text before."""
        number = _number(key) & (len(self._buckets) - 1)
        bucket = self._buckets[number]
        at = bucket.find(key)
        if at < 0:
            return None
        start, end = _text(bucket, at)
        self._buckets[number] = bucket[:at] + bucket[end:]
        self._count -= 1
        return bucket[start:end]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their texts. The owner may write meanwhile: each bucket is seen before or after, never half."""
        for bucket in list(self._buckets):
            yield from _rows(bucket)

    def values(self) -> Iterator[bytes]:
        """All texts."""
        return (text for _, text in self.items())

    def near(self, words: Iterable[bytes]) -> Iterator[bytes]:
        """The texts of all buckets in which one of these words is: every text that has one, and its neighbours."""
        wanted = tuple(words)
        for bucket in list(self._buckets):
            if any(word in bucket for word in wanted):
                yield from (text for _, text in _rows(bucket))

    def copy(self) -> Rows:
        """The same rows for another owner. What neither changes is there once."""
        other = Rows()
        other._buckets, other._count = list(self._buckets), self._count
        return other

    def fill(self, rows: Iterable[tuple[bytes, bytes]], count: int) -> None:
        """Have these ``count`` rows, of as many keys, instead of what was here: each bucket is made once."""
        buckets = 1
        while count > _BUCKET_ROWS * buckets:
            buckets *= 2
        parts = [bytearray() for _ in range(buckets)]  # not lists: a million rows are three million objects
        mask = buckets - 1
        for key, text in rows:  # in one piece, as ``put``
            size = len(text)
            parts[crc32(key) & mask] += b"".join((key, _SHORT[size] if size < _LONG else _length(text), text))
        self._buckets, self._count = [bytes(part) for part in parts], count


def _number(key: bytes) -> int:
    """By which a key's bucket is chosen. Of all its bytes: uids made one after the other may differ in a few only."""
    return crc32(key)


def _length(text: bytes) -> bytes:
    size = len(text)
    if size < _LONG:
        return _SHORT[size]
    return bytes((_LONG, size >> 14, size >> 7 & 127, size & 127))


_SHORT = [bytes((size,)) for size in range(_LONG)]


def _text(bucket: bytes, at: int) -> tuple[int, int]:
    """Where the text begins and ends of the row that begins at ``at``."""
    size = bucket[at + KEY_BYTES]
    if size < _LONG:
        start = at + KEY_BYTES + 1
        return start, start + size
    start = at + KEY_BYTES + 4
    high, middle, low = bucket[start - 3 : start]
    return start, start + (high << 14 | middle << 7 | low)


def _rows(bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, bucket_end = 0, len(bucket)
    while at < bucket_end:
        start = at + _TEXT_AT
        size = bucket[start - 1]
        end = start + size
        if size >= _LONG:
            start, end = _text(bucket, at)
        yield bucket[at : at + KEY_BYTES], bucket[start:end]
        at = end
