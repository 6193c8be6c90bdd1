"""The fleet that is served, as arrays, and its bytes.

An object costs its server a format of one template, because all that differs between two children are ten numbers: a
template for the well and one for the ill, with the chunk's length in it, so that a block of a thousand events is one ``join``
and one ``sendall``. Keys are in the order in which an API server sends those of custom resources: sorted.
"""

from __future__ import annotations

import json
import random
import time
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

GROUP, VERSION = "muster.dev", "v1alpha1"
NAMESPACE = "default"
FIRST_VERSION = 1_000_000_000
"""Versions have ten digits from the first to the last, so that every event of a kind has the same length."""
BLOCK_EVENTS = 1000
"""Events rendered and sent as one piece: 2.4 MB, some hundred times what a socket takes at once."""

_AGENT_FIELDS: dict[str, Any] = {
    "f:status": {
        ".": {},
        "f:conditions": {
            ".": {},
            **{
                f'k:{{"type":"{kind}"}}': {
                    ".": {}, "f:lastTransitionTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {},
                }
                for kind in ("DiskPressure", "Healthy", "MemoryPressure")
            },
        },
        "f:healthy": {},
        "f:lastHeartbeatTime": {},
    }
}  # fmt: skip
_PROVISIONER_FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {".": {}, "f:muster.dev/cluster": {}}, "f:ownerReferences": {".": {}}},
    "f:spec": {".": {}, "f:clusterRef": {".": {}, "f:name": {}}},
}


def _node(*, healthy: bool) -> dict[str, Any]:
    """A node with a mark (``@x@``) where two nodes differ."""
    conditions = [
        {"type": "DiskPressure", "status": "False", "reason": "EnoughDisk", "message": "the disk has room",
         "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Healthy", "status": str(healthy), "reason": "Reported", "message": "reported by the node's agent",
         "lastTransitionTime": "@turned@"},
        {"type": "MemoryPressure", "status": "False", "reason": "EnoughMemory", "message": "the memory has room",
         "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]  # fmt: skip
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ComputeNode",
        "metadata": {
            "annotations": {"example.com/rack": "row-12/rack-07/unit-31", "example.com/notes": "n" * 320},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
            "labels": {"muster.dev/cluster": "@parent@", "topology.kubernetes.io/zone": "zone-a"},
            "managedFields": [
                {"apiVersion": f"{GROUP}/{VERSION}", "fieldsType": "FieldsV1", "fieldsV1": _PROVISIONER_FIELDS,
                 "manager": "provisioner", "operation": "Update", "time": "2026-01-01T00:00:00Z"},
                {"apiVersion": f"{GROUP}/{VERSION}", "fieldsType": "FieldsV1", "fieldsV1": _AGENT_FIELDS,
                 "manager": "agent", "operation": "Update", "subresource": "status", "time": "@beat@"},
            ],
            "name": "@name@",
            "namespace": NAMESPACE,
            "ownerReferences": [
                {"apiVersion": f"{GROUP}/{VERSION}", "blockOwnerDeletion": True, "controller": True, "kind": "Cluster",
                 "name": "@parent@", "uid": "@parentuid@"}
            ],
            "resourceVersion": "@version@",
            "uid": "@uid@",
        },
        "spec": {"clusterRef": {"name": "@parent@"}},
        "status": {"conditions": conditions, "healthy": healthy, "lastHeartbeatTime": "@beat@"},
    }  # fmt: skip


_MARKS = {
    "@turned@": b"%(turned)b", "@beat@": b"%(beat)b", "@parent@": b"c%(parent)05d", "@name@": b"node-%(number)07d",
    "@parentuid@": b"00000000-0000-4000-9000-%(parent)012d", "@uid@": b"00000000-0000-4000-8000-%(number)012d",
    "@version@": b"%(version)d",
}  # fmt: skip
_WIDTHS = {"@turned@": 20, "@beat@": 20, "@parent@": 6, "@name@": 12, "@parentuid@": 36, "@uid@": 36, "@version@": 10}


def _template(healthy: bool) -> tuple[bytes, int]:
    """An object as a format of ``dict``, and its length in bytes once filled."""
    text = json.dumps(_node(healthy=healthy), separators=(",", ":"), sort_keys=True)
    assert "%" not in text
    length, raw = len(text), text.encode()
    for mark, hole in _MARKS.items():
        length += text.count(mark) * (_WIDTHS[mark] - len(mark))
        raw = raw.replace(mark.encode(), hole)
    return raw, length


def _positional(template: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The same format of a tuple, which is filled in half the time, and the order of its fields."""
    names, rest = [], template
    out = b""
    while b"%(" in rest:
        before, _, rest = rest.partition(b"%(")
        name, _, rest = rest.partition(b")")
        names.append(name.decode())
        out += before + b"%"
    return out + rest, tuple(names)


def _event_template(healthy: bool, kind: str) -> tuple[bytes, tuple[str, ...]]:
    raw, length = _template(healthy)
    head, tail = b'{"type":"%b","object":' % kind.encode(), b"}\n"
    return _positional(b"%x\r\n%b%b%b\r\n" % (len(head) + length + len(tail), head, raw, tail))


_ITEM = [_positional(_template(healthy)[0]) for healthy in (False, True)]
_EVENT = {kind: [_event_template(healthy, kind) for healthy in (False, True)] for kind in ("ADDED", "MODIFIED")}
_FIELDS = ("parent", "beat", "number", "parent", "parent", "version", "number", "parent", "turned", "beat")
assert all(fields == _FIELDS for _, fields in [*_ITEM, *_EVENT["ADDED"], *_EVENT["MODIFIED"]])  # as _values fills them


def stamp(wall_s: float) -> bytes:
    """RFC 3339, whole seconds, as ``metav1.Time`` writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_s)).encode()


