"""Where the CPU time of a heartbeat goes, from the socket on: each stage with all before it, in microseconds an event.

    python -m bench.stages [--events 50000] [--children 20000] [--rounds 3]

A process of its own sends the events over plain HTTP's chunks; time is the reading thread's own, the least of some rounds.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.intake import Intake
from actors.core.lines import ChunkedLines
from actors.core.stream import Stream
from bench.ingest import KIND, lines, node, options_of, page_of

FIRST = 10_000_000
PER_SEND = 30


@contextmanager
def sender(events: int, children: int) -> Iterator[int]:
    """Sends all of them to whoever connects; its port."""
    chunks = [b"%x\r\n%s\n\r\n" % (len(line) + 1, line) for line in lines(events, children, FIRST)]
    sends = [b"".join(chunks[at : at + PER_SEND]) for at in range(0, events, PER_SEND)]
    listening = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if not child:
        while True:
            connection = listening.accept()[0]
            for data in sends:
                connection.sendall(data)
            connection.close()
    try:
        yield listening.getsockname()[1]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        listening.close()


def watching(decoder: Decoder, children: int) -> Stream:
    """A stream of which the list is complete."""
    stream = Stream(
        decoder, Intake(KIND), epoch=1, deliver=lambda _mail: None, facts=lambda _fact: None, random=random.Random(1),
        streamed_list=False,
    )  # fmt: skip
    stream.action(0.0)
    raw = [json.dumps(node(number, number + 1, 0)).encode() for number in range(children)]
    stream.page(page_of(decoder, raw), 0.0, None)
    stream.action(0.0)
    stream.opened(0.0, None)
    return stream


def stages(children: int) -> dict[str, Callable[[bytes], object]]:
    """What is done with each piece that the socket yields."""
    decoder, cutter, whole = Decoder(MUSTER_FLEET, KIND), ChunkedLines(), ChunkedLines()
    stream, typed = watching(decoder, children), decoder._decode  # noqa: SLF001 - a stage of it by itself

    def decoded(piece: bytes) -> None:
        for line in cutter.feed(piece):
            typed(line)

    return {
        "bytes off the socket": lambda _piece: None,
        "lines, chunks taken off": cutter.feed,
        "decoded into typed fields": decoded,
        "columns of what they say, their parents known by their wordings": lambda piece: decoder.said(
            cutter.feed(piece)
        ),
        "compared and dropped": lambda piece: stream.lines(whole.feed(piece), 1.0),
    }


def spent_s(port: int, step: Callable[[bytes], object]) -> float:
    """CPU seconds of this thread for all events."""
    gc.collect()
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as file:
        began_s = time.thread_time()
        while piece := file.read1(64 * 1024):
            step(piece)
        return time.thread_time() - began_s


def main() -> None:
    options = options_of(__doc__)
    table = Table("up to", "µs an event (least)", title=f"{options.events} heartbeats of {options.children} children")
    with sender(options.events, options.children) as port:
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, step in stages(options.children).items():
                found.setdefault(name, []).append(spent_s(port, step) / options.events * 1e6)
    for name, values in found.items():
        table.add_row(name, f"{min(values):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
