"""The recorded session of the shell, ``docs/shell-session.md``: four planted troubles, found with the shell alone.

    python tests/e2e/shell_session.py docs/shell-session.md     # half a minute

It starts the operator, an API server and a backend as processes, plants the troubles by what servers and users do, types into
``muster shell`` on a pseudo-terminal what an engineer would type, and writes down what was seen. Where the shell does not name
a trouble it fails. Two of the troubles need an operator with bugs, and ours has none of that kind that we know: so what runs
is the operator with the change of ``with_inventory``, which a colleague might well make.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from actors.core import reconcile as pure
from actors.ops.cli import main as muster
from actors.ops.inspect.client import ask
from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until
from actors.sim.terminal import Terminal, lines_of

ENTRY = str(Path(__file__).parents[2] / "supervisor.py")
COLUMNS = 110
TAKEN, PROMPT = r"\x1b\[\?2004l", r"\x1b\[\?2004h"
"""What the prompt tells the terminal when it has taken a line, and when it is back: between them is the answer."""
INVENTORY = "INVENTORY_PORT"
KINDS = {"payments": "ComputeNode", "search": "ComputeNode", "web": "ComputeNode", "archive": "StorageNode"}
QUOTA = "1/60s"
OPTIONS = {
    "cold-start": "0s", "max-unhealthy": "100%", "max-unhealthy-fleet": "100%",
    "quota": QUOTA, "batch-max": "2", "debounce": "20ms",
    "shell-changes": "true",
}  # fmt: skip


# --- the operator that runs ---------------------------------------------------------------------------------------------
def ask_inventory(cluster: str) -> str:
    """The rack of a cluster. Without a timeout: that is one of the two bugs."""
    with socket.create_connection(("127.0.0.1", int(os.environ[INVENTORY]))) as connection:
        connection.sendall(f"{cluster}\n".encode())
        return connection.recv(100).decode()


def number_of(name: str) -> int:
    """The number of a node. That each name ends in one is the other bug."""
    return int(name.rpartition("-")[2])


def with_inventory(reconcile: Callable[..., Any]) -> Callable[..., Any]:
    """The colleague's change: the rack of each cluster and the numbers of its nodes in trouble, for a report some day."""

    def reconcile_with_inventory(fleet: Any, parent: Any, children: Any, *more: Any) -> Any:
        ask_inventory(parent.key.name)
        for child in children.roll.eligible.values():
            number_of(child.name)
        return reconcile(fleet, parent, children, *more)

    return reconcile_with_inventory


def operator() -> None:
    """The process: the operator with that change."""
    pure.reconcile = with_inventory(pure.reconcile)
    sys.argv.pop(1)
    muster()


# --- the servers, and the troubles ----------------------------------------------------------------------------------------
class Inventory:
    """A service that knows racks; asked about a cluster that is in ``mute`` it never answers."""

    def __init__(self) -> None:
        self.mute: set[str] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._serve, name="inventory", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if connection.recv(100).decode().strip() in self.mute:
                self._kept.append(connection)
                continue
            connection.sendall(b"r12\n")
            connection.close()


@frozen
class Site:
    """What runs while the session is recorded."""

    fleet: Fleet
    api: ModelServer
    inventory: Inventory
    socket: Path

    def answer(self, *words: str) -> Any:
        """What the shell answers, unrecorded: to know when there is something to see."""
        return ask(self.socket, words).answer

    def gate(self, *words: str) -> str:
        """The gate that ``why`` names, unrecorded."""
        return str(self.answer("why", *words)["code"])

    def plant(self) -> None:
        """All four, at once."""
        fleet, watch = self.fleet, {"path": "storagenodes.*watch="}
        self.api.faults({"do": "swallow", "match": watch}, {"do": "hang", "match": watch})
        fleet.report("archive-2", healthy=False, kind="StorageNode")
        self.inventory.mute.add("search")
        fleet.report("search-1", healthy=False)
        fleet.node("payments-spare", "payments", healthy=False)
        for number in range(5):
            fleet.report(f"web-{number}", healthy=False)


@contextmanager
def site() -> Iterator[Site]:
    """Four clusters of six nodes, and all is well."""
    with tempfile.TemporaryDirectory(prefix="mu") as name:
        folder = Path(name)
        inventory = Inventory()
        os.environ[INVENTORY] = str(inventory.port)
        with (
            ModelServer(folder) as api,
            BackendServer(folder, options=["--quota", QUOTA, "--batch-max", "2"]) as backend,
        ):
            fleet = Fleet(Api(api.url))
            for cluster, kind in KINDS.items():
                fleet.cluster(cluster)
                for number in range(6):
                    fleet.node(f"{cluster}-{number}", cluster, kind)
            options = OPTIONS | {"shell-socket": str(folder / "home" / "s.sock")}
            entry = [str(Path(__file__).resolve()), "operator"]
            with Operator(
                entry, folder, kubeconfig=api.kubeconfig, backend_url=backend.url, options=options
            ) as running:
                running.ready()
                fleet.agree(10.0)
                yield Site(fleet, api, inventory, folder / "home" / "s.sock")
                running.kill()  # its end would wait for who is stuck


