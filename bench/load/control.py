"""What a load server can be told, a line each; it answers each with a line of JSON.

heartbeats N      N reports that change nothing, round the children in a shuffled order
material N        N reports that turn the health of their nodes
storm             every node that is well reports ill; "heal": the other way about
flip PARENT       one node of that parent turns
flip-each         one node of every parent turns ill
pace RATE         heartbeats, RATE a second until "pace 0", 200 portions a second
drained [S]       wait until every watch has sent all (to the kernel)
right [S]         wait until every parent's status is the count of its children
patched P T [S]   wait for a patch of parent P's status that came after the instant T
patches           all status patches since the last time: [when, parent, total, healthy, unhealthy, repairing]
stats             requests, open watches, bytes sent
quit              end
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from bench.load.server import Face

WAIT_S = 600.0
_PORTIONS = 200


class Control:
    """Obeys the lines above. One caller at a time; the pace is kept by a thread of its own."""

    def __init__(self, face: Face) -> None:
        self._face, self._fleet = face, face.fleet
        self._rate = 0.0
        self._paced = 0
        self._wake = threading.Event()
        threading.Thread(target=self._keep_pace, name="pace", daemon=True).start()

    def obey(self, line: str) -> dict[str, Any]:
        """Do it."""
        word, *rest = line.split()
        action: Callable[..., dict[str, Any]] | None = getattr(self, f"_do_{word.replace('-', '_')}", None)
        if action is None:
            return {"error": f"no such word: {word}"}
        began_s = time.monotonic()
        return action(*(float(each) if "." in each else int(each) for each in rest)) | {"began_s": began_s}

    def _do_heartbeats(self, count: int) -> dict[str, Any]:
        return self._reported(self._fleet.report(self._fleet.nodes.in_turn(count)))

    def _do_material(self, count: int) -> dict[str, Any]:
        return self._reported(self._fleet.report(self._fleet.nodes.in_turn(count), turn=True))

    def _do_storm(self) -> dict[str, Any]:
        return self._all(well=False)

    def _do_heal(self) -> dict[str, Any]:
        return self._all(well=True)

    def _do_flip(self, parent: int) -> dict[str, Any]:
        return self._reported(self._fleet.report([self._fleet.nodes.first[parent]], turn=True))

    def _do_flip_each(self) -> dict[str, Any]:
        return self._reported(self._fleet.report(self._fleet.nodes.first, well=False))

    def _do_pace(self, rate: float) -> dict[str, Any]:
        self._rate = rate
        self._wake.set()
        return {"paced": self._paced}

    def _do_drained(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        return {"done": self._fleet.logs["computenodes"].drained(timeout_s), "at_s": time.monotonic()}

    def _do_right(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        log = self._fleet.logs["clusters"]
        with log.more:
            done = log.more.wait_for(lambda: not self._fleet.wrong, timeout_s)
            at_s = self._fleet.patches[-1][0] if done and self._fleet.patches else time.monotonic()
            return {"done": done, "wrong": len(self._fleet.wrong), "at_s": at_s}

    def _do_patched(self, parent: int, after_s: float, timeout_s: float = WAIT_S) -> dict[str, Any]:
        log, found = self._fleet.logs["clusters"], list[float]()

        def look() -> bool:
            for patch in reversed(self._fleet.patches):
                if patch[0] < after_s:
                    break
                if patch[1] == parent:
                    found[:] = [patch[0]]
            return bool(found)

        with log.more:
            return {"done": log.more.wait_for(look, timeout_s), "at_s": found[0] if found else None}

    def _do_patches(self) -> dict[str, Any]:
        with self._fleet.logs["clusters"].lock:
            patches, self._fleet.patches = self._fleet.patches, []
            return {"patches": patches}

    def _do_stats(self) -> dict[str, Any]:
        watches = {plural: log.watches for plural, log in self._fleet.logs.items()}
        return {
            "requests": dict(self._face.requests), "watches": watches, "sent_bytes": self._face.sent_bytes,
            "wrong": len(self._fleet.wrong), "paced": self._paced,
        }  # fmt: skip

    def _all(self, *, well: bool) -> dict[str, Any]:
        nodes = self._fleet.nodes
        return self._reported(self._fleet.report([n for n in nodes.in_turn(len(nodes)) if nodes.well[n] != well], well))

    def _reported(self, found: tuple[int, float]) -> dict[str, Any]:
        return {"events": found[0], "at_s": found[1]}

    def _keep_pace(self) -> None:
        """Portions that make the rate on the average, however late one of them is."""
        while True:
            self._wake.wait()
            self._wake.clear()
            began_s, due, done = time.monotonic(), 0, 0
            rate = self._rate
            while self._rate == rate and rate > 0:
                time.sleep(1 / _PORTIONS)
                due = int((time.monotonic() - began_s) * rate)
                if due > done:
                    self._fleet.report(self._fleet.nodes.in_turn(due - done))
                    self._paced += due - done
                    done = due
