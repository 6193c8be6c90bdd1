"""The in-process reader: a thread per kind that lists and watches over HTTP, and one clock thread for all deadlines.

A reader thread blocks in ``read``; it cannot wake up for a child's deadline, nor to stop. So one more thread keeps the time:
it judges silences, applies what others ask (timeouts, relists), and breaks the connection under a reader whose stream should
end (proof wanted, overdue, stopped). What to ask and what to make of it is decided in ``core.stream``; here it is done.

Each kind has one lock; whoever holds it may use the kind's ``Stream`` and deliver, so that mail keeps its order. Callers of the
``Reader`` port never wait for it: a dispatcher's worker must not block, and a list of a million objects holds it for seconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from random import Random as Dice
from typing import Any

import msgspec
from attrs import define, field
from urllib3.exceptions import HTTPError

from ..core.decode import Decoder
from ..core.errors import ApiError, Undecodable, Unreachable
from ..core.events import AuditDiffered, StreamDown
from ..core.fleet import FleetDefinition
from ..core.intakes import intake_of
from ..core.joins import JoinedIntake, Side, SideKind, Together, sides_of
from ..core.lines import ChunkedLines
from ..core.model import ParentKey
from ..core.ports import Clock, Facts, Objects, Random, StreamChanged
from ..core.stream import MARGIN_S, PAGE_ITEMS, PAGE_S, WATCH_S, ListPage, Pause, Stream, Watch, differences
from .body import Flood, chunked_body, pieces
from .clock import SystemClock
from .kube import KubeClient, wall_s

__all__ = ["KubeReader"]

AUDIT_S = 1800.0
"""Between audits of a kind, ± 20 %. A full list of metadata each half hour is little beside the watch."""
_AUDIT_WAIT_S = 60.0
_BUSY_S = 0.02  # until the clock thread tries again a kind whose lock it did not get
_SEVER_AGAIN_S = 0.1
_IDLE_S = 1.0
_CRASH_PAUSE_MAX_S = 5.0
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

Deliver = Callable[[Objects | StreamChanged], None]


@define(eq=False)
class _Run:
    """One start of a kind. ``busy``: a request is under way on its thread, which may be severed."""

    epoch: int
    deliver: Deliver
    thread: threading.Thread | None = None
    over: bool = False
    busy: bool = False
    stream: Stream | None = None
    woken: threading.Event = field(factory=threading.Event)


class _Kind:
    """One kind's state. ``intake`` outlives restarts of the watcher, so that the clocks of its children go on."""

    def __init__(self, fleet: FleetDefinition, kind: str, namespace: str, seen: int) -> None:
        self.kind = kind
        self.decoder = Decoder(fleet, kind)
        self.path = self.decoder.ref.path(namespace if self.decoder.ref.namespaced else "")
        self.sides = [_Side(self, number, side, namespace) for number, side in enumerate(sides_of(fleet, kind))]
        self.query = self.decoder.ref.query
        self._fleet = fleet
        self.lock = threading.Lock()
        self.commands: deque[tuple[str, ParentKey | None, float | None]] = deque()
        self.timeouts: dict[ParentKey, float] = {}
        self.run: _Run | None = None
        self.intake = intake_of(fleet, kind, version=seen)
        self.broken: Exception | None = None

    @property
    def family(self) -> list[_Kind | _Side]:
        """All that feed its intake."""
        return [self, *self.sides]

    def begin_again(self, now: float) -> None:
        """After the intake raised: forget everything."""
        self.forget(now)
        self.broken = None

    def forget(self, now: float) -> None:
        """A new intake, for all that feed it. A server that lags behind what was seen is not believed by it either."""
        self.intake = intake_of(self._fleet, self.kind, version=self.intake.version)
        for each in self.family:
            each.broken = _Anew()
        for parent, timeout_s in self.timeouts.items():
            self.intake.set_timeout(parent, timeout_s, now)

    def obey(self, now: float) -> None:
        """Do what has been asked. The lock is held."""
        while self.commands:
            what, parent, timeout_s = self.commands.popleft()
            if parent is not None:
                if timeout_s is None:
                    self.timeouts.pop(parent, None)
                else:
                    self.timeouts[parent] = timeout_s
                self.intake.set_timeout(parent, timeout_s, now)
            elif self.run is not None and self.run.stream is not None:
                self.run.stream.relist(what)
                self.run.woken.set()


