"""Work for many cores: processes that are handed item after item, and give what came of each in the items' order.

Each process is started anew (``spawn``), so that it holds nothing of this one's threads and locks. One that dies or
never comes back costs the item that it was at, which is named, and another takes its place. Ctrl-C is for this process alone:
the others end with it, because their pipes do.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from attrs import define, field

from ..core.errors import MusterError
from ..simulate.batch import Done

__all__ = ["Crew", "CrewError"]

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # items that wait in a process's pipe, so that it never waits for us
PATIENCE_S = 300.0  # the slowest seed takes some seconds; what takes this long is an endless loop at one instant
DEATHS_MAX = 3  # in a row, without one item done: the processes cannot work here at all
LOOK_S = 1.0
END_S = 2.0


class CrewError(MusterError):
    """The processes cannot work here at all."""


@define(eq=False)
class _Member:
    process: Any
    """Of the spawn context, which has a class of its own."""
    pipe: Connection
    given: deque[tuple[int, Any]] = field(factory=deque)
    """(index, item) that it has and has not answered yet; it is at the first."""
    heard_s: float = field(factory=time.monotonic)


class Crew:
    """So many processes. ``map`` is a ``Spread``; each call has processes of its own."""

    def __init__(self, processes: int, *, patience_s: float = PATIENCE_S) -> None:
        assert processes >= 1
        self.processes = processes
        self._patience_s = patience_s
        self._context = multiprocessing.get_context("spawn")

    def map(self, work: Callable[[T], R], items: Iterable[T], /) -> Generator[Done[T, R]]:
        """``work`` (a function of a module) on each item. Raises ``CrewError`` when no process can work here."""
        return _Shift(self, work, iter(items)).results()

    def hire(self, work: Callable[[Any], Any]) -> _Member:
        """One process more."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _deaf():
            process.start()
        theirs.close()  # so that its end is heard
        return _Member(process, ours)

    @property
    def patience_s(self) -> float:
        """How long one item may take."""
        return self._patience_s


class _Shift:
    """One call of ``map``."""

    def __init__(self, crew: Crew, work: Callable[[Any], Any], items: Iterator[Any]) -> None:
        self._crew = crew
        self._work = work
        self._items = enumerate(items)
        self._again: deque[tuple[int, Any]] = deque()
        """Given to a process that died before it came to them."""
        self._done: dict[int, Done[Any, Any]] = {}
        """Through, and waiting for those before them; no more than the crew does within the patience."""
        self._members: list[_Member] = []
        self._deaths = 0

    def results(self) -> Generator[Done[Any, Any]]:
        following = 0
        try:
            self._members = [self._crew.hire(self._work) for _ in range(self._crew.processes)]
            while True:
                for member in self._members:
                    self._feed(member)
                while following in self._done:
                    yield self._done.pop(following)
                    following += 1
                if not any(member.given for member in self._members):
                    return
                self._hear()
        finally:
            for member in self._members:
                member.pipe.close()
                member.process.terminate()
            for member in self._members:
                member.process.join(END_S)

    def _next(self) -> tuple[int, Any] | None:
        return self._again.popleft() if self._again else next(self._items, None)

    def _feed(self, member: _Member) -> None:
        while len(member.given) < AHEAD:
            numbered = self._next()
            if numbered is None:
                return
            if not member.given:
                member.heard_s = time.monotonic()
            member.given.append(numbered)
            try:
                member.pipe.send(numbered[1])
            except (BrokenPipeError, ConnectionError):
                return  # it has just died: its end is heard next

    def _hear(self) -> None:
        by_pipe = {member.pipe: member for member in self._members}
        for pipe in wait(list(by_pipe), LOOK_S):
            assert isinstance(pipe, Connection)
            member = by_pipe[pipe]
            try:
                value, error, cpu_s = pipe.recv()
            except (EOFError, ConnectionError):
                self._replace(member, f"the process that played it ended with {_end_of(member.process)}")
                continue
            index, item = member.given.popleft()
            member.heard_s = time.monotonic()
            self._deaths = 0
            self._done[index] = Done(item, value, error, cpu_s)
        late_s = time.monotonic() - self._crew.patience_s
        for member in list(self._members):
            if member.given and member.heard_s < late_s:
                member.process.kill()
                self._replace(member, f"it had not ended after {self._crew.patience_s:g} s, and was killed")

    def _replace(self, member: _Member, why: str) -> None:
        """It has died: what it was at is lost, what it had before it is for others."""
        member.process.join(END_S)
        member.pipe.close()
        self._members.remove(member)
        self._deaths += 1
        if member.given:
            index, item = member.given.popleft()
            self._done[index] = Done(item, None, why)
            self._again.extend(member.given)
        if self._deaths >= DEATHS_MAX * self._crew.processes:
            raise CrewError(f"{self._deaths} processes in a row died before they had done anything: {why}")
        self._members.append(self._crew.hire(self._work))


@contextmanager
def _deaf() -> Iterator[None]:
    """Whoever is started here does not hear Ctrl-C, from its first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do; then the process itself says it, once it has begun
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _end_of(process: Any) -> str:
    process.join(END_S)
    code = process.exitcode
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """The life of one process of the crew: item by item, until its pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        began_s = time.process_time()
        value, error = None, ""
        try:
            value = work(item)
        except Exception:  # noqa: BLE001 - whatever it is, it is told, and the next item has its turn
            error = traceback.format_exc().strip()
        try:
            pipe.send((value, error, time.process_time() - began_s))
        except OSError:
            return
