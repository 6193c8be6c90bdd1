"""What a fleet weighs: memory, the first list, ten thousand parents."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.load.handle import LoadServer
from bench.process import Subject, muster
from bench.result import MIB, Bench, Row, fleet_of, row, run, served
from bench.runs_ingest import cost_s, costs_s, settled


@contextmanager
def operator(fleet: str, *flags: str) -> Iterator[tuple[LoadServer, Subject]]:
    """The operator beside a fleet, settled."""
    with served(fleet) as (server, folder), muster(server.kubeconfig, folder, *flags) as subject:
        settled(server, subject)
        yield server, subject


@run
def resident(bench: Bench) -> list[Row]:
    """A small fleet."""
    sizes = []
    for _ in range(bench(3, 1)):
        with operator("10x100") as (_, subject):
            sizes.append(subject.rss_bytes() / MIB)
    return [row("resident, 10 parents × 100 children", sizes, "MiB", 60)]


@run
def idle_parents(bench: Bench) -> list[Row]:
    """What one more parent weighs that has nothing to do: awake, and after its actor has gone to sleep."""
    few, many = bench((1_000, 10_000), (500, 3_000))
    rows = []
    for what, flags, target in (("awake", (), 4.0), ("asleep", ("--idle", "2s"), None)):
        sizes = []
        for parents in (few, many):
            with operator(f"{parents}x0", *flags) as (_, subject):
                sizes.append(subject.rss_bytes())
        figure = (sizes[1] - sizes[0]) / (many - few) / 1000
        rows.append(Row(f"memory per idle parent, {what}", figure, "kB", target))
    return rows


@run
def memory(bench: Bench) -> list[Row]:
    """What one more child weighs, the parents being the same."""
    parents, few, many = bench((1_000, 100, 1_000), (100, 50, 500))
    sizes = []
    for children in (few, many):
        with operator(f"{parents}x{children}") as (_, subject):
            sizes.append(subject.rss_bytes())
    slope = (sizes[1] - sizes[0]) / (parents * (many - few))
    return [Row(f"memory per child, {parents * few:,} to {parents * many:,} children", slope, "B", 300)]


@run
def first_list(bench: Bench) -> list[Row]:
    """From the start of the process until the status of every parent has been written."""
    children = bench(100_000, 20_000)
    spent, peaks, waits = [], [], []
    for _ in range(bench(3, 1)):
        with served(fleet_of(children)) as (server, folder), muster(server.kubeconfig, folder) as subject:
            right = server.tell("right")
            spent.append(subject.cpu_s())
            waits.append(right["at_s"] - subject.began_s)
            subject.calm()
            peaks.append(subject.peak_bytes() / subject.rss_bytes())
    with served("1x1") as (server, folder), muster(server.kubeconfig, folder) as subject:
        assert server.tell("right")["done"]
        empty_s = subject.cpu_s()
    target = 2.5 * children / 100_000
    return [
        row(f"first list of {children:,} children", spent, "CPU s", target, note=f"{empty_s:.2f} of them start-up"),
        row("the same, by the clock", waits, "s"),
        row("peak RSS of it to final RSS", peaks, "×", 1.3),
    ]


@run
def large(bench: Bench) -> list[Row]:
    """Ten thousand parents of a hundred: start, steady state, stop; and how memory grows on the way there."""
    events = bench(100_000, 30_000)
    sizes = bench((1_000, 100_000, 1_000_000), (1_000, 10_000, 100_000))
    rss = []
    rows = []
    for children in sizes:
        with served(fleet_of(children)) as (server, folder), muster(server.kubeconfig, folder) as subject:
            right = server.tell("right")
            assert right["done"]
            started_s, started_cpu_s = right["at_s"] - subject.began_s, subject.cpu_s()
            subject.calm()
            rss.append(subject.rss_bytes())
            peak = subject.peak_bytes() / subject.rss_bytes()
            costs = costs_s(server, subject, "heartbeats", events)
            threads = subject.threads()
            stop_s = subject.stop()
        what = f"{children // 100:,} parents × 100"
        rows += [
            Row(f"{what}: all statuses right after the start", started_s, "s", note=f"{started_cpu_s:.1f} CPU s"),
            Row(f"{what}: threads", threads, ""),
            Row(f"{what}: stop", stop_s, "s", 2.0),
            Row(f"{what}: resident", rss[-1] / MIB, "MiB", note=f"{peak:.2f} × at the peak"),
            row(f"{what}: 100,000 heartbeats", costs, "CPU s"),
        ]
    slope = (rss[-1] - rss[-2]) / (sizes[-1] - sizes[-2])
    what = f"memory per child with its share of a parent, {sizes[-2]:,} to {sizes[-1]:,} children"
    return [*rows, Row(what, slope, "B")]


@run
def flatness(bench: Bench) -> list[Row]:
    """What an event costs at a thousand children and at a million, in turn, so that both see the same weather."""
    sizes, events = bench((1_000, 100_000, 1_000_000), (1_000, 10_000, 100_000)), bench(100_000, 30_000)
    ratios: dict[int, list[float]] = {children: [] for children in sizes}
    with ExitStack() as stack:
        pairs = [stack.enter_context(operator(fleet_of(children))) for children in sizes]
        for server, subject in pairs:
            cost_s(server, subject, "heartbeats", events)
        for _ in range(bench(5, 3)):
            costs = [cost_s(server, subject, "heartbeats", events) for server, subject in pairs]
            for children, cost in zip(sizes, costs, strict=True):
                ratios[children].append(cost / costs[0])
    medians = [statistics.median(each) for each in ratios.values()]
    rows = [row(f"an event at {n:,} children to one at {sizes[0]:,}", ratios[n], "×") for n in sizes[1:]]
    most = f"cost of an event, {sizes[0]:,} to {sizes[-1]:,} children, most to least"
    return [*rows, Row(most, max(medians) / min(medians), "×", 1.15)]