# --- the session ----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class Scene:
    """One command: ``text`` is said before it, ``shows`` must be found in what is seen, ``ready`` so before it is typed."""

    text: str
    types: str
    shows: tuple[str, ...]
    title: str = ""
    ready: Callable[[Site], object] = lambda site: True
    ready_within_s: float = 20.0


def renamed(site: Site) -> bool:
    """The node is made again under a name that the colleague's change can read."""
    site.fleet.delete("payments-spare")
    site.fleet.node("payments-6", "payments", healthy=False)
    return True


SCENES = (
    Scene(
        title="What is wrong?",
        text="`health` has a line for each thing that may be. Three are not well, and say which command tells more. Repairs "
             "wait for the quota.",
        types="health",
        shows=(r"workers +NO +cluster/default/search has been in DebounceEnded for \d+ s", r"parents +NO +1 quarantined",
               r"0 of 1/1m free; [34] repairs wait", "failures +NO +6 deaths"),
        ready=lambda site: stuck_s(site) > 6.0 and site.gate("payments") == "quarantined",
    ),
    Scene(
        title="A wedged actor",
        text="The counts of `search` do not move. `why` names the gate that it is held at: its actor does not come back.",
        types="why search",
        shows=(r"CODE +wedged", "has not come back from a message", r"SINCE .* ago"),
    ),
    Scene(
        text="In which message, and since when? One of the two workers is lost to it; the others go on with the other one.",
        types="top --by busy --max 3",
        shows=(r"cluster/default/search +running .* DebounceEnded +\d",),
    ),
    Scene(
        text="Where in the code? In `ask_inventory`, which waits for an answer of the inventory service, without a timeout.",
        types="stacks default/search",
        shows=("ACTOR +cluster/default/search", "ask_inventory", r"connection\.recv"),
    ),
    Scene(
        title="A poisoned parent",
        text="`payments` is in quarantine: its actor has died six times in a row, and nobody else pays for it.",
        types="why payments",
        shows=("CODE +quarantined", "died 6 times, last of ValueError", "'spare'", r"UNTIL .* \(in "),
    ),
    Scene(
        text="The traceback names the line. It takes it that the name of each node ends in a number, and a new one does not.",
        types="failures",
        shows=("number_of", "payments", "ValueError: invalid literal"),
    ),
    Scene(
        text="The node is made again under another name (with kubectl). Its actor may try at once instead of in ten minutes; "
             "whoever changes something has to say why, for the log and an Event on the Cluster.",
        types="unquarantine payments --reason 'payments-spare is payments-6 now'",
        shows=("RUNNING +yes",),
        ready=renamed,
    ),
    Scene(
        text="It is counted and repaired again. What it waits for now is what the next ones wait for, too.",
        types="why payments",
        shows=("CODE +quota",),
        ready=lambda site: site.gate("payments") == "quota",
    ),
    Scene(
        title="An exhausted quota",
        text="Five nodes of `web` failed together. Two are being repaired, and three wait: for the quota, and until when.",
        types="why web",
        shows=("CODE +cooldown", r"[34] +quota +the quota of 1 call in 60 s is spent"),
    ),
    Scene(
        text="Who waits, and when does each leave? The quota is one call a minute, and a call takes two nodes.",
        types="queue",
        shows=("READY +[45]", r"1 +default/web +ComputeNode +web-\d .* \d+\.?\d* s", "payments-6"),
    ),
    Scene(
        text="Is the quota too small, or is the backend in trouble? It answers, and the breaker is closed: the quota it is.",
        types="quota",
        shows=("FREE +0", "SPENT +1", "NEXT FREE", "BREAKER +closed"),
    ),
    Scene(
        title="A watch that has gone silent",
        text="A colleague says that archive-2 is unhealthy (`kubectl get storagenodes`), and `archive` has no unhealthy node. "
             "By what the operator has heard all is well; but of StorageNodes it has heard nothing for a while.",
        types="why archive",
        shows=("CODE +converged", r"StorageNode was last heard \d+\.\d s ago"),
        ready=lambda site: site.answer("why", "archive")["news"][-1]["age_s"] > 18.0,
        ready_within_s=30.0,
    ),
    Scene(
        text="A quiet kind is heard of every twenty seconds at the latest. Once that is over, the stream is what is wrong: no "
             "error, no end, and no news.",
        types="why archive",
        shows=("CODE +stream-quiet", "nothing has come over the stream of StorageNode for "),
        ready=lambda site: site.gate("archive") == "stream-quiet",
        ready_within_s=40.0,
    ),
    Scene(
        text="Only StorageNodes are concerned: the other streams were heard a moment ago, so it is neither the API server as a "
             "whole nor the operator. (It is a proxy between them. When it lets go, the kind is heard again by itself.)",
        types="watch-status",
        shows=("KIND +Cluster +ComputeNode +StorageNode", r"HEARD +1?\d\.?\d* s +1?\d\.?\d* s +[23]\d\.?\d* s"),
    ),
    Scene(
        text="And `health` says it as well.",
        types="health",
        shows=(r"streams +NO +StorageNode (has been silent for|is down)",),
    ),
)  # fmt: skip


