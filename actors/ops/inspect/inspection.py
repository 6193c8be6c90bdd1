"""What commands may see: a facade over the running tree that changes nothing by itself.

All of it may be read on any thread and touches no actor, but for ``ask`` (which waits for a second at most) and ``tell`` (which
the changing commands use). The same facade stands over a simulated tree: only what waits differs.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pykka import ActorDeadError
from pykka import Timeout as PykkaTimeout

from ...actor import Behaviour, Cell, Look, Ref, _Fired
from ...core.events import CommandGiven, Fact
from ...core.model import EventNote, Parent, ParentKey
from ...edge.gate import message_name
from ...mailbox import Mailbox
from ...messages import EventWanted
from ...tree import System
from .memory import Memory
from .registry import Args, CommandError

ASK_S = 1.0  # for an actor's own answer; a turn takes milliseconds, so one that needs longer is stuck or swamped
SAMPLES_EVERY_S = 10.0  # of how much each actor has handled, for the rates of `top`
SAMPLES_KEPT = 3
_POLL_S = 0.01


class TimerLike(Protocol):
    """A timer as the dispatchers keep it."""

    callback: Callable[[], None] | None


class Threads(Protocol):
    """What is asked of the dispatcher beside its work."""

    def statistics(self) -> dict[str, object]:
        """Counts of threads and of what waits for them."""

    def timers(self) -> Sequence[tuple[float, TimerLike]]:
        """When each will go off; in no order."""

    def at_work(self) -> list[tuple[int, Mailbox]]:
        """Threads in a turn, and whose turn."""

    def given_up(self) -> list[tuple[int, str, str, float]]:
        """Threads that are stuck for good: whose turn, which message, since when."""


Wait = Callable[[Callable[[], bool], float], bool]


def wait_really(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Look until it is so; False after ``timeout_s``."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= until_s:
            return False
        time.sleep(_POLL_S)
    return True


def told_directly(tell: Callable[[], None]) -> None:
    """Where nothing is recorded, nobody has to know."""
    tell()


class Inspection:
    """See the module. ``outside`` surrounds whatever reaches an actor from here: a recording has to know of it.

    ``settings`` gives (name, value, origin) of each; ``alive`` the verdict of the liveness probe.
    """

    def __init__(
        self,
        system: System,
        threads: Threads,
        *,
        memory: Memory,
        version: Mapping[str, str] | None = None,
        settings: Callable[[], Sequence[tuple[str, str, str]]] = tuple,
        reader: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
        alive: Callable[[], tuple[bool, list[str]]] = lambda: (True, []),
        changes: bool = False,
        outside: Callable[[Callable[[], None]], None] = told_directly,
        toggle_recording: Callable[[], None] | None = None,
        recording: Callable[[], bool] = lambda: False,
        shadow: Callable[[], Mapping[str, Any]] | None = None,
        wait: Wait = wait_really,
    ) -> None:
        self.system = system
        self.threads = threads
        self.memory = memory
        self.clock = system.dispatcher.clock
        self.version = dict(version or {})
        self.settings = settings
        self.reader = reader
        self.alive = alive
        self.changes = changes
        self.toggle_recording = toggle_recording
        self.recording = recording
        self.shadow = shadow  # what a shadow run has counted; None in a run that writes
        self.wait = wait
        self.began_s = self.clock.now()
        self._outside = outside
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=SAMPLES_KEPT)

    # --- actors -------------------------------------------------------------------------------------------------------
    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Every actor there is: those of the tree in their order, then one per parent that is awake."""
        for name, ref in list(self.system.refs.items()):
            cell = cell_of(ref)
            if cell is not None:
                yield name, cell
        yield from self.clusters()

    def clusters(self) -> Iterator[tuple[str, Cell]]:
        """The actors of parents."""
        directory = self.static("directory")
        for name, ref in list(directory.children.items()) if directory is not None else ():
            cell = cell_of(ref)
            if cell is not None:
                yield name, cell

    def static(self, name: str) -> Cell | None:
        """One of the tree's own actors."""
        ref = self.system.refs.get(name)
        return cell_of(ref) if ref is not None else None

    def behaviour(self, name: str) -> Any:
        """What runs in one of the tree's own actors; None while it is down. To be read with care: it is at work."""
        cell = self.static(name)
        return cell.behaviour if cell is not None else None

    def statistics(self, name: str) -> dict[str, Any]:
        """What one of the tree's own actors has published; {} where there is none."""
        cell = self.static(name)
        return cell.statistics() if cell is not None else {}

    def cell(self, name: str) -> Cell:
        """The actor of that name; CommandError where there is none."""
        cell = self.static(name)
        if cell is None:
            directory = self.static("directory")
            ref = directory.children.get(name) if directory is not None else None
            cell = cell_of(ref) if ref is not None else None
        if cell is not None:
            return cell
        if name.startswith("cluster/") and self._known(name):
            raise CommandError(f"{name} sleeps: nothing has happened to its parent for a while", f"kick {name[8:]}")
        if not name.startswith("cluster/") and (key := self._parent_called(name)) is not None:
            return self.cell(
                f"cluster/{key.namespace}/{key.name}"
            )  # who knows the parent need not know what its actor is called
        near = difflib.get_close_matches(name, self.actor_names(2000), n=1)
        raise CommandError(
            f"there is no actor {name[:100]!r}", f"did you mean {near[0]!r}?" if near else "`tree` lists them"
        )

    def _parent_called(self, text: str) -> ParentKey | None:
        try:
            return self.parent_key(text)
        except CommandError:
            return None

    def actor_names(self, count: int) -> list[str]:
        """Up to ``count`` names."""
        return [name for name, _ in islice(self.cells(), count)]

    def _known(self, name: str) -> bool:
        parts = name.split("/")
        return len(parts) == 3 and ParentKey(parts[1], parts[2]) in self.system.store.parents

    # --- parents ------------------------------------------------------------------------------------------------------
    def parent_key(self, text: str) -> ParentKey:
        """``NS/NAME``, or a name that only one has; CommandError with who may have been meant."""
        parents = self.system.store.parents
        namespace, slash, name = text.rpartition("/")
        key = ParentKey(namespace, name)
        if key in parents:
            return key
        keys = list(parents)
        same = [each for each in keys if each.name == name and not slash]
        if len(same) == 1:
            return same[0]
        if same:
            raise CommandError(f"{len(same)} parents are called {name!r}", f"say which: {_some(map(str, same))}")
        texts = {str(each): each.name for each in keys[:2000]}
        near = difflib.get_close_matches(text, texts, n=3) or difflib.get_close_matches(name, texts.values(), n=3)
        like = [str(each) for each in keys if name in each.name][:5] or [
            each for each, bare in texts.items() if each in near or bare in near
        ][:5]
        cure = (
            f"did you mean {_some(like)}?"
            if like
            else "`kubectl get` shows what the API server has, `watch-status` what was read"
        )
        raise CommandError(f"there is no parent {text[:100]!r} on record", cure)

    def parent(self, key: ParentKey) -> Parent:
        """Its record; CommandError where it has just gone."""
        parent = self.system.store.parent(key)
        if parent is None:
            raise CommandError(f"{key} has just gone", "")
        return parent

    def parent_of(self, cell: Cell) -> Parent | None:
        """The record of the parent that the actor acts for; None for one of the tree's own, or where it has just gone."""
        kind, _, key = cell.name.partition("/")
        namespace, _, name = key.partition("/")
        return self.system.store.parent(ParentKey(namespace, name)) if kind == "cluster" else None

    # --- timers -------------------------------------------------------------------------------------------------------
    def timers(self) -> list[tuple[float, str, int, str, str]]:
        """Of actors: due in (seconds), actor, incarnation, what it is called, the message that it brings. In no order."""
        now_s = self.clock.now()
        found = []
        for due_s, timer in self.threads.timers():
            fired = _fired(timer.callback)
            if fired is not None and fired.ctx.alive:
                message = type(fired.message).__name__
                found.append((due_s - now_s, fired.ctx.name, fired.ctx.incarnation, _key_text(fired.key), message))
        return found

    # --- rates --------------------------------------------------------------------------------------------------------
    def sample(self) -> None:
        """Note how much each actor has handled, for the rates; the server does it every ``SAMPLES_EVERY_S``."""
        self._samples.append((self.clock.now(), {name: cell.handled_count for name, cell in self.cells()}))

    def baseline(self, window_s: float) -> tuple[float, Mapping[str, int]]:
        """The newest sample that is at least so old, else the oldest; what there was at the start, where there is none."""
        now_s = self.clock.now()
        samples = list(self._samples)
        old_enough = [each for each in samples if now_s - each[0] >= window_s]
        if old_enough:
            return old_enough[-1]
        return samples[0] if samples else (self.began_s, {})

    # --- reaching actors ----------------------------------------------------------------------------------------------
    def ask(self, cell: Cell, take: Callable[[Behaviour | None], Any]) -> tuple[Any, str]:
        """What ``take`` gives on the actor's own thread, and ""; or None and why there is no answer."""
        if self.recording():
            return None, "a recording runs, in which a question has no place"
        try:
            return cell.actor_ref.ask(Look(take), block=False).get(timeout=ASK_S), ""
        except (PykkaTimeout, TimeoutError):
            return None, f"it has not answered within {ASK_S:g} s"
        except ActorDeadError as dead:
            return None, str(dead)
        except Exception as error:  # noqa: BLE001  it changed under the look, or has a state that cannot be shown
            return None, f"{type(error).__name__}: {error}"

    def tell(self, ref: Ref, message: Any) -> None:
        """Tell an actor; CommandError where it has ended."""
        try:
            self._outside(lambda: ref.tell(message))
        except ActorDeadError as dead:
            raise CommandError(f"{ref} has ended", "the operator is stopping, or the parent is gone") from dead

    def tell_static(self, name: str, message: Any) -> None:
        """Tell one of the tree's own actors."""
        ref = self.system.refs.get(name)
        if ref is None:
            raise CommandError(f"{name} has not started yet", "`health` says how far the start is")
        self.tell(ref, message)

    def emit(self, fact: Fact) -> None:
        """Record a fact."""
        self.system.dispatcher.facts(fact)

    def audit(self, args: Args, parent: Parent | None = None, reason: str = "", note: str = "") -> None:
        """Put on record that a command changed something: a line in the log, and an Event on the parent."""
        self.emit(CommandGiven(command=" ".join(args.words), by=str(args.caller), reason=args.text("reason")))
        if parent is not None:
            told = EventNote(
                type="Normal", reason=reason, note=f"{note}: {args.text('reason')}"[:1000], action="Command"
            )
            self.tell_static("status", EventWanted(parent=parent.key, uid=parent.uid, note=told))


