"""The watchers: the records they keep, whom they write to, and what a new incarnation puts right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.actor import Cell, Context, Resume
from actors.core.builtin import MUSTER_FLEET
from actors.core.conflicts import SPACING_S
from actors.core.events import ActorCrashed, ParentMissing, RecordSkipped
from actors.core.model import Child, Parent, ParentKey, ParentSpec, Policy, Record
from actors.core.ports import Objects, StreamChanged
from actors.core.records import RecordStore
from actors.mailbox import using
from actors.messages import (
    LastMail,
    ParentGone,
    ParentWanted,
    RelistWanted,
    RosterWanted,
    SubscribeWanted,
    SyncChanged,
    UnsubscribeWanted,
    WatcherStarted,
)
from actors.sim.desk import Catcher
from actors.sim.world import World
from actors.watcher import ChildWatcher, ParentWatcher, WatcherActor

KIND, HOME, AWAY = "ComputeNode", ParentKey("d", "home"), ParentKey("d", "away")


class ScriptedReader:
    """Notes what it is asked; ``deliver`` hands over mail."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.timeouts: list[tuple[str, ParentKey, float | None]] = []
        self.relists: list[str] = []
        self.broken: Callable[[ParentKey], None] = lambda parent: None
        self.deliver: Any = None

    def start(self, kind: str, epoch: int, deliver: Any) -> None:
        self.starts.append(epoch)
        self.deliver = deliver

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        self.broken(parent)
        self.timeouts.append((kind, parent, timeout_s))

    def relist(self, kind: str) -> None:
        self.relists.append(kind)

    def stop(self, timeout_s: float) -> None: ...


class Post:
    """One watcher on a scripted reader."""

    def __init__(self, kind: str = KIND, store: RecordStore | None = None) -> None:
        self.world = World(seed=5)
        self.kind = kind
        self.reader = ScriptedReader()
        self.store = store or RecordStore((KIND, "StorageNode"))
        self.directory: Any = Catcher()  # it and those below stand in for refs
        self.boss = Catcher()
        self.clusters: dict[ParentKey, Any] = {}
        self.epoch = 1
        self.made: WatcherActor

        def factory(ctx: Context) -> WatcherActor:
            common: Any = {"kind": kind, "reader": self.reader, "store": self.store, "directory": self.directory}
            if kind == "Cluster":
                self.made = ParentWatcher(ctx, **common, fleet=MUSTER_FLEET, policy=Policy(heartbeat_timeout_s=60.0))
            else:
                self.made = ChildWatcher(ctx, **common)
            return self.made

        with using(self.world):
            self.cell = Cell.start(name=f"watcher/{kind}", factory=factory, supervisor=self.boss)
        self.world.settle()

    def mail(self, *records: Record, gone: tuple[str, ...] = (), replace: bool = False, epoch: int = 0) -> None:
        entries: dict[str, Record | None] = {**dict.fromkeys(gone), **{record.uid: record for record in records}}
        self.reader.deliver(Objects(kind=self.kind, entries=entries, replace=replace, epoch=epoch or self.epoch))
        self.world.settle()

    def tell(self, message: Any) -> None:
        self.cell.tell(message)
        self.world.settle()

    def subscribe(self, key: ParentKey) -> Any:
        self.clusters[key] = Catcher()
        self.tell(SubscribeWanted(parent=key, ref=self.clusters[key]))
        return self.clusters[key]

    def crash(self) -> None:
        self.tell("nonsense")
        self.resume()

    def resume(self) -> None:
        self.epoch += 1
        self.tell(Resume())

    def wanted(self) -> list[ParentKey]:
        return [key for message in self.directory.of(ParentWanted) for key in message.parents]


def node(name: str, parent: ParentKey | None = HOME, *, version: int = 1, uid: str = "", kind: str = KIND) -> Child:
    return Child(
        kind=kind, namespace="d", name=name, uid=uid or f"uid-{name}", version=version, parent=parent, healthy=True
    )


