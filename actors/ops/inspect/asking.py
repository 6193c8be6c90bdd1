"""Commands that ask an actor, through its control lane and for a second at most: one actor's state, one parent whole."""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec
from pykka import ActorRef

from ...actor import Behaviour, Cell, Context
from ...core.masking import MASK, SECRET_FIELD, masked_text
from ...core.model import Child, ParentKey, State
from ...mailbox import Mailbox
from .inspection import Inspection, cell_of, message_in_hand
from .registry import MAX, Args, Command, CommandError, Json, Level, argument

DEPTH_MAX = 4  # of what a path leads to
DEPTH_ALL = 2  # of an actor as a whole
ENTRIES_MAX = 30  # of one container; the rest is counted
NODES_MAX = 3000  # of the whole dump: a few milliseconds of the actor's own thread
TEXT_MAX = 300
DURATION_MAX_S = 3600.0  # no actor waits for longer


# --- show -------------------------------------------------------------------------------------------------------------
def show(look: Inspection, args: Args) -> Json:
    """What an actor has published, and what it holds."""
    cell = look.cell(args.text("actor"))
    path = [part for part in args.text("path").split(".") if part]
    message, for_s = message_in_hand(cell, look.clock.now())
    now_s, began_s = look.clock.now(), look.began_s
    state, why_not = look.ask(cell, lambda it: dump(it, path, now_s, began_s) if it is not None else None)
    if isinstance(state, Lost):
        raise CommandError(f"{cell.name} has no {'.'.join(path)}", f"there is: {', '.join(state.names[:20])}")
    return {
        "from": f"the last snapshot: {why_not}" if why_not else "the actor itself",
        "statistics": cell.statistics(), "in_hand": message, "in_hand_s": for_s if message else None, "state": state,
    }  # fmt: skip


@attrs.frozen
class Lost:
    """A path that leads nowhere, and what there is instead."""

    names: list[str]


def dump(value: Any, path: list[str], now_s: float = 0.0, began_s: float = math.inf) -> Any:
    """Plain values of ``value``, or of what ``path`` leads to: bounded, masked, never a call of anything but ``repr``.

    An instant of our clock says how far it is from ``now_s``. It is told from a duration by not being before ``began_s``, when
    the operator began; on a machine that was only just started, that tells nothing, and the number stays.
    """
    for part in path:
        fields = _fields(value)
        if part not in fields:
            return Lost(sorted(fields))
        value = fields[part]
    return _Dump(now_s, began_s).of(value, DEPTH_MAX if path else DEPTH_ALL)