def stuck_s(site: Site) -> float:
    """For how long the actor of ``search`` has been in its message."""
    rows = site.answer("top", "--by", "busy", "--max", "1")["top"]
    return float(rows[0]["in_hand_s"] or 0.0) if rows and rows[0]["actor"] == "cluster/default/search" else 0.0


def record(site: Site) -> Iterator[tuple[Scene, str]]:
    """Play the scenes: what each command showed. AssertionError where it does not show what it is there for."""
    command = [sys.executable, ENTRY, "shell", "--socket", str(site.socket)]
    with Terminal(command, COLUMNS, {"XDG_STATE_HOME": str(site.socket.parent)}) as terminal:
        terminal.until(PROMPT)
        for scene in SCENES:
            until(partial(scene.ready, site), scene.ready_within_s, f"the moment of `{scene.types}`")
            terminal.type(f"{scene.types}\r")
            terminal.until(TAKEN)
            shown = "\n".join(lines_of(terminal.until(PROMPT))).strip()
            folded = " ".join(shown.split())
            missing = [pattern for pattern in scene.shows if not re.search(pattern, folded)]
            assert not missing, f"`{scene.types}` does not show {missing}, but\n{shown}"
            yield scene, shown
        terminal.type("exit\r")
        terminal.end()


def play() -> str:
    """The whole: the page."""
    with site() as running:
        running.plant()
        return page(record(running))


# --- the page -------------------------------------------------------------------------------------------------------------
HEAD = """# A session of the shell

<!-- Made by: python tests/e2e/shell_session.py docs/shell-session.md -->

Recorded from a real run by `tests/e2e/shell_session.py`, which plants four troubles in a running operator and finds them with
the shell alone; it fails where the shell does not name one. Nothing that is shown was written by hand. A test plays it again.

There are four Clusters of six nodes. The quota is one call a minute, and a call takes two nodes. The operator has a colleague's
change in it: each look at a Cluster asks an inventory service for its rack, without a timeout, and takes it that the name of
each node in trouble ends in a number. Then, all at once:

- the inventory service does not answer any more when it is asked about `search`;
- a node `payments-spare` is added to `payments`, and is unhealthy;
- five nodes of `web` fail;
- a proxy lets nothing through any more on the watch of StorageNodes, and does not end it either; a node of `archive` fails.

At three in the morning somebody opens a shell: `kubectl muster`, or `muster shell` where the operator runs. Commands, actors
and Clusters complete with Tab, a Cluster also by its name alone.
"""


def page(scenes: Iterable[tuple[Scene, str]]) -> str:
    """As Markdown."""
    parts = [HEAD]
    for scene, shown in scenes:
        title = f"\n## {scene.title}\n" if scene.title else ""
        parts.append(f"{title}\n{textwrap.fill(scene.text, 128)}\n\n```text\nmuster> {scene.types}\n{shown}\n```\n")
    return "".join(parts)


def blocks(text: str) -> list[str]:
    """What was typed and shown, command by command."""
    return re.findall(r"(?ms)^```text\n(.*?)^```$", text)


def skeleton(text: str) -> list[str]:
    """What is the same each time: the words around, the commands, and the names that stand in what they show."""
    around = re.sub(r"(?ms)^```text\n(.*?)^```$", "", text)
    return [
        around,
        *(" ".join([each.splitlines()[0], *sorted(set(re.findall(r"\b[A-Z]{3,}\b", each)))]) for each in blocks(text)),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["operator"]:
        operator()
    else:
        Path(sys.argv[1]).write_text(play(), encoding="utf-8")
