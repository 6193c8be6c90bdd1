"""Every bug of Muster that the simulation has found, as the smallest script that shows it. None may come back.

A file of ``pinned/`` says what the bug was, which seed found it and when it was fixed. Where the fix can be taken back
for a moment, it is: a script that passes with the bug in place would guard nothing.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from actors.cluster import ClusterActor
from actors.core.model import Now, Wish
from actors.core.reconcile import replaced_condition
from actors.directory import DirectoryActor, Phase
from actors.messages import StatusWanted
from actors.simulate.mutants.planting import Mutant, Substitution, plant
from actors.simulate.run import Run
from actors.simulate.scriptfile import dumps, load
from actors.simulate.shrink import judged

FOLDER = Path(__file__).parent / "pinned"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


# --- the product as it was --------------------------------------------------------------------------------------------
def status_asked_for_again_though_it_is_there(original: Any) -> Any:
    def ask_again(self: ClusterActor, lost: str) -> None:
        if self._target is not None and self._parent is not None:
            self._send_status()
        target, self._target = self._target, None
        original(self, lost)
        self._target = target

    return ask_again


def what_was_written_is_not_remembered(_original: Any) -> Any:
    fingerprints = itertools.count()

    def fingerprint(wish: Wish) -> int:
        return next(fingerprints)  # no two are the same

    return fingerprint


def unchanged_condition_is_told_again(_original: Any) -> Any:
    def tell_condition(self: DirectoryActor, name: str) -> None:
        entry = self._entries.get(name)
        parent = self._store.parent(entry.key) if entry is not None else None
        if entry is None or parent is None or entry.phase is not Phase.QUARANTINED:
            return
        now = Now(self.ctx.clock.now(), self.ctx.clock.wall())
        self._sequence += 1
        self._told[self._sequence] = name
        wish = StatusWanted(
            parent=entry.key,
            uid=parent.uid,
            version=parent.version,
            wish=Wish(replaced_condition(parent, now, "Ready", False, "Quarantined", entry.why)),
            sequence=self._sequence,
            reply_to=self.ctx.ref,
        )
        self.ctx.tell(self._status, wish)

    return tell_condition


ASK_AGAIN = Substitution(
    target="actors.cluster:ClusterActor._ask_again", make=status_asked_for_again_though_it_is_there
)
REMEMBERED = Substitution(target="actors.status:_fingerprint", make=what_was_written_is_not_remembered)
CONDITION = Substitution(
    target="actors.directory:DirectoryActor._tell_condition", make=unchanged_condition_is_told_again
)
AFTER_A_DEATH = "written-again-after-the-writer-died"
BEFORE: dict[str, tuple[Substitution, ...]] = {
    AFTER_A_DEATH: (ASK_AGAIN,),
    "written-again-while-the-answer-waits": (REMEMBERED,),
    "written-twice-when-asked-for-twice": (REMEMBERED,),
    "quarantine-told-again": (CONDITION, REMEMBERED),  # since then the StatusActor would not have written it either
}
"""By file: the product as it was before the fix."""


def before(name: str) -> Mutant:
    return Mutant(name=name, promise="I20", what="as it was before the fix", substitutions=BEFORE[name])


def promises_broken(name: str) -> list[str]:
    return [breach.line() for breach in judged(load(FILES[name]).script).breaches]


def test_there_are_pinned_scripts() -> None:
    assert FILES
    assert set(BEFORE) <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_bug_has_not_come_back(name: str) -> None:
    assert not promises_broken(name)


@pytest.mark.parametrize("name", sorted(set(BEFORE) - {AFTER_A_DEATH}))
def test_script_finds_the_bug_when_its_fix_is_taken_back(name: str) -> None:
    finding = load(FILES[name]).finding
    assert finding is not None
    with plant(before(name)):
        found = judged(load(FILES[name]).script).breaches
    assert [breach.oracle for breach in found] == [finding.oracle], "it shows the bug no longer: shrink another seed"


def writes_for_nothing(name: str) -> int:
    run = Run(load(FILES[name]).script)
    unchanged = []
    run.stage.writer.on_write.append(lambda parent, uid, changed, status: None if changed else unchanged.append(parent))
    run.play()
    return len(unchanged)


def test_writer_that_died_is_not_asked_for_what_is_there() -> None:
    """Counted here: the oracle looks away for a while after the writer's death, when nobody may know what was written."""
    assert writes_for_nothing(AFTER_A_DEATH) == 0
    with plant(before(AFTER_A_DEATH)):
        assert writes_for_nothing(AFTER_A_DEATH) == 1


@pytest.mark.parametrize("name", FILES)
def test_file_says_what_it_is_for_and_is_written_as_we_write(name: str) -> None:
    file = load(FILES[name])
    assert file.finding is not None
    assert len(file.finding.bug) > 20
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", file.finding.fixed), "when was it fixed?"
    assert len(file.script.steps) <= 20
    assert FILES[name].read_text(encoding="utf-8") == dumps(file)
