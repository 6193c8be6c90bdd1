"""A kind read by a thread and by a process of its own, over HTTP or TLS: how fast, and what it costs whom.

    python -m bench.readers [--events 60000] [--children 10000] [--tls] [--rounds 3] [--large 20000]

A server of its own sends events of 2.1 kB, prepared beforehand, each in a chunk. *heartbeats* change nothing, *flips* turn the
health of a node each. *busy*: beside one thread of the operator's process that computes for ever. CPU in microseconds an event
(user and system; of the child from /proc, in steps of 10 ms); the speed depends on what else the machine does.
``--large`` instead compares the whole of both from the start to the first list: CPU and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.core.builtin import MUSTER_FLEET
from actors.core.ports import Objects
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import KubeClient
from actors.edge.outbox import Mail
from actors.edge.reader import KubeReader
from actors.edge.reader_choice import ProcessReader
from bench.ingest import node

KIND = "ComputeNode"
LIMIT_S = 20.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LISTED, FIRST, LAST = 1_000_000, 1_000_001, "last"


# --- the server, a process of its own ---------------------------------------------------------------------------------
def chunk(content: dict[str, object]) -> bytes:
    data = json.dumps(content, separators=(",", ":")).encode() + b"\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def events_of(count: int, children: int, flips: bool) -> Iterator[bytes]:
    order, well = random.Random(1), [True] * children
    for number in range(count):
        child = order.randrange(children)
        obj = node(child, FIRST + number, 1 + number % 80_000)
        if flips:
            well[child] = not well[child]
            obj["status"]["healthy"] = well[child]
        yield chunk({"type": "MODIFIED", "object": obj})
    last = node(children, FIRST + count, 1)
    last["metadata"]["name"] = LAST
    yield chunk({"type": "ADDED", "object": last})


def serve(options: argparse.Namespace) -> None:
    """Says its port, then "ready"; sends the list to whoever connects, and the events once it is told to."""
    listening = socket.create_server(("127.0.0.1", 0))
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
    end = {"metadata": {"resourceVersion": str(LISTED), "annotations": {"k8s.io/initial-events-end": "true"}}}
    listed = [chunk({"type": "ADDED", "object": node(child, child + 1, 0)}) for child in range(options.children)]
    listed.append(chunk({"type": "BOOKMARK", "object": end}))
    events = list(events_of(options.events, options.children, options.flips)) if options.events else []
    first, rest = (b"".join(listed), [b"".join(events[at : at + 30]) for at in range(0, len(events), 30)])
    print(listening.getsockname()[1], flush=True)
    while True:
        sock = listening.accept()[0]
        try:
            sock = context.wrap_socket(sock, server_side=True) if context else sock
            sock.recv(65536)
            sock.sendall(HEAD + first)
            if rest:
                sys.stdin.readline()
            for data in rest:
                sock.sendall(data)
            sock.recv(65536)
        except OSError:
            continue


# --- the operator's side ----------------------------------------------------------------------------------------------
class Taker:
    """A watcher that keeps all records."""

    def __init__(self) -> None:
        self.held: dict[str, object] = {}
        self.listed, self.last = threading.Event(), threading.Event()
        self.records = self.mails = 0

    def __call__(self, mail: Mail) -> None:
        if isinstance(mail, Objects):
            self.held.update(mail.entries)
            self.records += len(mail.entries)
            self.mails += 1
            if mail.replace:
                self.listed.set()
            if any(record is not None and record.name == LAST for record in list(mail.entries.values())[-1:]):
                self.last.set()


@contextmanager
def server(folder: Path, *, flips: bool, events: int, children: int, tls: bool) -> Iterator[tuple[str, Any]]:
    words = ["--serve", "--events", str(events), "--children", str(children)]
    words += ["--flips"] * flips + ["--tls", "--certificate", str(folder / "pem")] * tls
    with subprocess.Popen(
        [sys.executable, "-m", "bench.readers", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http{'s' if tls else ''}://127.0.0.1:{process.stdout.readline().strip()}"
        config = folder / "config"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "u", "user": {}}],
            "clusters": [{"name": "c", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        try:
            yield str(config), process.stdin
        finally:
            process.kill()


def reader_of(config: str, *, process: bool) -> KubeReader | ProcessReader:
    thread = KubeReader(KubeClient(config), MUSTER_FLEET, facts=lambda _: None, audit_s=None, watch_s=600)
    if not process:
        return thread
    return ProcessReader(
        thread, MUSTER_FLEET, facts=lambda _: None, clock=SystemClock(), random=Random(1), kubeconfig=config, audit_s=None,
        watch_s=600,
    )  # fmt: skip


def child_cpu_s(reader: KubeReader | ProcessReader) -> float:
    pid = reader.statistics()[KIND].get("pid")
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int | str = "self") -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    over = False

    def spin() -> None:
        count = 0
        while not over:
            count += 1

    thread = threading.Thread(target=spin)
    if wanted:
        thread.start()
    yield
    over = True
    if wanted:
        thread.join()


def measure(options: argparse.Namespace, folder: Path, *, process: bool, flips: bool, spin: bool) -> dict[str, float]:
    with server(folder, flips=flips, events=options.events, children=options.children, tls=options.tls) as (config, go):
        reader, taker = reader_of(config, process=process), Taker()
        reader.start(KIND, 1, taker)
        assert taker.listed.wait(120.0)
        time.sleep(1.2)  # a pulse, and the children's first collections
        taker.records = taker.mails = 0
        with busy(spin):
            main_s, child_s, began_s = time.process_time(), child_cpu_s(reader), time.monotonic()
            go.write("go\n")
            go.flush()
            done = taker.last.wait(LIMIT_S)
            took_s = time.monotonic() - began_s
            main_s, child_s = time.process_time() - main_s, child_cpu_s(reader) - child_s
        seen = options.events if done else max(1, reader.statistics()[KIND]["version"] - LISTED)
        reader.stop(10.0)
    return {
        "events/s": seen / took_s, "main µs": main_s / seen * 1e6, "child µs": child_s / seen * 1e6,
        "records here": taker.records, "mails": taker.mails,
    }  # fmt: skip


def rounds(options: argparse.Namespace, folder: Path, console: Console) -> None:
    title = f"{options.events} events of {options.children} children over {'TLS' if options.tls else 'HTTP'}, medians"
    table = Table("what", "reader", "beside", "events/s", "main µs", "child µs", "records here", "mails", title=title)
    for flips in (False, True):
        for spin in (False, True):
            for process in (False, True):
                found = [
                    measure(options, folder, process=process, flips=flips, spin=spin) for _ in range(options.rounds)
                ]
                middle = {key: statistics.median(each[key] for each in found) for key in found[0]}
                cost = ["–"] if spin else [f"{middle['main µs']:.2f}"]
                table.add_row(
                    "flips" if flips else "heartbeats", "process" if process else "thread", "busy" if spin else "",
                    f"{middle['events/s']:,.0f}", *cost, f"{middle['child µs']:.2f}", f"{middle['records here']:,.0f}",
                    f"{middle['mails']:,.0f}",
                )  # fmt: skip
    console.print(table)


def large(options: argparse.Namespace, folder: Path, console: Console) -> None:
    """Each in a process of its own, because memory that one has given back the next takes again."""
    with server(folder, flips=False, events=0, children=options.large, tls=options.tls) as (config, _):
        for process in (False, True):
            if (forked := os.fork()) != 0:
                os.waitpid(forked, 0)
                continue
            reader, taker = reader_of(config, process=process), Taker()
            before = resident_mib()
            main_s, began_s = time.process_time(), time.monotonic()
            reader.start(KIND, 1, taker)
            assert taker.listed.wait(600.0)
            main_s, took_s = time.process_time() - main_s, time.monotonic() - began_s
            time.sleep(1.2)
            child_mib = resident_mib(reader.statistics()[KIND]["pid"]) if process else 0.0
            console.print(
                f"{'process' if process else 'thread'}: {options.large} listed in {took_s:.2f} s; CPU here {main_s:.2f} s, "
                f"child {child_cpu_s(reader):.2f} s; here +{resident_mib() - before:.1f} MiB, child {child_mib:.1f} MiB"
            )
            reader.stop(10.0)
            os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flips", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--certificate", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.tls:
            pem = str(folder / "pem")
            words = [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=x",
                "-keyout",
                pem,
                "-out",
            ]
            subprocess.run([*words, pem + "2"], check=True, capture_output=True)
            with Path(pem).open("a") as whole:
                whole.write(Path(pem + "2").read_text())
        (large if options.large else rounds)(options, folder, Console(width=130))


if __name__ == "__main__":
    main()
