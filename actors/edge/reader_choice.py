"""Where each kind is read: a thread of this process for what is small, a process of its own for what is large.

``ProcessReader`` is the ``Reader`` of both. Parents are always read here: they are few, people write them, and every version
of theirs matters, so there is nothing to filter. A child kind gets a process where it has ``LARGE`` objects or more and there
is a second processor to run it on; how many it has is asked once, when it is first to be read. An API server that does not
answer then is asked again for some seconds, and then the kind is read by a thread, whose own retries tell what is wrong.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import msgspec
from attrs import frozen

from ..core.errors import MusterError, Undecodable, Unreachable
from ..core.events import ReaderChosen
from ..core.fleet import FleetDefinition
from ..core.graph import graph_of
from ..core.model import ParentKey
from ..core.ports import Clock, Facts, Random, Reader
from ..core.stream import WATCH_S
from .kube import KubeClient
from .outbox import Mail
from .reader import AUDIT_S
from .reader_process import HUNG_S, ReaderProcess
from .reader_wire import Setup

__all__ = ["LARGE", "Choice", "ProcessReader", "by_size", "count", "processors"]

LARGE = 20_000
"""Objects of a kind from which on it is read by a process. Beating every ten seconds they are 2,000 events a second: some 2 %
of a processor, and an eighth of what a thread keeps up with beside a busy one. Below it a process would cost 48 MiB and gain
nothing that anybody notices."""
ASK_S = 5.0
ASK_AGAIN_S = 1.0
ASKS_MAX = 3
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

Deliver = Callable[[Mail], None]


@frozen
class Choice:
    """Whether a kind is read by a process of its own, and why, for people."""

    process: bool
    why: str


class _Threads(Reader, Protocol):
    def statistics(self) -> dict[str, dict[str, Any]]: ...


class ProcessReader(Reader):
    """``Reader`` whose child kinds are read by ``thread`` or by processes, as ``choose(kind)`` says (None: all by processes).

    ``choose`` may block: it is called on a thread of its own, once for each kind. Processes make their connection from
    ``kubeconfig`` and ``context``, as this one has; the other options are ``KubeReader``'s.
    """

    def __init__(
        self,
        thread: _Threads,
        fleet: FleetDefinition,
        *,
        facts: Facts,
        clock: Clock,
        random: Random,
        choose: Callable[[str], Choice] | None = None,
        kubeconfig: str = "",
        context: str = "",
        namespace: str = "",
        audit_s: float | None = AUDIT_S,
        watch_s: int = WATCH_S,
        streamed_list: bool = True,
        hung_s: float = HUNG_S,
    ) -> None:
        self._thread, self._facts, self._clock, self._choose = thread, facts, clock, choose
        self._lock = threading.Lock()  # around the choice of a kind
        self._processes = {
            child.ref.kind: ReaderProcess(
                Setup(
                    kind=child.ref.kind,
                    kubeconfig=kubeconfig,
                    context=context,
                    namespace=namespace,
                    fleet=graph_of(attrs.evolve(fleet, children=(child,)).plain()),
                    audit_s=audit_s,
                    watch_s=watch_s,
                    streamed_list=streamed_list,
                ),
                facts=facts,
                clock=clock,
                random=random,
                hung_s=hung_s,
            )
            for child in fleet.children
        }
        """The kinds that are read by processes, or may yet be."""
        self._open = {} if choose is None else dict.fromkeys(self._processes, False)
        """The kinds that are still to be chosen for, and whether that is under way."""
        self._begun: dict[str, tuple[int, Deliver]] = {}
        self._stopping = False

    # --- the port -----------------------------------------------------------------------------------------------------
    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        """See ``Reader``. Returns at once."""
        with self._lock:
            if self._stopping:
                return
            if kind in self._open:
                self._begun[kind] = epoch, deliver
                if not self._open[kind]:
                    self._open[kind] = True
                    threading.Thread(target=self._decide, args=(kind,), name=f"choice-{kind}", daemon=True).start()
                return
            process = self._processes.get(kind)
        if process is None:
            self._thread.start(kind, epoch, deliver)
        else:
            process.start(epoch, deliver)

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """See ``Reader``. Returns at once."""
        with self._lock:
            process = self._processes.get(kind)
            if process is not None:
                process.set_timeout(parent, timeout_s)
                return
        self._thread.set_timeout(kind, parent, timeout_s)

    def relist(self, kind: str) -> None:
        """See ``Reader``. Returns at once."""
        process = self._processes.get(kind)
        if process is None:
            self._thread.relist(kind)
        elif kind not in self._open:  # else its first list is still to come
            process.relist()

    def stop(self, timeout_s: float) -> None:
        """See ``Reader``."""
        until_s = self._clock.now() + timeout_s
        with self._lock:
            self._stopping = True
            processes = list(self._processes.values())
        for process in processes:
            process.close()
        self._thread.stop(timeout_s)
        for process in processes:
            process.join(max(0.0, until_s - self._clock.now()))

    def statistics(self) -> dict[str, dict[str, Any]]:
        """By kind: how many objects are held, up to which version, whether the first list is complete; of a process its pid."""
        return self._thread.statistics() | {
            kind: process.statistics() for kind, process in list(self._processes.items())
        }

    # --- the choice ---------------------------------------------------------------------------------------------------
    def _decide(self, kind: str) -> None:
        assert self._choose is not None
        try:
            choice = self._choose(kind)
        except MusterError as error:
            choice = Choice(False, f"it is not known how many there are: {error}")
        self._facts(ReaderChosen(kind=kind, reader="process" if choice.process else "thread", why=choice.why))
        with self._lock:  # a start or a timeout that comes meanwhile waits for these few instructions
            if self._stopping:
                return
            del self._open[kind]
            epoch, deliver = self._begun.pop(kind)
            if choice.process:
                self._processes[kind].start(epoch, deliver)
                return
            for parent, timeout_s in self._processes.pop(kind).timeouts().items():
                self._thread.set_timeout(kind, parent, timeout_s)
            self._thread.start(kind, epoch, deliver)


def by_size(
    client: KubeClient, fleet: FleetDefinition, namespace: str, *, large: int = LARGE, pause: Callable[[float], object]
) -> Callable[[str], Choice]:
    """Chooses by the number of objects. ``pause`` waits for so many seconds."""

    def choose(kind: str) -> Choice:
        available = processors()
        if available < 2:
            return Choice(False, "there is one processor only")
        ref = fleet.child(kind).ref
        path = ref.path(namespace if ref.namespaced else "")
        for ask in range(1, ASKS_MAX + 1):
            try:
                found = count(client, path, ref.query)
                break
            except Unreachable:  # a network that is not there yet; any other answer stays as it is
                if ask == ASKS_MAX:
                    raise
                pause(ASK_AGAIN_S)
        else:
            raise AssertionError("the last ask returns or raises")
        return Choice(
            found >= large, f"there are {found} objects; from {large} on a process pays, with a processor to run on"
        )

    return choose


def count(client: KubeClient, path: str, chosen: Mapping[str, str] | None = None) -> int:
    """How many objects there are: one is listed, and the server says how many remain. Raises ``ApiError``."""
    answer = client.request("GET", path, query={"limit": "1", **(chosen or {})}, accept=_METADATA_ONLY, timeout_s=ASK_S)
    try:
        page = msgspec.json.decode(answer.body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"list at {path}", str(error)) from error
    if page.metadata.continue_ and page.metadata.remainingItemCount is None:
        raise Undecodable(f"list at {path}", "the server does not say how many objects remain")
    return len(page.items or ()) + (page.metadata.remainingItemCount or 0)


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processors this process may use: those it may run on, or fewer where its container has a limit. At least 1."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for read in (_limit_v2, _limit_v1):
        try:
            return max(1, min(here, math.ceil(read(cgroup))))
        except (OSError, ValueError, OverflowError, ZeroDivisionError):  # no such file, or no limit in it
            continue
    return max(1, here)


def _limit_v2(cgroup: Path) -> float:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return int(quota) / int(period)


def _limit_v1(cgroup: Path) -> float:
    quota = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
    if quota < 0:
        raise ValueError("no limit")
    return quota / int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())


class _ListMeta(msgspec.Struct):
    continue_: str | None = msgspec.field(default=None, name="continue")
    remainingItemCount: int | None = None  # noqa: N815 - as on the wire


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None
