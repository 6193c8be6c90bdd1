"""Plays a script and judges it: chaos, then healing with one fault perhaps left in place, then rest.

The healing's time is computed from the settings, not guessed: what each layer may still be waiting for is added up. A run
that has settled earlier goes on to its rest earlier.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from attrs import define, field, frozen

from ..core.fleet_valve import LOOK_EVERY_S, SETTLED_S
from ..core.model import ParentKey
from ..core.operation import ALL
from ..directory import PROBE_AFTER_S
from ..messages import StatusAnswered
from .court import Breach, Court, actor_of, counted
from .drawing import draw_script
from .faults_api import heal_api
from .faults_api import install as install_api
from .faults_backend import heal_backend
from .faults_process import heal_process, moment
from .faults_process import install as install_process
from .oracles_answers import ANSWER_ORACLES
from .oracles_backend import BACKEND_ORACLES
from .oracles_blind import BLIND_ORACLES
from .oracles_budget import BUDGET_ORACLES
from .oracles_fleet import FLEET_ORACLES, mend
from .oracles_process import PROCESS_ORACLES
from .oracles_reading import READING_ORACLES
from .oracles_served import SERVED_ORACLES
from .oracles_status import STATUS_ORACLES
from .oracles_why import WHY_ORACLES, WhyTrue
from .oracles_writes import WRITE_ORACLES
from .process import Strike
from .script import Script
from .stage import CLUSTERS, RECOVER_S, Stage
from .steps import Step, verb

__all__ = ["ORACLES", "Result", "Run", "collected_at_the_end", "play"]

ORACLES = (
    *STATUS_ORACLES, *BACKEND_ORACLES, *SERVED_ORACLES, *ANSWER_ORACLES, *WRITE_ORACLES, *READING_ORACLES, *PROCESS_ORACLES,
    *WHY_ORACLES, *FLEET_ORACLES, *BUDGET_ORACLES, *BLIND_ORACLES,
)  # fmt: skip
REST_S = 60.0
POLL_S = 5.0
STORY_LINES = 40
SLICE_S = 5.0  # of virtual time, between two looks at whether the run goes on; arbitrary
TURNS_PER_SLICE_MAX = 20_000
"""More turns than this within a slice is a hot loop: the busiest honest second has some hundreds."""


@frozen(kw_only=True)
class Result:
    """What came of one seed. ``fired`` counts by fault, ``exercised`` by oracle, ``named`` by gate of ``why``."""

    seed: int
    breaches: tuple[Breach, ...]
    trace: str
    virtual_s: float
    messages: int
    fired: dict[str, int]
    exercised: dict[str, int]
    calls: int
    repairs: int
    writes: int
    named: dict[str, int] = field(factory=dict)
    story: tuple[str, ...] = ()
    steps: int = 0

    @property
    def passed(self) -> bool:
        """Whether no promise was broken."""
        return not self.breaches


@define(eq=False)
class Run:
    """One playing of ``script``. ``stage`` and ``court`` may be looked at afterwards."""

    script: Script
    stage: Stage = field(init=False)
    court: Court = field(init=False)
    fired: Counter[str] = field(factory=Counter)
    muted: dict[str, float] = field(factory=dict)
    messages: int = 0
    stop_at_first: bool = True
    samples: Any = None
    """Called every virtual second with the run, for pictures."""

    def __attrs_post_init__(self) -> None:
        stage = self.stage = Stage(self.script.settings)
        stage.run = self
        stage.on_life.append(self._begin_life)
        self.court = Court(stage, ORACLES)
        stage.writer.on_write.append(lambda parent, uid, changed, status: moment(stage, "status-arrived"))
        stage.backend.on_send.append(lambda call: moment(stage, "call-sent"))
        stage.backend.on_arrival.append(lambda call, answer: moment(stage, "call-arrived"))
        stage.note_fired = self.note_fired

    # --- phases -------------------------------------------------------------------------------------------------------
    def play(self) -> Result:
        """All of it."""
        script, stage = self.script, self.stage
        for name, _, _ in script.clusters:
            stage.cluster(name)
        for number, (node, cluster) in enumerate(script.names()):
            by = ("field", "label", "owner")[(script.seed + number) % 3]
            stage.node(node, cluster, True, kind="StorageNode" if "-s" in node else "ComputeNode", by=by)
        stage.start(cold_start_s=script.cold_start_s)
        for part in ("operator", "backend"):
            stage.impair(part, 3.0 if script.cold_start_s == 0.0 else 3.0 + self._cold_s())
        if script.beat_s:
            self._beat(0)
        for step in script.steps:
            stage.world.after(step.at_s, partial(self._step, step))
        if self.samples is not None:
            self._sample()
        try:
            self._run_for(script.chaos_s)
            if self._goes_on():
                self._heal()
        except (AssertionError, RecursionError) as error:
            self._failed(f"{type(error).__name__}: {error}")
        return self.result()

    def _goes_on(self) -> bool:
        return not (self.court.breaches and self.stop_at_first)

    def _run_for(self, seconds: float) -> None:
        world = self.stage.world
        end_s = world.clock.now() + seconds
        while world.clock.now() < end_s and self._goes_on():
            before = world.turn_count
            world.run_for(min(SLICE_S, end_s - world.clock.now()))
            if world.turn_count - before > TURNS_PER_SLICE_MAX:
                self._failed(f"a hot loop: {world.turn_count - before} turns within {SLICE_S:g} s")
                return
            if world.fatal_error is not None:
                self._failed(f"fatal: {world.fatal_error}")
                return

    def _failed(self, text: str) -> None:
        self.court.breaches.append(Breach(self.stage.world.clock.now(), "no-surprise", "I20", text))

    def _step(self, step: Step) -> None:
        stage = self.stage
        stage.broken.fault = step.fault
        if step.fault and step.do not in _DELAYED and step.do not in _COMPANIONS:
            self.fired[step.fault] += 1
        step.play(stage)
        stage.broken.fault = ""

    def note_fired(self, fault: str) -> None:
        """A fault that waited for its moment has struck."""
        self.fired[fault] += 1

    def _beat(self, turn: int) -> None:
        """A quarter of the nodes report at a time."""
        stage, now = self.stage, self.stage.world.clock.now()
        for node in list(stage.truth.nodes.values())[turn % 4 :: 4]:
            if self.muted.get(node.name, -1.0) < now:
                stage.report(node.name, kind=node.kind)
        stage.world.after(self.script.beat_s / 4, lambda: self._beat(turn + 1))

    def _sample(self) -> None:
        self.samples(self)
        self.stage.world.after(1.0, self._sample)

    # --- healing ------------------------------------------------------------------------------------------------------
    def _heal(self) -> None:
        stage = self.stage
        stage.chaos_over = True
        heal_api(stage)
        heal_backend(stage)
        heal_process(stage)
        stage.broken.stubborn.clear()
        self.muted.clear()
        now = stage.world.clock.now()
        self._wait(now + self._healing_s(), self._counted)
        if not self._goes_on():
            return
        for oracle in self.court.oracles:
            oracle.untouched()
        for parent in list(stage.truth.parents):
            stage.touch(CLUSTERS, parent.name, {"metadata": {"finalizers": None}})
            stage.configure(parent.name, {
                "paused": None, "minHealthy": 0, "heartbeatTimeout": None, "debounce": None,
                "repair": {"maxUnhealthy": "100%", "enabled": True, "cooldown": None, "maxAttempts": 1000},
            })  # fmt: skip
            stage.configure(parent.name, {"minHealthy": 1})  # a new generation lets a quarantined parent out
        mend(stage)
        now = stage.world.clock.now()
        self._leave_broken(now)
        self._wait(now + self._healing_s(), self._settled)
        if self._goes_on():
            for oracle in self.court.oracles:
                oracle.healed()
        if self._goes_on():
            self._run_for(PROBE_AFTER_S + REST_S if self.stage.broken.left_broken else REST_S)
            for oracle in self.court.oracles:
                oracle.rested()

    def _wait(self, deadline_s: float, settled: Callable[[], bool]) -> None:
        """Until it has been so for three looks, or the time is over."""
        looks = 0
        while self.stage.world.clock.now() < deadline_s and self._goes_on() and looks < 3:
            self._run_for(POLL_S)
            looks = looks + 1 if settled() else 0

    def _counted(self) -> bool:
        """Whether every status that somebody works for has the true counts: before anybody touches a parent."""
        stage = self.stage
        kinds = (stage.fleet.parent.kind, *stage.child_kinds)
        actors = (part for part in stage.impaired_until_s if part.startswith("actor:"))
        calm = stage.calm(
            stage.world.clock.now() - 5.0, "operator", "write", *(f"api:{kind}" for kind in kinds), *actors
        )
        return calm and all(
            self.court.possible(
                parent, kind, counted(obj.get("status") or {}, kind) or (-1, 0, 0), stage.world.clock.now()
            )
            for parent, obj in stage.truth.parents.items()
            for kind in stage.child_kinds
            if self.court.works(parent)
        )

    def _leave_broken(self, now: float) -> None:
        """One fault stays, and everything else must get well beside it."""
        stage, leftover = self.stage, self.script.leftover
        if leftover == "poisonous-parent":
            name = actor_of(ParentKey("default", self.script.clusters[0][0]))
            stage.broken.left_broken.add(name)
            self._keep_striking(name)
        elif leftover == "sick-node" and stage.truth.nodes:
            uid = next(iter(stage.truth.nodes))
            stage.backend_model.poisoned.add(uid)
            stage.broken.left_sick.add(uid)
            stage.impair("backend", math.inf)  # refusal upon refusal: the breaker has its say for everybody
            stage.report(stage.truth.nodes[uid].name, False, kind=stage.truth.nodes[uid].kind)
        elif leftover == "no-bookmarks":
            for kind in (stage.fleet.parent.kind, *stage.child_kinds):
                stage.broken.manglings[kind] = ("no-bookmarks", math.inf)
        elif leftover == "slow-api" and stage.reader is not None:
            stage.writer.rtt_s = stage.reader.rtt_s = 0.5

    def _keep_striking(self, name: str) -> None:
        def strike() -> None:
            if self.stage.probe is not None:
                self.stage.probe.strikes.append(Strike(name, "DebounceEnded", count=1_000_000))

        strike()
        self.stage.on_life.append(strike)

    def _cold_s(self) -> float:
        settings = self.script.settings
        return settings.quota.window_s + settings.call_timeout_s + settings.lateness_s

    def _healing_s(self) -> float:
        """The sum of what each layer may still be waiting for: T2 of the invariants."""
        settings = self.script.settings
        calls = math.ceil(len(self.stage.truth.nodes) / settings.batch_max) + 1
        windows = math.ceil(calls / settings.quota.calls) + 1
        drain_s = windows * (settings.quota.window_s + settings.backend_rtt_s + settings.call_timeout_s)
        reading_s = RECOVER_S + 66.0 + 60.0  # a dead stream, a Retry-After with its jitter, a server that went back
        writing_s = 30.0 + 22.0  # a refused status is tried again within 30 s; a Retry-After
        calling_s = settings.breaker_max_s + settings.retry_max_s + 20.0 + 2 * self._cold_s()
        rounds_s = 3 * (
            max(settings.policy.cooldown_s, settings.policy.cooldown_max_s) + settings.heal_after_s + drain_s
        )  # repairs that failed or did not help
        silence_s = 0.0 if not self.script.beat_s else 2.5 * self.script.beat_s + 10.0
        restart_s = 60.0  # the last restart of an actor, a wedge, a process
        holding_s = 0.0 if settings.fleet_share == ALL else 2 * (SETTLED_S + 6 * LOOK_EVERY_S)
        return reading_s + writing_s + calling_s + rounds_s + silence_s + restart_s + holding_s

    def _settled(self) -> bool:
        """Whether everything is as it should be already: a quick look; the oracles judge afterwards."""
        stage = self.stage
        calm_s = stage.world.clock.now() - 5.0
        parts = ["operator", *(f"api:{kind}" for kind in self.court.kinds)]
        if not stage.calm(calm_s, *parts, *([] if stage.broken.left_sick else ["backend"])):
            return False
        if stage.system is None or stage.process is None or stage.system.ready():
            return False
        for node in stage.truth.nodes.values():
            if node.uid in stage.broken.left_sick or node.parent not in stage.truth.parents:
                continue
            waits = node.healthy is None and stage.truth.timeout_s(node.parent) is not None  # for its own silence
            if waits or node.healthy is False:
                return False
        for parent, obj in stage.truth.parents.items():
            status = obj.get("status") or {}
            if actor_of(parent) in stage.broken.left_broken:
                continue
            healthy = sum(stage.truth.history(parent, kind).now()[0] for kind in stage.child_kinds)
            if status.get("healthy") != healthy or status.get("observedGeneration") != obj["metadata"]["generation"]:
                return False
        gateway: dict[str, Any] = dict(stage.system.cells()).get("gateway", {})
        queue = gateway.get("queue", {"ready": 1})
        busy = queue.get("ready") or queue.get("waiting") or queue.get("in_flight") or queue.get("blocked")
        return not gateway.get("held") and (not busy or bool(stage.broken.left_sick))

    # --- what came of it ----------------------------------------------------------------------------------------------
    def result(self) -> Result:
        """The judgement so far."""
        stage = self.stage
        probe = stage.probe
        messages = self.messages + (probe.count if probe is not None else 0)
        text = f"{stage.world.trace_hash()} {stage.api.resource_version} {len(stage.facts)} {messages}"
        return Result(
            seed=self.script.seed,
            breaches=tuple(self.court.breaches),
            trace=hashlib.sha256(text.encode()).hexdigest()[:16],
            virtual_s=stage.world.clock.now(),
            messages=messages,
            fired=dict(self.fired),
            exercised={oracle.name: oracle.exercised for oracle in self.court.oracles},
            calls=len(stage.backend_model.arrivals),
            repairs=len(stage.backend_model.repairs),
            writes=stage.writer.writes_count,
            named=dict(next((oracle.named for oracle in self.court.oracles if isinstance(oracle, WhyTrue)), {})),
            story=tuple(self.story()) if self.court.breaches else (),
            steps=len(self.script.steps),
        )

    def story(self) -> list[str]:
        """The last steps and messages before the first breach, one line each."""
        at_s = self.court.breaches[0].at_s if self.court.breaches else self.stage.world.clock.now()
        lines = [(step.at_s, f"{step.line()}") for step in self.script.steps if step.at_s <= at_s][-12:]
        probe = self.stage.probe
        for when_s, actor, message in list(probe.steps)[-200:] if probe is not None else []:
            if when_s <= at_s:
                lines.append((when_s, f"{when_s:8.3f}s  {actor} ◀ {_told(message)}"))
        for when_s, _, fact in self.stage.facts[-200:]:
            name = type(fact).__name__
            if when_s <= at_s and name in _TOLD_FACTS:
                lines.append((when_s, f"{when_s:8.3f}s  * {name} {getattr(fact, 'actor', getattr(fact, 'kind', ''))}"))
        lines.sort(key=lambda line: line[0])
        return [text for _, text in lines][-STORY_LINES:]

    def _begin_life(self) -> None:
        stage = self.stage
        assert stage.reader is not None
        install_api(stage, stage.reader)
        install_process(stage)
        if stage.previous_probe is not None:
            self.messages += stage.previous_probe.count
        stage.previous_probe = stage.probe


_COMPANIONS = {"fail", "recover", "delete-node"}
"""What users do beside a fault so that it has something to bite on: no firing of it."""
_DELAYED = {
    "strike", "strike-meaning", "strike-after", "poison-record", "kill-at", "wedge", "refuse-writes", "call-fate", "cut-pipe",
    "meddle",
}  # fmt: skip
_TOLD_FACTS = {
    "ActorCrashed", "ActorRestarted", "ActorQuarantined", "StreamDown", "StreamUp", "Listed", "CallSent",
    "CallAnswered", "StatusFailed", "StatusWritten", "Escalated", "Reconciled", "ItemsWithdrawn",
}  # fmt: skip


def _told(message: Any) -> str:
    """One line for people."""
    entries = getattr(message, "entries", None)
    if entries is not None:
        names = [f"{uid[:4]} gone" if record is None else record.name for uid, record in list(entries.items())[:6]]
        return f"Objects {message.kind} {'all: ' if message.replace else ''}{', '.join(names)}"
    items = getattr(message, "items", None)
    if isinstance(items, tuple):
        return f"{type(message).__name__} {message.parent}: {', '.join(item.payload['name'] for item in items[:6])}"
    status = getattr(message, "status", None)
    if isinstance(status, dict):
        counts = f"{status.get('healthy')} of {status.get('total')} healthy"
        return f"{type(message).__name__} {message.parent} (version {message.version}): {counts}"
    outcome = getattr(message, "outcome", None)
    if outcome is not None:
        about = getattr(message, "call", "") or str(getattr(message, "parent", ""))
        ended = "" if outcome.error is None else f": {outcome.error!r}"
        return f"{type(message).__name__} {about[:24]}{ended}"
    if isinstance(message, StatusAnswered):
        return f"StatusAnswered {message.state.value} {message.message}".rstrip()
    text = repr(message)
    return text if len(text) <= 150 else text[:147] + "…"


@verb("mute-node")
def mute_node(stage: Stage, name: str, for_s: float) -> None:
    """The node reports no heartbeat for so long."""
    stage.run.muted[name] = stage.world.clock.now() + for_s


@contextmanager
def collected_at_the_end() -> Iterator[None]:
    """No garbage collection inside, and one of the young objects at the end: a tenth of a run goes into it otherwise.

    A run makes little garbage that only the collector finds, until it ends and all of it is garbage. Nothing was promoted
    meanwhile, so that looking at the young is enough, whatever else this process holds.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect(0)


def play(seed: int, faults: tuple[str, ...] | None = None) -> Result:
    """Draw that seed's script, play it, judge it."""
    with collected_at_the_end():
        return Run(draw_script(seed, faults)).play()
