"""Bytes to lines: the same ones however a server cuts its chunks and however a socket cuts those."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.lines import BrokenBody, ChunkedLines

LINES = st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"\r")), max_size=12)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` in pieces of these sizes, over and over."""
    out, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        out.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return out


def read(pieces: list[bytes], lines_max: int = 1000) -> tuple[list[bytes], ChunkedLines]:
    cutter, out = ChunkedLines(lines_max), list[bytes]()
    for piece in pieces:
        out += map(bytes, cutter.feed(piece))
    return out, cutter


@given(LINES, CUTS, CUTS, st.sampled_from([b"", b";a=b", b" ; a", b" "]))
def test_no_cut_changes_the_lines(lines: list[bytes], chunks: list[int], reads: list[int], extension: bytes) -> None:
    text = b"".join(line + b"\n" for line in lines)
    by_line = b"".join(chunk(line + b"\n") for line in lines)
    anyhow = b"".join(chunk(piece, extension) for piece in cut(text, chunks))

    for body in (by_line, anyhow):
        found, cutter = read(cut(body + b"0\r\n\r\n", reads))
        assert (found, cutter.ended, cutter.skipped) == (lines, True, 0)


@given(LINES, CUTS)
def test_nothing_is_an_end_but_the_last_chunk(lines: list[bytes], reads: list[int]) -> None:
    """A connection that breaks off has to be told from a body that is over."""
    assert not read(cut(b"".join(chunk(line + b"\n") for line in lines), reads))[1].ended


def test_each_line_is_there_as_soon_as_its_newline_is() -> None:
    """An event must not wait for the one after it, nor for the end of its own chunk."""
    cutter = ChunkedLines()

    assert cutter.feed(b"4\r\nabc\n") == [b"abc"]
    assert cutter.feed(b"\r\n3\r\nde") == []
    assert cutter.feed(b"\n\r\n") == [b"de"]
    assert cutter.feed(b"5\r\nf\ng\nh\r\n") == [b"f", b"g"]
    assert cutter.feed(b"1\r\n\n\r\n") == [b"h"]


def test_what_follows_the_last_chunk_is_nobodys() -> None:
    cutter = ChunkedLines()

    assert cutter.feed(b"2\r\na\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") == [b"a"]
    assert cutter.ended
    assert cutter.feed(b"2\r\nb\n\r\n") == []


def test_a_line_beyond_the_limit_is_skipped_and_counted() -> None:
    found, cutter = read([chunk(b"a\n"), chunk(b"b" * 9), chunk(b"b" * 9), chunk(b"\nc\n"), b"0\r\n\r\n"], 10)

    assert (found, cutter.skipped, cutter.ended) == ([b"a", b"c"], 1, True)


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-2\r\na\n\r\n",
        b"\r\n2\r\na\n\r\n",
        b"1_0\r\n",
        b"{}\n{}\n{}\n",
        b"2 2\r\na\n\r\n",
    ],
)
def test_what_is_no_size_is_named(body: bytes) -> None:
    with pytest.raises(BrokenBody, match="a chunk of the body begins with b'.*, expected its size"):
        read([b"2\r\n\xff\n\r\n", body])


def test_a_size_that_never_ends_is_not_kept() -> None:
    with pytest.raises(BrokenBody, match="begins with b'11111"):
        read([b"1" * 100] * 100)


def test_a_chunk_that_does_not_end_where_its_size_says_is_found_out() -> None:
    with pytest.raises(BrokenBody, match=r"ends with b'bc', expected CRLF"):
        read([b"2\r\na\nbcde\r\n2\r\nf\n\r\n"])