def cluster(
    key: ParentKey = HOME, *, uid: str = "", version: int = 1, generation: int = 1, timeout_s: float | None = None
) -> Parent:
    return Parent(
        kind="Cluster", key=key, uid=uid or f"uid-{key.name}", version=version, generation=generation,
        spec=ParentSpec(heartbeat_timeout_s=timeout_s), status={},
    )  # fmt: skip


def known(*keys: ParentKey) -> RecordStore:
    store = RecordStore((KIND, "StorageNode"))
    store.parents = {key: cluster(key) for key in keys}
    store.parents_listed = True
    return store


# --- both -------------------------------------------------------------------------------------------------------------
def test_it_announces_itself_and_starts_its_reader_with_its_incarnation() -> None:
    """The epoch is what tells its mail from a predecessor's."""
    post = Post()
    post.crash()

    assert [message.kind for message in post.directory.of(WatcherStarted)] == [KIND, KIND]
    assert post.reader.starts == [1, 2]


def test_nothing_is_sent_before_the_first_complete_list() -> None:
    """Promise *synced*."""
    post = Post()
    mine = post.subscribe(HOME)
    post.mail(node("early"))
    mine.told.clear()
    post.mail(node("a"), node("b"), replace=True)

    (mail,) = mine.told
    assert mail.replace
    assert set(mail.entries) == {"uid-a", "uid-b"}
    assert [(m.synced, m.up) for m in post.directory.of(SyncChanged)] == [(True, True)]


def test_a_subscriber_gets_a_replacement_and_then_its_own_changes_only() -> None:
    """One message per parent and chunk; nothing of others."""
    post = Post()
    post.mail(node("a"), node("x", AWAY), replace=True)
    mine = post.subscribe(HOME)
    post.mail(node("a", version=2), node("b"), node("x", AWAY, version=2), gone=("uid-nobody",))

    first, second = mine.told
    assert (first.replace, list(first.entries)) == (True, ["uid-a"])
    assert (second.replace, sorted(second.entries)) == (False, ["uid-a", "uid-b"])


def test_mail_of_an_older_epoch_is_news_until_the_new_list_is_there() -> None:
    """It waited while the watcher was down, perhaps for long, and the gateway goes by the records meanwhile."""
    post = Post()
    post.mail(node("a"), node("b"), replace=True)
    post.crash()
    post.mail(node("a", version=2), epoch=1)
    assert set(post.store.children[KIND].uids()) == {"uid-a", "uid-b"}
    assert post.store.children[KIND].of(HOME)["uid-a"].version == 2

    post.mail(node("a", version=2), replace=True, epoch=1)
    assert set(post.store.children[KIND].uids()) == {"uid-a"}
    assert [m.synced for m in post.directory.of(SyncChanged)] == [True]  # only its own list makes it so again


def test_mail_of_an_older_epoch_is_dropped_after_the_new_list() -> None:
    """The reader of a dead incarnation may still deliver."""
    post = Post()
    post.crash()
    post.mail(replace=True, epoch=2)
    post.mail(node("ghost"), replace=True, epoch=1)

    assert len(post.store.children[KIND]) == 0


def test_a_list_is_a_replacement_for_every_subscriber() -> None:
    """Merging leaves phantom children: whatever was missed is put right, whatever is gone is gone."""
    post = Post()
    post.mail(node("a"), node("ghost"), node("x", AWAY), replace=True)
    mine, theirs = post.subscribe(HOME), post.subscribe(AWAY)
    post.mail(node("a"), replace=True)

    assert [list(m.entries) for m in mine.told] == [["uid-a", "uid-ghost"], ["uid-a"]]
    assert [list(m.entries) for m in theirs.told] == [["uid-x"], []]
    assert all(m.replace for m in mine.told + theirs.told)
    assert list(post.store.children[KIND].uids()) == ["uid-a"]


