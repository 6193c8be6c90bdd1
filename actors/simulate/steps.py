"""What happens, as data: a ``Step`` names a verb and its arguments; verbs are registered here by users' acts and by faults.

A verb is a function of the stage and the arguments. It must do nothing where it does not fit, and must draw nothing: all
drawing is done when the script is made, so that a step means the same in every subset of its script.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from ..core.model import ParentKey
from ..core.override import OVERRIDE
from ..core.reconcile import rfc3339
from ..messages import PauseWanted
from .stage import CLUSTERS, NAMESPACE, PLURALS, Stage

__all__ = ["VERBS", "Step", "verb"]

Argument = str | int | float | bool | None


@frozen
class Step:
    """One thing that happens ``at_s`` seconds after the beginning."""

    at_s: float
    do: str
    args: tuple[Argument, ...] = ()
    fault: str = ""
    """The catalogue's id, "" for what users and nodes do."""

    def line(self) -> str:
        """For people."""
        words = " ".join(str(each) for each in self.args)
        tag = f"[{self.fault}] " if self.fault else ""
        return f"{self.at_s:8.3f}s  {tag}{self.do} {words}".rstrip()

    def play(self, stage: Stage) -> None:
        """Let it happen."""
        VERBS[self.do](stage, *self.args)


Verb = Callable[..., None]
VERBS: dict[str, Verb] = {}


def verb(name: str) -> Callable[[Verb], Verb]:
    """Register a function as the verb ``name``."""

    def register(function: Verb) -> Verb:
        assert name not in VERBS, f"two verbs {name}"
        VERBS[name] = function
        return function

    return register


def node_kind(name: str) -> str:
    """Storage nodes are those whose names say so: a step then needs no more than the name."""
    return "StorageNode" if "-s" in name else "ComputeNode"


@verb("create-cluster")
def create_cluster(stage: Stage, name: str, *fields: Argument) -> None:
    """``fields``: path and value in turn, such as ``repair.maxUnhealthy 50%``."""
    stage.cluster(name, _spec(fields))


@verb("configure")
def configure(stage: Stage, name: str, *fields: Argument) -> None:
    """Patch the spec; a None takes the field away."""
    stage.configure(name, _spec(fields))


@verb("delete-cluster")
def delete_cluster(stage: Stage, name: str) -> None:
    stage.delete(CLUSTERS, name)


@verb("create-node")
def create_node(stage: Stage, name: str, cluster: str, healthy: bool | None, by: str) -> None:
    stage.node(name, cluster, healthy, kind=node_kind(name), by=by)


@verb("delete-node")
def delete_node(stage: Stage, name: str) -> None:
    stage.delete(PLURALS[node_kind(name)], name)


@verb("recreate-node")
def recreate_node(stage: Stage, name: str, cluster: str, healthy: bool | None, by: str) -> None:
    """Delete and create again under its name, at one instant."""
    delete_node(stage, name)
    create_node(stage, name, cluster, healthy, by)


@verb("move-node")
def move_node(stage: Stage, name: str, cluster: str) -> None:
    stage.move(name, cluster, kind=node_kind(name))


@verb("fail")
def fail(stage: Stage, name: str) -> None:
    """The node reports that it is unhealthy."""
    stage.report(name, False, kind=node_kind(name))


@verb("recover")
def recover(stage: Stage, name: str) -> None:
    """The node reports that it is healthy."""
    stage.report(name, True, kind=node_kind(name))


@verb("beat")
def beat(stage: Stage, name: str) -> None:
    """The node reports what it reported before."""
    stage.report(name, kind=node_kind(name))


@verb("fail-cluster")
def fail_cluster(stage: Stage, name: str) -> None:
    """All nodes of that cluster fail at once."""
    for node in stage.truth.children(_key(name)):
        stage.report(node.name, False, kind=node.kind)


@verb("touch-cluster")
def touch_cluster(stage: Stage, name: str, text: str) -> None:
    """Somebody labels the parent: a new version that changes nothing for us."""
    stage.touch(CLUSTERS, name, {"metadata": {"labels": {"touched": text}}})


@verb("override-valve")
def override_valve(stage: Stage, name: str, for_s: float) -> None:
    """Somebody annotates the parent: no valve is to hold its repairs for a while."""
    until = rfc3339(stage.world.clock.wall() + for_s)
    stage.touch(CLUSTERS, name, {"metadata": {"annotations": {OVERRIDE: until}}})


@verb("pause-by-command")
def pause_by_command(stage: Stage, name: str, for_s: float) -> None:
    """A person at the shell holds the parent's repairs for a while."""
    directory = stage.system.refs.get("directory") if stage.system is not None else None
    if directory is not None:
        directory.tell(PauseWanted(parent=_key(name), until_s=stage.world.clock.now() + for_s))


@verb("overwrite-status")
def overwrite_status(stage: Stage, name: str) -> None:
    """Another writer puts nonsense into the parent's status."""
    stage.touch(CLUSTERS, name, {"status": {"healthy": 12345}}, "status")


@verb("delete-softly")
def delete_softly(stage: Stage, name: str) -> None:
    """Delete a parent that a finalizer keeps."""
    stage.touch(CLUSTERS, name, {"metadata": {"finalizers": ["example.com/slow"]}})
    stage.delete(CLUSTERS, name)


@verb("finalize")
def finalize(stage: Stage, name: str) -> None:
    """Take the finalizers away: what was being deleted goes."""
    stage.touch(CLUSTERS, name, {"metadata": {"finalizers": None}})


def _key(name: str) -> ParentKey:
    return ParentKey(NAMESPACE, name)


def _spec(fields: tuple[Argument, ...]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for path, value in zip(fields[::2], fields[1::2], strict=True):
        *parts, last = str(path).split(".")
        place = spec
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return spec
