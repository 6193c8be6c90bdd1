"""Commands that explain: which gate holds a parent back, what has happened to it, what would be done now, and the shadow."""

from __future__ import annotations

from ...cluster import ClusterActor
from ...core.model import ParentKey
from ...core.whylog import TOLD
from ...insight.answers import explain, history, plan
from ...insight.collector import Collector
from .inspection import Inspection
from .registry import Args, Command, CommandError, Json, Level, argument

_PARENT = argument("parent", "NS/NAME", "The parent, by its name alone where that is enough.", completes="parent")


def _collector(look: Inspection) -> Collector:
    now_s, reading = look.clock.now(), look.reader()

    def heard_s(kind: str) -> float | None:
        age_s = reading.get(kind, {}).get("age_s")
        return None if age_s is None else now_s - float(age_s)

    return Collector(look.system, heard_s)


def _key(look: Inspection, args: Args) -> ParentKey:
    """The parent. One that is not on record is taken at its word as long as its kind is not listed: that is why, then."""
    text = args.text("parent")
    try:
        return look.parent_key(text)
    except CommandError:
        if look.system.store.parents_listed:
            raise
        namespace, _, name = text.rpartition("/")
        return ParentKey(namespace, name)


def why_(look: Inspection, args: Args) -> Json:
    """The first gate."""
    return explain(_collector(look), look.clock, _key(look, args), args.text("child"))


def history_(look: Inspection, args: Args) -> Json:
    """The why-log."""
    key = _key(look, args)
    rows = history(look.memory.whylog, look.clock, key)
    words = {fact.__name__: text for fact, text in TOLD.items()}
    return {
        "parent": str(key),
        "history": rows,
        "meanings": {name: words[name] for name in dict.fromkeys(r["what"] for r in rows)},
    }


def plan_(look: Inspection, args: Args) -> Json:
    """What a look would do."""
    key = look.parent_key(args.text("parent"))
    actor = _collector(look).cluster(key)
    if actor is None:
        return plan(None, key)
    answer, why_not = look.ask(
        look.cell(f"cluster/{key.namespace}/{key.name}"),
        lambda behaviour: plan(behaviour if isinstance(behaviour, ClusterActor) else None, key),
    )
    return (
        {"from": f"the outside: {why_not}", **plan(actor, key)} if why_not else {"from": "the actor itself", **answer}
    )


def shadow_(look: Inspection, _args: Args) -> Json:
    """What a shadow run has counted."""
    if look.shadow is None:
        return {"shadow": False, "text": "this operator writes; start another with --shadow beside it"}
    return {"shadow": True, **look.shadow()}


COMMANDS = (
    Command(
        name="why", level=Level.PASSIVE, group="one actor, one parent", run=why_,
        text="Names the first gate that holds a parent, or one child of it, back: since when, until when, and the cure.",
        arguments=(_PARENT, argument("child", "NAME", "A child, by name or KIND/NAME.", required=False)),
        more="The gates are in docs/why.md. `counting` and `repairs` tell of the two lanes, which do not wait for each other; "
             "`also` of the later gates that others of the parent's children are at.",
    ),
    Command(
        name="history", level=Level.PASSIVE, group="one actor, one parent", run=history_, arguments=(_PARENT,),
        text="The last causes of a parent and what came of them: news, looks, Plans, writes, calls, answers, errors.",
        more="Kept for the parents of which something was told lately; the log at debug level has all.",
    ),
    Command(
        name="plan", level=Level.ASKING, group="one actor, one parent", run=plan_, arguments=(_PARENT,),
        text="What a look at this instant would write, ask for and tell. Does none of it.",
    ),
    Command(
        name="shadow", level=Level.PASSIVE, group="the operator", run=shadow_,
        text="Of a shadow run: how many of its statuses a live operator wrote just so, and who differs, in what.",
    ),
)  # fmt: skip
