"""The roll against a recount, for any sequence of records, departures and replacements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.core.health import Roll
from actors.core.model import Child, ParentKey

HOME = ParentKey("d", "c1")
KINDS = ("ComputeNode", "StorageNode")
UIDS = [f"u{n}" for n in range(6)]

children = st.builds(
    Child,
    kind=st.just(KINDS[0]), namespace=st.just("d"), name=st.just("n"), uid=st.sampled_from(UIDS),
    version=st.integers(1, 99), parent=st.just(HOME), healthy=st.sampled_from([None, True, False]),
    since=st.sampled_from(["", "t1", "t2"]), heartbeat=st.sampled_from(["", "h1", "h2"]), silent=st.booleans(),
)  # fmt: skip


def of_kind(child: Child) -> Child:
    """A uid has one kind for life."""
    kind = KINDS[UIDS.index(child.uid) % 2]
    return Child(
        kind=kind, namespace="d", name=child.uid, uid=child.uid, version=child.version, parent=HOME,
        healthy=child.healthy, since=child.since if child.healthy is False else "", silent=child.silent,
        heartbeat=child.heartbeat if child.silent and child.healthy is not False else "",
    )  # fmt: skip


steps = st.lists(st.one_of(children.map(of_kind), st.sampled_from(UIDS)), max_size=60)


@given(steps)
def test_incremental_counts_are_a_recount_after_every_step(sequence: list[Child | str]) -> None:
    """Promise *truth*, at its root: counting is O(1) per event and never drifts."""
    roll, model = Roll(KINDS, HOME), dict[str, Child]()
    for step in sequence:
        if isinstance(step, str):
            assert roll.drop(step) == (model.pop(step, None) is not None)
        else:
            before = model.get(step.uid)
            material = before is None or not before.same_matter(step) or before.incident != step.incident
            model[step.uid] = step
            assert roll.put(step) == material

        assert roll.children == model
        assert roll.counts == roll.recount()
        assert roll.total == len(model) == roll.sum().total
        assert roll.eligible == {uid: child for uid, child in model.items() if child.eligible}


@given(steps, st.sets(st.sampled_from(UIDS)))
def test_striking_off_the_absent_leaves_exactly_the_present(sequence: list[Child | str], present: set[str]) -> None:
    """A replacement: whatever else is held of that kind is gone, and nothing of another kind."""
    roll = Roll(KINDS, HOME)
    for step in sequence:
        if isinstance(step, Child):
            roll.put(step)
    held = dict(roll.children)
    for uid in roll.absent(KINDS[0], dict.fromkeys(present)):
        roll.drop(uid)

    assert set(roll.children) == {uid for uid, child in held.items() if child.kind != KINDS[0] or uid in present}
    assert roll.counts == roll.recount()


@given(steps)
def test_the_order_of_what_is_the_same_in_the_end_does_not_matter(sequence: list[Child | str]) -> None:
    """Coalescing in a mailbox leaves only the newest of each: the counts must not depend on what was left out."""
    every, newest = Roll(KINDS, HOME), Roll(KINDS, HOME)
    last: dict[str, Child | None] = {}
    for step in sequence:
        if isinstance(step, Child):
            every.put(step)
            last[step.uid] = step
        else:
            every.drop(step)
            last[step] = None
    for child in last.values():
        if child is not None:
            newest.put(child)

    assert every.counts == newest.counts
    assert every.eligible == newest.eligible