def test_unsubscribing_closes_with_a_last_mail_and_nothing_follows() -> None:
    """The hand-shake of passivation; what comes later is named to the directory."""
    post = Post(store=known(HOME))
    post.mail(node("a"), replace=True)
    mine = post.subscribe(HOME)
    post.directory.told.clear()
    post.tell(UnsubscribeWanted(parent=HOME, ref=mine))
    post.mail(node("b"))

    assert isinstance(mine.told[-1], LastMail)
    assert post.wanted() == [HOME]


def test_a_late_unsubscribe_does_not_silence_the_successor() -> None:
    """It names the ref it is about; and it is answered all the same."""
    post = Post()
    post.mail(replace=True)
    old, new = post.subscribe(HOME), post.subscribe(HOME)
    post.tell(UnsubscribeWanted(parent=HOME, ref=old))
    post.mail(node("a"))

    assert isinstance(old.told[-1], LastMail)
    assert list(new.told[-1].entries) == ["uid-a"]


def test_a_poisonous_record_is_tried_twice_then_left_out_and_everything_else_goes_on() -> None:
    """S6: fingerprint, skip, report. A restart replays snapshots, so poison comes back."""
    post = Post(kind="Cluster")
    bad, good = ParentKey("d", "bad"), ParentKey("d", "good")

    def broken(parent: ParentKey) -> None:
        if parent == bad:
            raise ValueError("poison")

    post.reader.broken = broken
    for _ in range(2):
        post.mail(cluster(bad, version=7), cluster(good), replace=True)
        post.resume()
    post.mail(cluster(bad, version=7), cluster(good), replace=True)

    assert {fact.poison for fact in post.world.seen(ActorCrashed)} == {"Cluster/d/bad@7"}
    assert [fact.fingerprint for fact in post.world.seen(RecordSkipped)] == ["Cluster/d/bad@7"]
    assert set(post.store.parents) == {good}
    assert post.made.statistics()["skipped"] == 1
    post.reader.broken = lambda parent: None
    post.mail(cluster(bad, version=8))
    assert set(post.store.parents) == {good, bad}


def test_readiness_follows_the_stream_and_is_told_to_a_directory_that_lost_its_memory() -> None:
    """``/readyz`` would otherwise say "not listed yet" until the next list, which may be hours away."""
    for kind in (KIND, "Cluster"):
        post = Post(kind=kind)
        post.mail(replace=True)
        post.reader.deliver(StreamChanged(kind=kind, epoch=1, up=False, reason="Unreachable", message="down"))
        post.reader.deliver(StreamChanged(kind=kind, epoch=9, up=True))
        post.world.settle()
        assert [(m.synced, m.up) for m in post.directory.of(SyncChanged)] == [(True, True), (True, False)]

        post.directory.told.clear()
        post.tell(RosterWanted(ref=post.directory))
        assert [(m.synced, m.up) for m in post.directory.of(SyncChanged)] == [(True, False)]


def test_a_wish_for_a_list_is_passed_on_to_the_reader_and_one_list_serves_all() -> None:
    """Not while one is under way, which the reader would begin anew; and not all the time, however many wish."""
    post = Post()

    def wish(times: int) -> None:
        for _ in range(times):
            post.tell(RelistWanted(reason="audit"))

    wish(3)
    assert post.reader.relists == []  # the first list is under way

    post.mail(replace=True)
    wish(3)
    assert post.reader.relists == [KIND]
    post.world.run_for(2 * SPACING_S)
    wish(1)
    assert post.reader.relists == [KIND]

    post.mail(replace=True)
    for _ in range(10):
        wish(3)
        post.mail(replace=True)
        post.world.run_for(SPACING_S / 4)
    assert post.reader.relists == [KIND] * 4


