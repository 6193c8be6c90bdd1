"""Commands that change something. Each is a message that an actor knows, and each looks whether it has taken effect."""

from __future__ import annotations

import math

from ...actor import Restart
from ...core.events import RecordingCut, RecordingEnded, RecordingRefused, RecordingStarted
from ...core.model import ParentKey
from ...messages import GATEWAY, LookWanted, PauseWanted, QuotaLimited, Released, RelistWanted
from .inspection import Inspection
from .registry import Args, Command, CommandError, Json, Level, argument, option

_TAPES = (RecordingStarted, RecordingEnded, RecordingCut, RecordingRefused)
EFFECT_S = 1.0  # for a command to be in force; beyond it the answer says that it is not yet
_FOR = option(
    "for", "DURATION", "It ends by itself after so long.", form="duration", default="15m", low=1.0, high=86_400.0
)


# --- pause and resume -------------------------------------------------------------------------------------------------
def pause(look: Inspection, args: Args) -> Json:
    """Hold a parent's repairs, or all calls."""
    return _pause(look, args, look.clock.now() + args.real("for"))


def resume(look: Inspection, args: Args) -> Json:
    """End a pause before its time."""
    return _pause(look, args, 0.0)


def _pause(look: Inspection, args: Args, until_s: float) -> Json:
    what = args.text("parent")
    if what == GATEWAY:
        quota = look.system.ledger.quota
        return _limit(look, args, 0 if until_s else quota.calls, until_s)
    key = look.parent_key(what)
    parent = look.parent(key)
    look.audit(
        args, parent, "PausedByCommand" if until_s else "ResumedByCommand",
        f"repairs are held for {args.real('for'):.0f} s" if until_s else "repairs are not held by command any more",
    )  # fmt: skip
    look.tell_static("directory", PauseWanted(parent=key, until_s=until_s))
    done = look.wait(lambda: look.system.pauses.get(key, 0.0) == until_s, EFFECT_S)
    return {
        "parent": str(key),
        "in_force": done,
        **_not_yet(done, "directory"),
        "for_s": args.real("for") if until_s else None,
    }


def quota_factor(look: Inspection, args: Args) -> Json:
    """Use only a part of the quota."""
    calls, factor = look.system.ledger.quota.calls, args.real("factor")
    return _limit(
        look,
        args,
        max(1, math.floor(calls * factor + 1e-9)),
        look.clock.now() + args.real("for") if factor < 1 else 0.0,
    )


def _limit(look: Inspection, args: Args, calls: int, until_s: float) -> Json:
    look.audit(args)
    look.tell_static(GATEWAY, QuotaLimited(calls=calls, until_s=until_s))

    def in_force() -> bool:
        told = look.system.ledger.statistics(look.clock.now())
        return told["ceiling"] == calls and (told["ceiling_for_s"] != 0.0) == bool(until_s)

    done = look.wait(in_force, EFFECT_S)
    quota = look.system.ledger.quota
    return {
        "calls": calls, "of": str(quota), "in_force": done, **_not_yet(done, GATEWAY),
        "for_s": max(0.0, until_s - look.clock.now()) if until_s else None,
    }  # fmt: skip


# --- one parent, one kind, one actor ----------------------------------------------------------------------------------
def kick(look: Inspection, args: Args) -> Json:
    """Have a parent looked at now."""
    key = look.parent_key(args.text("parent"))
    handled = _handled(look, key)
    look.audit(args, look.parent(key), "KickedByCommand", "it is looked at now")
    look.tell_static("directory", LookWanted(parent=key))
    done = look.wait(lambda: _handled(look, key) > handled, EFFECT_S)
    return {"parent": str(key), "looked": done, **_not_yet(done, f"cluster/{key.namespace}/{key.name}")}


def _handled(look: Inspection, key: ParentKey) -> int:
    return sum(cell.handled_count for name, cell in look.clusters() if name == f"cluster/{key.namespace}/{key.name}")


def relist(look: Inspection, args: Args) -> Json:
    """Have a kind listed again."""
    kinds = [kind.kind for kind in look.system.fleet.kinds]
    kind = args.text("kind")
    if kind not in kinds:
        raise CommandError(f"there is no kind {kind[:60]!r}", f"expected one of {', '.join(kinds)}")
    lists = look.memory.stream(kind).lists
    look.audit(args)
    look.tell_static(f"watcher/{kind}", RelistWanted(reason="command"))
    done = look.wait(lambda: look.memory.stream(kind).lists > lists, EFFECT_S)
    note = (
        {}
        if done
        else {"note": "asked for; a list may take longer, and one just after another is not begun: see watch-status"}
    )
    return {"kind": kind, "listed": done, **note}