class _Anew(Exception):
    """Another stream that feeds the same intake raised, and all is forgotten."""


class _Side:
    """A kind that is watched for another: a stream of its own, and everything else that one's."""

    def __init__(self, main: _Kind, number: int, side: SideKind, namespace: str) -> None:
        self.kind, self.main, self._number = side.ref.kind, main, number
        self.decoder = Decoder(side.fleet, side.ref.kind)
        self.path = side.ref.path(side.namespace or namespace)
        self.query = side.ref.query
        self.run: _Run | None = None
        self.broken: Exception | None = None

    @property
    def lock(self) -> threading.Lock:
        """One for all that feed one intake."""
        return self.main.lock

    @property
    def intake(self) -> Side:
        """Its part of that intake."""
        assert isinstance(self.main.intake, JoinedIntake)
        return self.main.intake.sides[self._number]

    def begin_again(self, now: float) -> None:
        """See ``_Kind``."""
        self.main.forget(now)
        self.broken = None

    def obey(self, now: float) -> None:
        """Nobody asks anything of it."""


class KubeReader:
    """``Reader`` over HTTP. ``namespace`` "" reads all namespaces. ``audit_s`` None: no audits.

    ``seen``: by kind, the version up to which a reader before this one had seen everything; no older list is believed.
    """

    def __init__(
        self,
        client: KubeClient,
        fleet: FleetDefinition,
        *,
        facts: Facts,
        clock: Clock | None = None,
        random: Random | None = None,
        namespace: str = "",
        audit_s: float | None = AUDIT_S,
        watch_s: int = WATCH_S,
        streamed_list: bool = True,
        seen: Mapping[str, int] | None = None,
    ) -> None:
        self._client, self._facts = client, facts
        self._clock: Clock = clock or SystemClock()
        self._random: Random = random or Dice()  # noqa: S311 - jitter
        self._audit_s, self._watch_s, self._streamed_list = audit_s, watch_s, streamed_list
        seen = seen or {}
        self._kinds = {ref.kind: _Kind(fleet, ref.kind, namespace, seen.get(ref.kind, 0)) for ref in fleet.kinds}
        self._all: list[_Kind | _Side] = [every for each in self._kinds.values() for every in each.family]
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start_lock = threading.Lock()

    # --- the port ---

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        """See ``Reader``. Returns at once; the kind's earlier thread ends first."""
        each = self._kinds[kind]
        together = Together(kind, [side.kind for side in each.sides], deliver) if each.sides else None
        for every in each.family:
            self._start(every, _Run(epoch, deliver if together is None else together.of(every.kind)))

    def _start(self, each: _Kind | _Side, run: _Run) -> None:
        with self._start_lock:
            if self._stopped.is_set():
                return
            if not self._threads:
                self._spawn("clock", self._keep_time)
                if self._audit_s is not None:
                    self._spawn("audit", self._audit_now_and_then)
            earlier, each.run = each.run, run
        self._end(earlier)
        previous = earlier.thread if earlier is not None else None
        name = f"reader-{each.kind}"
        run.thread = threading.Thread(target=self._read, args=(each, run, previous), name=name, daemon=True)
        run.thread.start()

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """See ``Reader``. Returns at once."""
        self._kinds[kind].commands.append(("", parent, timeout_s))
        self._wanted.set()

    def relist(self, kind: str) -> None:
        """See ``Reader``. Returns at once."""
        self._kinds[kind].commands.append(("asked", None, None))
        self._wanted.set()

    def stop(self, timeout_s: float) -> None:
        """See ``Reader``."""
        with self._start_lock:
            self._stopped.set()
            runs = [each.run for each in self._all if each.run is not None]
        self._wanted.set()
        for run in runs:
            self._end(run)
        until_s = self._clock.now() + timeout_s
        for thread in [*(run.thread for run in runs), *self._threads]:
            if thread is None or thread is threading.current_thread():
                continue
            while thread.is_alive() and (left_s := until_s - self._clock.now()) > 0:
                thread.join(min(_SEVER_AGAIN_S, left_s))
                for run in runs:  # it may have begun a request after it was severed
                    self._end(run)

    def statistics(self) -> dict[str, dict[str, Any]]:
        """By kind: objects held, up to which version, whether the first list is complete, and the watch's age.

        ``age_s``: since the server last proved that the stream lives; None until it first has.
        """
        now = self._clock.now()
        return {
            kind: {
                "objects": len(each.intake),
                "version": each.intake.version,
                "age_s": now - heard_s if (heard_s := each.intake.heard_s) > -inf else None,
                "synced": each.run is not None and each.run.stream is not None and each.run.stream.synced,
            }
            for kind, each in self._kinds.items()
        }

    # --- the reader threads ---

    def _read(self, each: _Kind | _Side, run: _Run, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()
        crashes = 0
        while not run.over:
            with each.lock:
                run.stream = stream = Stream(
                    each.decoder, each.intake, epoch=run.epoch, deliver=run.deliver, facts=self._facts,
                    random=self._random, streamed_list=self._streamed_list, watch_s=self._watch_s,
                )  # fmt: skip
            try:
                while not run.over:
                    self._step(each, run, stream)
            except _Anew:
                each.broken = None
            except Exception as error:  # noqa: BLE001 - a bug of ours: tell, forget everything, list again
                crashes += 1
                pause_s = self._random.uniform(0.5, 1.0) * min(_CRASH_PAUSE_MAX_S, 2.0 ** min(crashes, 5))
                message = f"{type(error).__name__}: {error}"
                self._facts(StreamDown(kind=each.kind, reason="Crashed", message=message, retry_s=pause_s))
                run.deliver(StreamChanged(kind=each.kind, epoch=run.epoch, up=False, reason="Crashed", message=message))
                with each.lock:
                    each.begin_again(self._clock.now())
                run.woken.wait(pause_s)
                run.woken.clear()
        with each.lock:
            if run.stream is not None:
                run.stream.close(self._clock.now())

    def _step(self, each: _Kind | _Side, run: _Run, stream: Stream) -> None:
        with each.lock:
            if each.broken is not None:
                raise each.broken
            each.obey(self._clock.now())
            action = stream.action(self._clock.now())
        self._wanted.set()  # the clock thread learns the new deadline
        if isinstance(action, Pause):
            run.woken.wait(action.delay_s)
            run.woken.clear()
            return
        error: ApiError | None = None
        run.busy = True
        try:
            if isinstance(action, ListPage):
                self._list(each, run, stream, action)
                return
            self._watch(each, run, stream, action)
        except ApiError as refused:
            error = refused
        except Undecodable as unreadable:
            error = Unreachable(f"{self._client.server}: {unreadable}")
        except (HTTPError, OSError, ValueError, AttributeError) as broken:
            # AttributeError: urllib3 reads on from what a severed connection has closed.
            what = f"{type(broken).__name__}: {broken}"
            error = Unreachable(f"{self._client.server}: GET {each.path}: the stream broke ({what})"[:500])
        finally:
            run.busy = False
        if error is not None:
            self._client.close()  # a half-open one is not alone: no status is to wait for an answer on an idle one
        with each.lock:
            if not run.over and each.broken is None:  # else it was we who broke it, and nobody is to hear of an outage
                stream.ended(self._clock.now(), error)

    def _fed(self, each: _Kind | _Side) -> None:
        """A side has nothing to deliver: what it has changed goes out by the stream of the kind that it is for."""
        if isinstance(each, _Side) and each.main.run is not None and each.main.run.stream is not None:
            each.main.run.stream.tick(self._clock.now())

    def _list(self, each: _Kind | _Side, run: _Run, stream: Stream, action: ListPage) -> None:
        query = {"limit": str(PAGE_ITEMS)} | ({"continue": action.token} if action.token else {}) | each.query
        answer = self._client.request("GET", each.path, query=query, timeout_s=PAGE_S)
        run.busy = False
        page = each.decoder.page(answer.body)
        with each.lock:
            if not run.over:
                stream.page(page, self._clock.now(), answer.wall_s)
                self._fed(each)

    def _watch(self, each: _Kind | _Side, run: _Run, stream: Stream, action: Watch) -> None:
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(action.timeout_s)} | each.query
        if action.version is None:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = str(action.version)
        response = self._client.open("GET", each.path, query=query, timeout_s=self._watch_s + MARGIN_S)
        try:
            file, lines = chunked_body(response), ChunkedLines()
            with each.lock:
                date_s = wall_s(response.headers.get("Date"))
                stream.opened(self._clock.now(), date_s, None if file is None else lines)
            self._wanted.set()
            flood = Flood(file)
            for chunk in pieces(response, file, lines):
                with each.lock:
                    if run.over or each.broken is not None:
                        return
                    now = self._clock.now()
                    stream.feed(chunk, now, more=flood.goes_on(chunk, now))
                    self._fed(each)
                    if stream.should_end(self._clock.now()):
                        return
        finally:
            run.busy = False
            response.close()

    def _end(self, run: _Run | None) -> None:
        if run is not None:
            run.over = True
            run.woken.set()
            self._sever(run)

    def _sever(self, run: _Run) -> None:
        if run.busy and run.thread is not None and run.thread.ident is not None:
            self._client.sever(run.thread.ident)

    # --- the clock thread ---

    def _keep_time(self) -> None:
        while not self._stopped.is_set():
            now = self._clock.now()
            wait_s = min(self._turn(each, now) for each in self._all)
            self._wanted.wait(wait_s)
            self._wanted.clear()

    def _turn(self, each: _Kind | _Side, now: float) -> float:
        """One kind's turn; seconds until its next one is due."""
        if not each.lock.acquire(blocking=False):
            return _BUSY_S
        try:
            run = each.run
            each.obey(now)
            stream = run.stream if run is not None else None
            if run is None or stream is None or run.over:
                return _IDLE_S
            if isinstance(each.broken, _Anew):
                run.woken.set()
                self._sever(run)
                return _SEVER_AGAIN_S
            stream.tick(now)
            if stream.should_end(now):
                self._sever(run)
                return _SEVER_AGAIN_S
            wake_s = stream.wake_s()
            return _IDLE_S if wake_s is None else min(_IDLE_S, max(0.0, wake_s - now) + 0.001)
        except Exception as error:  # noqa: BLE001 - a bug of ours: the kind's own thread deals with it
            each.broken = error
            if each.run is not None:
                self._sever(each.run)
            return _IDLE_S
        finally:
            each.lock.release()

    # --- the audit ---

    def _audit_now_and_then(self) -> None:
        assert self._audit_s is not None
        while not self._stopped.wait(self._audit_s * self._random.uniform(0.8, 1.2)):
            for kind in self._kinds:
                try:
                    self.audit(kind)
                except (ApiError, Undecodable):
                    continue  # the stream says so too, and louder

    def audit(self, kind: str) -> list[str]:
        """Compare what is held with the server; differences are told and repaired by a new list. Blocks up to minutes."""
        each = self._kinds[kind]
        if each.run is None or each.run.stream is None or not each.run.stream.synced:
            return []
        with each.lock:
            each.intake.begin_audit()
        listed, version = self._names(each.path, each.query)
        waited_s = 0.0
        while each.intake.version < version and waited_s < _AUDIT_WAIT_S:
            if self._stopped.wait(0.2):
                return []
            waited_s += 0.2
        with each.lock:
            gone = each.intake.end_audit()
            found = differences(each.intake, listed, version, gone) if each.intake.version >= version else []
        if found:
            self._facts(AuditDiffered(kind=kind, differences=len(found), sample="; ".join(found[:5])))
            each.commands.append(("audit", None, None))
            self._wanted.set()
        return found

    def _names(self, path: str, chosen: dict[str, str]) -> tuple[dict[str, tuple[str, int]], int]:
        listed: dict[str, tuple[str, int]] = {}
        token = ""
        while True:
            query = {"limit": str(PAGE_ITEMS)} | ({"continue": token} if token else {}) | chosen
            answer = self._client.request("GET", path, query=query, accept=_METADATA_ONLY, timeout_s=PAGE_S)
            try:
                page = msgspec.json.decode(answer.body, type=_NameList)
                for item in page.items or []:
                    meta = item.metadata
                    name = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
                    listed[meta.uid] = (name, int(meta.resource_version))
                version = int(page.metadata.resource_version)
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                raise Undecodable(f"list at {path}", str(error)) from error
            token = page.metadata.continue_ or ""
            if not token:
                return listed, version

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"reader-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    continue_: str | None = msgspec.field(default=None, name="continue")


class _Named(msgspec.Struct):
    metadata: _Meta


class _NameList(msgspec.Struct):
    metadata: _Meta
    items: list[_Named] | None = None