def cell_of(ref: Ref) -> Cell | None:
    """The actor behind a ref; None where it has ended."""
    cell = ref._actor_weakref()  # noqa: SLF001  pykka keeps it for proxies; reading counters asks nothing of the actor
    return cell if isinstance(cell, Cell) else None


def message_in_hand(cell: Cell, now_s: float) -> tuple[str, float]:
    """The message that an actor is in, and for how long; ("", 0) where it is in none."""
    since_s = cell.busy_since_s
    if since_s is None:
        return "", 0.0
    return message_name(cell.actor_inbox.current), max(0.0, now_s - since_s)


def short_files(text: str) -> str:
    """A traceback with its files named from the folder that they are imported from: what tells nothing wraps nothing."""
    return _FILE.sub(lambda found: f'File "{found[1].removeprefix(_root(found[1]))}"', text)


_FILE = re.compile(r'File "([^"]+)"')


@functools.lru_cache(maxsize=1000)  # a stack names the same few dozen files again and again
def _root(file: str) -> str:
    """The longest folder of the import path that the file is below, with its slash; "" where there is none."""
    folders = {str(Path(each).resolve()) for each in (*sys.path, str(Path(__file__).parents[3]))}
    return max((f"{each}/" for each in folders if file.startswith(f"{each}/")), key=len, default="")


def _fired(callback: Callable[[], None] | None) -> _Fired | None:
    """What a timer of an actor will bring: it is the callback."""
    return callback if isinstance(callback, _Fired) else None


def _key_text(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _some(names: Any) -> str:
    return ", ".join(list(names)[:5])
