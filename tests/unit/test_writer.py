"""Events on children: in their namespace, and about them."""

from __future__ import annotations

from typing import Any

from actors.core.builtin import MUSTER_FLEET
from actors.core.model import EventNote, ParentKey, Regarding
from actors.edge.writer import KubeStatusWriter
from actors.sim.world import World


class Client:
    """Keeps what it is asked."""

    server = "https://example.com"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def request(self, method: str, path: str, *, body: dict[str, Any], **_: Any) -> None:
        self.asked.append((method, path, body))


def test_an_event_on_a_child_is_in_its_namespace_and_regards_it() -> None:
    asking: Any = Client()
    writer = KubeStatusWriter(asking, MUSTER_FLEET, World(1).clock)
    about = Regarding("StorageNode", "away", "n1", "uid-n1")
    for _ in range(2):
        note = EventNote(type="Warning", reason="R", note="same", regarding=about)
        writer.record_event(ParentKey("ns", "c1"), "uid", note)

    (method, path, body), (counted, _, _) = asking.asked
    assert (method, path) == ("POST", "/apis/events.k8s.io/v1/namespaces/away/events")
    assert body["metadata"]["name"].startswith("n1.")
    assert body["regarding"] == {
        "apiVersion": "muster.dev/v1alpha1", "kind": "StorageNode", "name": "n1", "namespace": "away", "uid": "uid-n1",
    }  # fmt: skip
    assert counted == "PATCH"
