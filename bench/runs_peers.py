"""The same job on kopf and on the plain Python client, in the same run, as ratios to Muster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from bench.process import Subject, muster
from bench.result import MIB, Bench, Row, fleet_of, run, served
from bench.runs_ingest import costs_s, settled

HERE = Path(__file__).resolve().parent / "peers"
Start = Callable[[Path, Path], Subject]


def _kopf(name: str) -> Start:
    command = [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--quiet",
        "--all-namespaces",
        str(HERE / f"{name}.py"),
    ]
    return lambda kubeconfig, folder: Subject(command, folder, _env(kubeconfig))


def _client(kubeconfig: Path, folder: Path) -> Subject:
    return Subject([sys.executable, str(HERE / "client_threads.py")], folder, _env(kubeconfig))


def _env(kubeconfig: Path) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(kubeconfig)}


@define
class Figures:
    """Of one subject. Bytes and CPU seconds."""

    rss: dict[int, int] = field(factory=dict)
    sync_s: dict[int, float] = field(factory=dict)
    heartbeats_s: float = 0.0
    material_s: float = 0.0


def measure(start: Start, sizes: tuple[int, ...], events: int) -> Figures:
    """First sync and memory at each size; the events at the last."""
    found = Figures()
    for children in sizes:
        with served(fleet_of(children)) as (server, folder), start(server.kubeconfig, folder) as subject:
            assert server.tell("right", 600)["done"]
            found.sync_s[children] = subject.cpu_s()
            settled(server, subject)
            found.rss[children] = subject.rss_bytes()
            if children == sizes[-1]:
                found.heartbeats_s = sorted(costs_s(server, subject, "heartbeats", events, rounds=3))[1]
                found.material_s = sorted(costs_s(server, subject, "material", events, rounds=3))[1]
    return found


@run
def peers(bench: Bench) -> list[Row]:
    """Muster, the plain client with threads, kopf with a dictionary, kopf with an index."""
    small, size, list_size = bench((1_000, 10_000, 20_000), (500, 2_000, 4_000))
    events = bench(20_000, 5_000)
    subjects: list[tuple[str, Start, tuple[int, ...]]] = [
        ("Muster", muster, (small, list_size, size)),
        ("plain client", _client, (small, list_size, size)),
        ("kopf, dictionary", _kopf("kopf_dict"), (small, list_size, size)),
        ("kopf, index", _kopf("kopf_index"), (small,)),
    ]
    rows: list[Row] = []
    ours = Figures()
    for name, start, sizes in subjects:
        found = measure(start, sizes, events * (5 if name == "Muster" else 1))
        ours = found if name == "Muster" else ours
        at = f"{sizes[-1]:,} children"
        rows += [
            _against(f"{name}: 100,000 heartbeats, {at}", found.heartbeats_s, ours.heartbeats_s, "CPU s"),
            _against(f"{name}: 100,000 material changes, {at}", found.material_s, ours.material_s, "CPU s"),
            _against(f"{name}: first sync of {small:,} children", found.sync_s[small], ours.sync_s[small], "CPU s"),
            _against(f"{name}: resident with {small:,} children", found.rss[small] / MIB, ours.rss[small] / MIB, "MiB"),
        ]
        if list_size in sizes:
            slope, our_slope = ((each.rss[list_size] - each.rss[small]) / (list_size - small) for each in (found, ours))
            rows += [
                _against(
                    f"{name}: first sync of {list_size:,}", found.sync_s[list_size], ours.sync_s[list_size], "CPU s"
                ),
                _against(f"{name}: memory per child", slope, our_slope, "B"),
            ]
    return rows


def _against(what: str, figure: float, ours: float, unit: str) -> Row:
    return Row(what, figure, unit, note="" if what.startswith("Muster") else f"{figure / ours:.1f} × Muster")