# --- children ---------------------------------------------------------------------------------------------------------
def test_a_child_that_moves_wakes_the_parent_it_leaves_and_the_one_it_joins() -> None:
    """Promise *truth*: re-parenting."""
    post = Post()
    post.mail(node("a"), replace=True)
    old, new = post.subscribe(HOME), post.subscribe(AWAY)
    post.mail(node("a", AWAY, version=2))

    assert old.told[-1].entries == {"uid-a": None}
    assert list(new.told[-1].entries) == ["uid-a"]
    assert post.store.child(KIND, HOME, "uid-a") is None


def test_a_child_without_a_parent_any_more_leaves_it() -> None:
    """An orphan is nobody's."""
    post = Post()
    post.mail(node("a"), replace=True)
    mine = post.subscribe(HOME)
    post.mail(node("a", None, version=2))

    assert mine.told[-1].entries == {"uid-a": None}


def test_same_name_new_uid_is_a_delete_and_a_create() -> None:
    """Whichever comes first in the chunk."""
    for records, gone in (((node("a", uid="new"),), ("old",)),):
        post = Post()
        post.mail(node("a", uid="old"), replace=True)
        mine = post.subscribe(HOME)
        post.mail(*records, gone=gone)

        assert set(mine.told[-1].entries) == {"old", "new"}
        assert mine.told[-1].entries["old"] is None
        assert list(post.store.children[KIND].of(HOME)) == ["new"]


def test_children_of_a_parent_that_is_not_there_are_reported_once_parents_are_listed() -> None:
    """Before that nobody can know; and nobody is made for a parent that does not exist."""
    post = Post()
    post.mail(node("a"), replace=True)
    assert post.world.seen(ParentMissing) == []

    post.store.parents_listed = True
    post.mail(node("b"))
    assert [fact.parent for fact in post.world.seen(ParentMissing)] == ["d/home"]
    assert post.wanted() == []


def test_what_a_crash_swallowed_reaches_a_sleeping_parent_by_the_next_list() -> None:
    """The record of its last child was struck off, then the watcher died: nothing in the new list names that parent."""
    post = Post(store=known(HOME, AWAY))
    post.mail(node("a"), node("x", AWAY), replace=True)
    post.directory.told.clear()
    post.store.children[KIND].drop("uid-a")  # as the dead incarnation did before it could tell
    post.crash()
    post.mail(node("x", AWAY), replace=True)

    assert set(post.wanted()) == {HOME, AWAY}


# --- parents ----------------------------------------------------------------------------------------------------------
def test_the_roster_is_all_parents() -> None:
    """For a directory that lost its memory."""
    post = Post(kind="Cluster")
    post.mail(cluster(), cluster(AWAY), replace=True)
    asker: Any = Catcher()
    post.tell(RosterWanted(ref=asker))

    assert [set(message.parents) for message in asker.of(ParentWanted)] == [{HOME, AWAY}]


def test_a_deleted_parent_is_told_to_its_actor_and_to_the_directory() -> None:
    """And its children's silence is nobody's business any more."""
    post = Post(kind="Cluster")
    post.mail(cluster(), replace=True)
    mine = post.subscribe(HOME)
    post.mail(gone=("uid-home",))

    assert mine.told[-1].entries == {"uid-home": None}
    assert [message.parent for message in post.directory.of(ParentGone)] == [HOME]
    assert post.reader.timeouts[-2:] == [("ComputeNode", HOME, None), ("StorageNode", HOME, None)]


def test_a_parent_that_comes_while_the_actor_of_its_namesake_still_has_its_mail_is_wanted() -> None:
    """That actor is closing: what it is told is told to nobody. (Seed 2312.)"""
    post = Post(kind="Cluster")
    post.mail(cluster(uid="old"), replace=True)
    post.subscribe(HOME)
    post.mail(gone=("old",))
    told = len(post.directory.of(ParentWanted))
    post.mail(cluster(uid="new", version=9))

    assert [message.parents for message in post.directory.of(ParentWanted)[told:]] == [(HOME,)]


