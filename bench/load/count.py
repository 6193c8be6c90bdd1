"""How fast the load server is: a client that only counts bytes. ``python -m bench.load.count [--events 400000] [--tls]``.

Its figure must stand well above what any client under test can read: then it is the client that is measured.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.load.handle import LoadServer


def events_per_s(events: int, *, tls: bool, fleet: str = "100x100") -> tuple[float, float]:
    """Events a second of wall time from the word to the last byte (rendered before), and the bytes of an event."""
    with tempfile.TemporaryDirectory() as folder, LoadServer(fleet, Path(folder), tls=tls) as server:
        address = urlsplit(server.url)
        assert address.hostname is not None
        assert address.port is not None
        sock = socket.create_connection((address.hostname, address.port))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        sock.sendall(b"GET /apis/muster.dev/v1alpha1/computenodes?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        seen, ends, buffer = 0, [0.0], bytearray(1 << 16 if tls else 1 << 20)

        def read() -> None:
            nonlocal seen
            while count := sock.recv_into(buffer):
                seen += count
                ends[0] = time.monotonic()

        threading.Thread(target=read, daemon=True).start()
        while not server.tell("stats")["watches"]["computenodes"]:
            time.sleep(0.01)
        before = seen
        at_s = server.tell("heartbeats", events)["at_s"]
        server.tell("drained")
        time.sleep(0.3)
        return events / (ends[0] - at_s), (seen - before) / events


def main() -> None:
    """Print it, plain and over TLS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    chosen = parser.parse_args()
    for tls in (False, True):
        rate, size = events_per_s(chosen.events, tls=tls)
        print(f"{'TLS  ' if tls else 'plain'} {rate:10,.0f} events/s of {size:,.0f} bytes, a chunk each")


if __name__ == "__main__":
    main()
