"""What events cost: heartbeats that change nothing, and changes that do.

CPU seconds of the operator's process tree for 100,000 events, from the moment they are sent until the status patch of a change
that was sent after them, and until nothing is at work any more, so that all of them have been read and judged.
"""

from __future__ import annotations

import statistics

from bench.load.handle import LoadServer
from bench.process import Subject, muster
from bench.result import Bench, Row, fleet_of, row, run, served

HUNDRED_THOUSAND = 100_000


def settled(server: LoadServer, subject: Subject) -> None:
    """Wait until every status is right and the subject is calm."""
    done = server.tell("right")
    assert done["done"], f"{done['wrong']} statuses are wrong"
    subject.calm()


def cost_s(server: LoadServer, subject: Subject, word: str, events: int) -> float:
    """CPU seconds for 100,000 of these events, measured with ``events`` of them. They end with a change and its patch."""
    before_s = subject.cpu_s()
    server.tell(word, events)
    flip = server.tell("flip", 0)
    patch = server.tell("patched", 0, flip["at_s"])
    assert patch["done"], "no status patch came of the last change"
    if word != "heartbeats":
        assert server.tell("right")["done"]
    subject.calm()  # a peer that has a queue for each object may still be at the earlier ones
    return (subject.cpu_s() - before_s) * HUNDRED_THOUSAND / events


def costs_s(server: LoadServer, subject: Subject, word: str, events: int, rounds: int = 3) -> list[float]:
    """``rounds`` times, after one that is not counted."""
    settled(server, subject)
    return [cost_s(server, subject, word, events) for _ in range(rounds + 1)][1:]


@run
def ingest(bench: Bench) -> list[Row]:
    """100,000 heartbeats that change nothing, over plain HTTP."""
    return _ingest(bench, tls=False, target=0.8)


@run
def ingest_tls(bench: Bench) -> list[Row]:
    """The same over TLS."""
    return _ingest(bench, tls=True, target=1.3)


def _ingest(bench: Bench, *, tls: bool, target: float) -> list[Row]:
    rows = []
    for children in bench((1_000, 10_000, 100_000), (1_000, 10_000)):
        with served(fleet_of(children), tls=tls) as (server, folder), muster(server.kubeconfig, folder) as subject:
            values = costs_s(server, subject, "heartbeats", bench(HUNDRED_THOUSAND, 50_000))
            how = "TLS" if tls else "plain HTTP"
            rows.append(row(f"100,000 heartbeats, {how}, {children:,} children", values, "CPU s", target))
    return rows


@run
def material(bench: Bench) -> list[Row]:
    """100,000 changes of health over 100 parents, counted and not repaired."""
    with served("100x100") as (server, folder), muster(server.kubeconfig, folder) as subject:
        events = bench(HUNDRED_THOUSAND, 50_000)
        values = costs_s(server, subject, "material", events)
        patches = len(server.tell("patches")["patches"])
        note = f"{patches / (4 * events / HUNDRED_THOUSAND):.0f} status writes"
    return [row("100,000 material changes, 100 parents", values, "CPU s", 1.2, note=note)]


@run
def sustained(bench: Bench) -> list[Row]:
    """How many events a second it can take: 300,000 heartbeats at once, by the clock on the wall."""
    events = bench(300_000, 100_000)
    with served(fleet_of(10_000)) as (server, folder), muster(server.kubeconfig, folder) as subject:
        settled(server, subject)
        rates = []
        for _ in range(3):
            sent = server.tell("heartbeats", events)
            flip = server.tell("flip", 0)
            patch = server.tell("patched", 0, flip["at_s"])
            rates.append(events / (patch["at_s"] - sent["at_s"] - 0.1))
            subject.calm()
    return [Row("heartbeats, as fast as it takes them", statistics.median(rates), "events/s")]
