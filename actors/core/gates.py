"""The gates: everything that can hold a parent's count or a child's repair back, in the order in which they are passed.

A closed list. ``why`` names the first gate that is shut, by its code; a code, once published, keeps its meaning, because
scripts and run-books go by it. The table in ``docs/why.md`` is made from this one.
"""

from __future__ import annotations

import enum

from attrs import frozen


class Lane(enum.Enum):
    """What a gate holds back."""

    BOTH = "both"
    COUNTING = "counting"
    REPAIRS = "repairs"


@frozen
class Gate:
    """One gate. ``meaning`` is what is so when it is shut; ``cure`` what a person can do, "" where time alone helps."""

    code: str
    lane: Lane
    meaning: str
    cure: str = ""


_B, _C, _R = Lane.BOTH, Lane.COUNTING, Lane.REPAIRS

GATES: tuple[Gate, ...] = (
    # --- on the way to the parent's actor ---
    Gate("ending", _B, "the operator is being stopped, or has given up", "see the log; a new process takes over"),
    Gate("not-listed", _B, "a kind has not been listed since the start: nothing is written before it is",
         "what the API server said is in the text: permissions, CRDs and the connection; `muster check` tells"),
    Gate("no-parent", _B, "there is no record of that parent",
         "check its name and namespace, and whether the operator watches that namespace"),
    Gate("no-child", _B, "there is no record of that child under that parent",
         "check its name, and which parent it names: owner reference, label, field"),
    Gate("stream-down", _B, "the stream of a kind is down: what changes there is not seen",
         "it is retried by itself; the text has what the API server said"),
    Gate("stream-quiet", _B, "nothing has come over a kind's stream for longer than a live one can be quiet",
         "it is cut and begun anew by itself; if that goes on, look at the network, or `relist` the kind"),
    Gate("watcher-down", _B, "the watcher of a kind is down, or does not come back from a message",
         "it is restarted by itself; `failures` has the traceback"),
    Gate("directory-held", _B, "the directory, which makes, restarts and tells the parents' actors, is down or busy",
         "it is restarted by itself; `failures` has the traceback, `stacks` where it hangs"),
    Gate("quarantined", _B, "the parent's actor died too often and is left alone",
         "`failures` has the traceback; change the spec, or `unquarantine` it"),
    Gate("restarting", _B, "the parent's actor died and waits for its restart", "`failures` has the traceback"),
    Gate("wedged", _B, "the parent's actor has not come back from a message",
         "`stacks` shows where; the watchdog restarts it"),
    Gate("waking", _B, "the parent's actor is being made, or put to sleep"),
    Gate("refilling", _B, "the parent's actor is new and waits for the records of a kind"),
    Gate("mail-waiting", _B, "news of it wait in its actor's mailbox", "if it lasts, all workers are busy: `top`"),
    # --- the status ---
    Gate("status-retry", _C, "the write of the status failed and is tried again", "the text has what the server said"),
    Gate("conflict", _C, "the parent changed while its status was written; the newer version is awaited"),
    Gate("status-refused", _C, "the API server refuses the status", "the text has its words: RBAC, the CRD's schema"),
    Gate("debounce", _B, "it has changed a moment ago; the look waits for quiet",
         "spec.debounce shortens it; it never waits longer than debounce.max"),
    Gate("status-queued", _C, "the new status waits for a writer", "if it lasts, the API server is slow: `health`"),
    Gate("status-writing", _C, "the new status is being written"),
    Gate("records-skipped", _B, "records that killed their reader twice are left out",
         "`failures` has the traceback; they are tried again when their objects change"),
    Gate("overlooked", _C, "the status differs from the records and nobody is about to write it: a bug",
         "`kick` the parent, and report it with `bundle`"),
    # --- whether a repair is wanted ---
    Gate("command-pause", _R, "a person's command holds its repairs", "`recent` says who paused it and why; `resume` it"),
    Gate("paused", _R, "spec.paused is true", "set spec.paused to false"),
    Gate("repair-disabled", _R, "repairs are switched off", "spec.repair.enabled, or the operator's --repair-enabled"),
    Gate("deleting", _R, "the parent is being deleted"),
    Gate("valve", _R, "too many children are in trouble at once: the trouble is probably not theirs",
         "look for what they share; if this is meant raise spec.repair.maxUnhealthy, or annotate it with "
         "muster.dev/valve-override-until for a while"),
    Gate("own-reconcile", _R, "the fleet's own reconcile does not want it repaired now, or raised",
         "what it was written for; if it raised, the text and the log say what"),
    Gate("unreported", _R, "the child has never reported and is not late yet",
         "without a heartbeat timeout it never is: set spec.heartbeatTimeout"),
    Gate("watch-behind", _R, "the stream of the child's kind was down for long: no repair is asked for by old news",
         "it goes on by itself once the stream is back; `watch-status` has the streams"),
    Gate("attempts-spent", _R, "all attempts at the child have been made, and it is not well",
         "look at the child: repairs do not help it; once it has been well for a while there are new ones; "
         "spec.repair.maxAttempts allows more"),
    Gate("max-in-flight", _R, "as many repairs of this parent are under way as it allows",
         "time; spec.repair.maxInFlight allows more"),
    Gate("cooldown", _R, "a repair was answered and the child is not well yet; it is asked again after the cooldown",
         "time; where repairs do not help, look at the child itself; spec.repair.cooldown shortens the wait"),
    Gate("not-asked", _R, "the repair is wanted and its actor has not asked for it: a bug",
         "`kick` the parent, and report it with `bundle`"),
    # --- the gateway ---
    Gate("gateway-held", _R, "the gateway is down, or does not read its mail: the wish, or what was due, waits there",
         "it is restarted by itself; `failures` has the traceback"),
    Gate("call-in-flight", _R, "the call with this repair in it is under way"),
    Gate("same-child", _R, "an earlier repair of the same child is still under way"),
    Gate("may-arrive", _R, "an earlier call with it may still arrive: its outcome is unknown"),
    Gate("retry", _R, "the backend gave no good answer for it; it is sent again", "the text has the last error"),
    Gate("search", _R, "its call was refused as a whole; parts of it are sent apart until the bad item stands alone"),
    Gate("fleet-valve", _R, "too many children of all parents are in trouble at once: the trouble is probably ours",
         "look for what they share, this operator among it; if this is meant raise --max-unhealthy-fleet, or annotate "
         "the parent with muster.dev/valve-override-until for a while"),
    Gate("cold-start", _R, "an earlier process may have spent the quota: the first call waits",
         "time; --cold-start shortens it where no other process called"),
    Gate("throttled", _R, "the backend asked for a pause (Retry-After, or 429)"),
    Gate("breaker", _R, "calls failed in a row: the breaker is open, or one call alone tries",
         "the backend is down or refuses us: the text has the last error"),
    Gate("calls-max", _R, "as many calls are in flight as are allowed",
         "`batches` shows how long each takes; --calls-in-flight-max allows more"),
    Gate("quota", _R, "the quota is spent; the next slot is free at the time given",
         "time; `queue` lists who waits; --quota, where the backend allows more"),
    Gate("batch-window", _R, "the batch is being filled"),
    Gate("queued", _R, "others are before it in the queue"),
    # --- not this parent's ---
    Gate("other-parent", _R, "the child is counted here, and repaired for the parent that it names first",
         "ask `why` of that parent; which one is first, the order of the mappings says"),
    # --- the end ---
    Gate("news-waiting", _B, "nothing holds it back, but mail waits at a watcher, and news of it may be in it",
         "if it lasts, all workers are busy: `top`"),
    Gate("converged", _B, "nothing holds it back: all that has been seen is in the status, and nobody needs a repair"),
)  # fmt: skip

BY_CODE = {gate.code: gate for gate in GATES}
ORDER = {gate.code: place for place, gate in enumerate(GATES)}


def markdown() -> str:
    """The gates as a table, for the documentation."""
    rows = [f"| `{gate.code}` | {gate.lane.value} | {gate.meaning} | {gate.cure or 'time'} |" for gate in GATES[:-1]]
    last = GATES[-1]
    rows.append(f"| `{last.code}` | {last.lane.value} | {last.meaning} | |")
    return "\n".join(["| code | holds back | what is so | cure |", "|---|---|---|---|", *rows, ""])