class Nodes:
    """The children of all parents: ``sizes[p]`` of parent ``p``, numbered through. Not thread-safe.

    Heartbeats come in an order that is shuffled once: a real fleet does not report parent by parent.
    """

    def __init__(self, sizes: list[int], started_s: float) -> None:
        self.first: list[int] = []
        self.parent = array("L")
        for number, size in enumerate(sizes):
            self.first.append(len(self.parent))
            self.parent.extend([number] * size)
        self.sizes = sizes
        count = len(self.parent)
        self.version = array("Q", range(FIRST_VERSION, FIRST_VERSION + count))
        self.well = bytearray(b"\1" * count)
        self._beat_s = array("L", [int(started_s)]) * count
        self._turned_s = array("L", [int(started_s)]) * count
        self.ill = array("L", [0]) * len(sizes)
        self._order = array("L", range(count))
        random.Random(1).shuffle(self._order)
        self._place = 0
        self._stamps: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.parent)

    def in_turn(self, count: int) -> Iterator[int]:
        """The next ``count`` children to report, round and round."""
        for _ in range(count):
            yield self._order[self._place]
            self._place = (self._place + 1) % len(self._order)

    def report(self, number: int, version: int, well: bool, now_s: int) -> None:
        """One report: a later heartbeat than any before, and the turn's instant where the health turns."""
        self.version[number] = version
        self._beat_s[number] = max(now_s, self._beat_s[number] + 1)
        if self.well[number] != well:
            self.well[number] = well
            self._turned_s[number] = max(now_s, self._turned_s[number] + 1)
            self.ill[self.parent[number]] += -1 if well else 1

    def items(self, numbers: Iterable[int]) -> bytes:
        """The objects, as the items of a list."""
        return b",".join([_ITEM[self.well[n]][0] % self._values(n) for n in numbers])

    def events(self, kind: str, numbers: Iterable[int]) -> bytes:
        """An event each, a chunk each."""
        templates = _EVENT[kind]
        return b"".join([templates[self.well[n]][0] % self._values(n) for n in numbers])

    def event(self, number: int) -> bytes:
        """One MODIFIED event as a chunk."""
        return _EVENT["MODIFIED"][self.well[number]][0] % self._values(number)

    def _values(self, number: int) -> tuple[Any, ...]:
        parent, version = self.parent[number], self.version[number]
        turned, beat = self._stamp(self._turned_s[number]), self._stamp(self._beat_s[number])
        return parent, beat, number, parent, parent, version, number, parent, turned, beat

    def _stamp(self, second: int) -> bytes:
        found = self._stamps.get(second)
        if found is None:
            found = self._stamps[second] = stamp(second)
        return found