def test_a_parent_created_again_under_its_name_is_not_gone() -> None:
    """In one chunk, in either order; its actor hears of both."""
    for order in (("old", "new"), ("new", "old")):
        post = Post(kind="Cluster")
        post.mail(cluster(uid="old"), replace=True)
        mine = post.subscribe(HOME)
        records: dict[str, Record | None] = {"old": None, "new": cluster(uid="new", version=9)}
        post.reader.deliver(Objects(kind="Cluster", entries={uid: records[uid] for uid in order}, epoch=1))
        post.world.settle()

        assert mine.told[-1].entries == records
        assert post.directory.of(ParentGone) == []
        assert post.store.parents[HOME].uid == "new"
        post.mail(gone=("old",))  # a repetition
        assert post.store.parents[HOME].uid == "new"


def test_the_reader_is_told_each_parents_timeout_and_its_changes_only() -> None:
    """The spec beats the flag; an unchanged one is not told again."""
    post = Post(kind="Cluster")
    post.mail(cluster(), cluster(AWAY, timeout_s=5.0), replace=True)
    assert {(key.name, s) for _, key, s in post.reader.timeouts} == {("home", 60.0), ("away", 5.0)}

    post.reader.timeouts.clear()
    post.mail(cluster(version=2), cluster(AWAY, version=2, timeout_s=7.0))
    assert post.reader.timeouts == [("ComputeNode", AWAY, 7.0), ("StorageNode", AWAY, 7.0)]


def test_a_timeout_that_could_not_be_told_is_told_by_the_next_incarnation() -> None:
    """Or those children would never fall silent."""
    post = Post(kind="Cluster")
    failed: list[int] = []

    def once(parent: ParentKey) -> None:
        if not failed:
            failed.append(1)
            raise OSError("once")

    post.reader.broken = once
    post.mail(cluster(), replace=True)
    post.resume()
    post.mail(cluster(), replace=True)

    assert post.reader.timeouts == [("ComputeNode", HOME, 60.0), ("StorageNode", HOME, 60.0)]


def test_a_changed_spec_is_told_to_the_directory_and_a_changed_status_is_not() -> None:
    """It lets a quarantined parent out; our own writes must not."""
    post = Post(kind="Cluster")
    post.mail(cluster(), replace=True)
    post.subscribe(HOME)
    post.directory.told.clear()
    post.mail(cluster(version=2))
    assert post.directory.of(ParentWanted) == []

    post.mail(cluster(version=3, generation=2))
    assert [(m.parents, m.spec_changed) for m in post.directory.of(ParentWanted)] == [((HOME,), True)]


def test_a_deletion_that_a_crash_swallowed_is_told_by_the_next_list() -> None:
    """Else an actor for nobody lives on."""
    post = Post(kind="Cluster")
    post.mail(cluster(), cluster(AWAY), replace=True)
    post.subscribe(HOME)
    post.store.parents.pop(HOME)  # as the dead incarnation did before it could tell
    post.crash()
    post.subscribe(HOME)  # what the directory does on WatcherStarted
    post.mail(cluster(AWAY), replace=True)

    assert [message.parent for message in post.directory.of(ParentGone)] == [HOME]


def test_a_parent_created_again_in_the_mail_that_deletes_it_has_another_chance() -> None:
    """Found by the simulator: in one chunk the old object's end hid that the new one is new, and quarantine went on."""
    post = Post(kind="Cluster")
    post.mail(cluster(), replace=True)
    post.subscribe(HOME)
    post.directory.told.clear()
    post.mail(cluster(uid="second"), gone=("uid-home",))
    assert [(m.parents, m.spec_changed) for m in post.directory.of(ParentWanted)] == [((HOME,), True)]

    post.directory.told.clear()
    post.mail(cluster(uid="second", version=2))
    assert post.directory.of(ParentWanted) == []