def restart(look: Inspection, args: Args) -> Json:
    """End an actor's incarnation; its supervisor starts the next."""
    name = args.text("actor")
    if name == "root":
        raise CommandError(
            "root is not restarted: the process would end", "end the process, and let the kubelet start it anew"
        )
    cell = look.cell(name)
    if cell.state != "running":
        raise CommandError(
            f"{name} is {cell.state}", "`tree` says when it is started again; `unquarantine` for a parent"
        )
    incarnation = cell.incarnation
    look.audit(args, look.parent_of(cell), "RestartedByCommand", "its actor is restarted")
    look.tell(cell.actor_ref, Restart(f"{args.caller}: {args.text('reason')}"))
    done = look.wait(lambda: cell.incarnation > incarnation and cell.state == "running", EFFECT_S)
    return {"actor": cell.name, "incarnation": cell.incarnation, "restarted": done, **_not_yet(done, cell.name)}


def unquarantine(look: Inspection, args: Args) -> Json:
    """Let a parent's actor try again now."""
    key = look.parent_key(args.text("parent"))
    name = f"cluster/{key.namespace}/{key.name}"
    cell = dict(look.clusters()).get(name)
    if cell is None or cell.state != "quarantined":
        raise CommandError(f"{key} is not quarantined, but {cell.state if cell else 'asleep'}", "`tree` lists who is")
    look.audit(args, look.parent(key), "ReleasedByCommand", "it is let out of quarantine")
    look.tell_static("directory", Released(parent=key, by="command"))
    done = look.wait(lambda: cell.state == "running", EFFECT_S)
    return {"parent": str(key), "running": done, **_not_yet(done, "directory")}


def record(look: Inspection, args: Args) -> Json:
    """Begin a tape, or end the one that runs."""
    if look.toggle_recording is None:
        raise CommandError("nothing can be recorded here", "")
    wanted = args.text("on") == "on"
    if look.recording() is wanted:
        raise CommandError(f"recording is {args.text('on')} already", "the log names the tape")
    look.audit(args)
    begun = look.clock.wall()
    look.toggle_recording()
    done = look.wait(lambda: look.recording() is wanted, 2 * EFFECT_S)
    told = [each.fact for each in list(look.memory.latest) if each.wall_s >= begun and isinstance(each.fact, _TAPES)]
    about = {"file": told[-1].file, "reason": getattr(told[-1], "reason", "")} if told else {}
    return {"recording": look.recording(), "done": done, **about}


def _not_yet(done: bool, name: str) -> dict[str, str]:
    return {} if done else {"note": f"{name} has not come to it yet: `show {name}` says what it has in hand"}


_PARENT = argument("parent", "NS/NAME", completes="parent")
COMMANDS = (
    Command(
        name="pause", level=Level.CHANGING, group="to change something", run=pause,
        text=(
            "Hold the repairs of one parent, or (`gateway`) all calls. Counting goes on. Ends by itself, after"
            " 15 min by default."
        ),
        arguments=(argument("parent", "NS/NAME|gateway", completes="parent"), _FOR),
        more="What waits in the queue is withdrawn; calls in flight are not stopped. The status says so (`Paused`, reason "
             "`PausedByCommand`). It outlives the actors, their restarts and their sleep, and ends by the operator's clock or "
             "with its process. For longer than that: `spec.paused`.",
    ),
    Command(
        name="resume", level=Level.CHANGING, group="to change something", run=resume,
        text="End a pause (of `gateway`: any limit of the quota) before its time.",
        arguments=(argument("parent", "NS/NAME|gateway", completes="parent"),),
    ),
    Command(
        name="kick", level=Level.CHANGING, group="to change something", run=kick,
        text="Have one parent looked at now, as after a change. One that sleeps is woken.",
        arguments=(_PARENT,),
    ),
    Command(
        name="relist", level=Level.CHANGING, group="to change something", run=relist,
        text="Have one kind listed again from the API server. Not begun while a list is under way or has just been.",
        arguments=(argument("kind", "KIND", completes="kind"),),
    ),
    Command(
        name="restart", level=Level.CHANGING, group="to change something", run=restart,
        text=(
            "End one actor's incarnation; its supervisor starts the next, and counts it (a sixth within a "
            "minute is too much)."
        ),
        arguments=(argument("actor", "ACTOR", completes="actor"),),
        more=(
            "One that is stuck in a message does not come to it: its thread is given up after `--wedge-after` "
            "by itself."
        ),
    ),
    Command(
        name="unquarantine", level=Level.CHANGING, group="to change something", run=unquarantine,
        text="Let a quarantined parent's actor try again now.",
        arguments=(_PARENT,),
    ),
    Command(
        name="quota-factor", level=Level.CHANGING, group="to change something", run=quota_factor,
        text="Use only a part of the quota for a while: 0.5 is half, 1 the whole again. Never more than the quota.",
        arguments=(argument("factor", "FACTOR", form="number", low=0.01, high=1.0), _FOR),
        more="Rounded down to whole calls, at least one. The newest of this, `pause gateway` and `resume gateway` counts. It "
             "outlives the gateway's restart and ends with the process.",
    ),
    Command(
        name="record", level=Level.CHANGING, group="to change something", run=record,
        text="Begin a tape of the run, or end it, as SIGUSR2 does. Other commands of this level end a tape that runs.",
        arguments=(argument("on", "on|off", choices=("on", "off")),),
    ),
)  # fmt: skip
