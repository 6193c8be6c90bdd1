"""A simulated operator with the shell's facade over it, and a server in front of that."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.ops.inspect.calls import SeenBackend
from actors.ops.inspect.commands import perform
from actors.ops.inspect.inspection import Inspection
from actors.ops.inspect.memory import Memory
from actors.ops.inspect.registry import Answer, Caller
from actors.ops.inspect.server import ShellServer
from actors.sim.harness import SimulatedFleet

CALLER = Caller(uid=1000, pid=77)


class Operator:
    """Three Clusters of four nodes each, in virtual time; ``do`` is what a person types."""

    def __init__(self, **given: Any) -> None:
        self.fleet = SimulatedFleet(seed=1, **given)
        self.world = self.fleet.world
        self.memory = Memory(self.world.clock)
        self.world._on_fact = self.memory
        self.fleet.backend_port = SeenBackend(self.fleet.backend, self.world.clock, self.memory.calls)
        self.fleet.system = self.system = self.fleet._new_system()
        for name in ("c0", "c1", "c2"):
            self.fleet.cluster(name)
            for number in range(4):
                self.fleet.node(f"{name}-n{number}", name)
        self.fleet.start()
        self.fleet.run(2.0)
        self.look = self.inspection()

    def inspection(self, **given: Any) -> Inspection:
        return Inspection(self.system, self.world, memory=self.memory, **{"changes": True, "wait": self.wait, **given})

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        until_s = self.world.clock.now() + timeout_s
        while not condition():
            if not self.world.step(until_s):
                return False
        return True

    def answer(self, line: str) -> Answer:
        done = perform(self.look, shlex.split(line), CALLER)
        assert isinstance(done, Answer)
        json.dumps(done.value, allow_nan=False)  # whatever a command answers has a place in JSON
        return done

    def do(self, line: str) -> Any:
        return self.answer(line).value

    def change(self, line: str) -> Any:
        return self.do(f"{line} --reason 'a test'")


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def make_operator() -> type[Operator]:
    return Operator


@pytest.fixture
def folder() -> Iterator[Path]:
    """A socket's address has no room for pytest's own temporary folders."""
    made = Path(tempfile.mkdtemp(prefix="mu"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., ShellServer]]:
    """A server over whatever one may look at."""
    started: list[ShellServer] = []

    def start(look: Inspection, name: str = "s.sock", **given: Any) -> ShellServer:
        server = ShellServer(look, folder / name, **given)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