class _Dump:
    def __init__(self, now_s: float, began_s: float) -> None:
        self._left = NODES_MAX
        self._now_s = now_s
        self._began_s = began_s if began_s > DURATION_MAX_S else math.inf

    def of(self, value: Any, depth: int, name: str = "") -> Any:
        self._left -= 1
        if self._left < 0:
            return "…"
        if name and isinstance(value, str | bytes) and SECRET_FIELD.search(name):
            return MASK
        if isinstance(value, float):
            if not math.isfinite(value):
                return str(value)  # JSON has no infinity
            if name.endswith("_s") and value >= self._began_s:
                return f"{self._now_s - value:.3g} s ago" if value <= self._now_s else f"in {value - self._now_s:.3g} s"
            return value
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, ParentKey):
            return str(value)
        if isinstance(value, str):
            return masked_text(value)[:TEXT_MAX]
        if isinstance(value, ActorRef):
            cell = cell_of(value)
            return f"→ {cell.name if cell is not None else value}"
        if isinstance(value, Context | Mailbox | Cell | type) or callable(value):
            return f"<{type(value).__name__}>"
        if isinstance(value, enum.Enum):
            return value.name.lower()
        if depth <= 0:
            return f"<{type(value).__name__}>"
        if isinstance(value, Mapping):
            return self._entries(value, depth)
        if isinstance(value, list | tuple | set | frozenset | deque):
            return self._row(value, depth)
        if not _is_state(value):
            return f"<{type(value).__name__}>"
        return {each: self.of(inner, depth - 1, each) for each, inner in list(_fields(value).items())[:ENTRIES_MAX]}

    def _entries(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for number, (key, inner) in enumerate(value.items()):
            if number >= ENTRIES_MAX:
                shown["…"] = f"{len(value) - ENTRIES_MAX} more"
                break
            text = str(key)[:TEXT_MAX]
            shown[text] = self.of(inner, depth - 1, text)
        return shown

    def _row(self, value: Any, depth: int) -> list[Any]:
        shown = []
        for number, inner in enumerate(value):
            if number >= ENTRIES_MAX:
                shown.append(f"… {len(value) - ENTRIES_MAX} more")
                break
            shown.append(self.of(inner, depth - 1))
        return shown


def _is_state(value: Any) -> bool:
    """Whether an actor's state goes on in there: not in a port, and not in what belongs to others."""
    module = type(value).__module__
    return module.startswith("actors.core.") or (module.startswith("actors.") and module.count(".") == 1)


def _fields(value: Any) -> dict[str, Any]:
    """What an object holds by name; nothing is computed."""
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    found: dict[str, Any] = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found[name] = getattr(value, name)
    found.update({name: inner for name, inner in getattr(value, "__dict__", {}).items() if name != "ctx"})
    return found


# --- parent -----------------------------------------------------------------------------------------------------------
def parent(look: Inspection, args: Args) -> Json:
    """The record, what its actor makes of it, and its children, those in trouble first."""
    key = look.parent_key(args.text("parent"))
    record = look.parent(key)
    name = f"cluster/{key.namespace}/{key.name}"
    directory = look.static("directory")
    ref = directory.children.get(name) if directory is not None else None
    cell = cell_of(ref) if ref is not None else None
    source = "asleep: the records alone"
    actor: dict[str, Any] = {}
    asked: set[str] = set()
    if cell is not None:
        actor, why_not = look.ask(cell, _of_cluster)
        source = f"the last snapshot: {why_not}" if why_not else "the actor itself"
        actor = actor or {"statistics": cell.statistics(), "asked": []}
        asked = set(actor["asked"])
    flying = {item.uid for each in list(look.memory.calls) if each.ended_s is None for item in each.call.items}
    children = [child for kind in look.system.store.children.values() for child in list(kind.of(key).values())]
    children.sort(key=lambda child: (not child.unwell, child.state is State.HEALTHY, child.kind, child.name))
    wall_s, count = look.clock.wall(), args.number("max")
    until_s = look.system.pauses.get(key, 0.0) - look.clock.now()
    answer = {
        "from": source,
        "record": {
            "parent": str(key), "uid": record.uid, "version": record.version, "generation": record.generation,
            "deleting": record.deleting, "paused_by_spec": record.spec.paused, "paused_by_command_s": max(0.0, until_s) or None,
            "spec_problems": "; ".join(record.spec.problems),
        },
        "status": {name: record.status.get(name) for name in ("total", "healthy", "unhealthy", "unknown", "repairing")},
        "conditions": [_condition(each) for each in record.status.get("conditions") or () if isinstance(each, dict)],
        "actor": actor.get("statistics", {}),
        "children": [_child(child, wall_s, asked, flying) for child in children[:count]],
    }  # fmt: skip
    if len(children) > count:
        answer["left_out"] = len(children) - count
    return answer


def _of_cluster(behaviour: Behaviour | None) -> dict[str, Any]:
    if behaviour is None:
        return {}
    items = getattr(behaviour, "_asked", {})
    return {"statistics": dict(behaviour.statistics()), "asked": [item.uid for item in items.values()]}


def _condition(each: dict[str, Any]) -> dict[str, Any]:
    return {name: each.get(name, "") for name in ("type", "status", "reason", "message")} | {
        "since": each.get("lastTransitionTime", "")
    }


def _child(child: Child, wall_s: float, asked: set[str], flying: set[str]) -> dict[str, Any]:
    repair = "in flight" if child.uid in flying else "asked" if child.uid in asked else ""
    if child.guest:
        repair = "for another parent"
    return {
        "kind": child.kind, "name": child.name, "state": child.state.value, "silent": child.silent,
        "version": child.version, "since_s": _age_s(child.since, wall_s), "heartbeat_s": _age_s(child.heartbeat, wall_s),
        "incident": child.incident, "repair": repair,
    }  # fmt: skip


def _age_s(instant: str, wall_s: float) -> float | None:
    """How long ago an RFC 3339 instant was; None where it is none."""
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return None
    return wall_s - (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


COMMANDS = (
    Command(
        name="show", level=Level.ASKING, group="one actor, one parent", run=show,
        text=(
            "One actor: what it has published, what it has in hand, and its state (bounded, secrets masked); "
            "with PATH a part of it."
        ),
        arguments=(
            argument("actor", "ACTOR", completes="actor"),
            argument("path", "PATH", "Names with dots between: `queue._lanes`.", required=False),
        ),
        more=(
            "The state is a copy made on the actor's own thread between two messages; it takes a few "
            "milliseconds of it at most."
        ),
    ),
    Command(
        name="parent", level=Level.ASKING, group="one actor, one parent", run=parent,
        text=(
            "One parent: its record, its status, what its actor holds, and its children with version, age, "
            "incident and repair."
        ),
        arguments=(argument("parent", "NS/NAME", completes="parent"), MAX),
        more=(
            "`heartbeat_s` is the age of the heartbeat at the last change that mattered; heartbeats alone are "
            "not kept."
        ),
    ),
)  # fmt: skip
