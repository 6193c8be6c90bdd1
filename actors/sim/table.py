"""Tables: what `kubectl get` prints is computed by the server.

kubectl asks for `as=Table` and prints the cells that it gets, so the columns of a CRD are evaluated here: a subset of
JSONPath (names, quoted names, indices, `[*]`, and filters `[?(@.type=="Ready")]`) compiled once per column. Dates
become ages ("5m") on the server, as the real one does, hence `now_s`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from .kinds import Resource

__all__ = ["age", "column_definitions", "json_path", "table"]

Obj = dict[str, Any]
Step = Callable[[Any], Iterable[Any]]

_STEP = re.compile(
    r"""\.?\[\?\(\s*@\.(?P<field>[\w.-]+)\s*(?P<op>==|!=)\s*(?P<quote>['"])(?P<value>.*?)(?P=quote)\s*\)\]
      | \.?\[(?P<index>-?\d+)\]
      | \.?\[(?P<star>\*)\]
      | \.?\[(?P<q>['"])(?P<quoted>.*?)(?P=q)\]
      | \.(?P<name>(?:[^.\[\\]|\\.)+)""",
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def json_path(path: str) -> Callable[[Any], list[Any]]:
    """Compile a JSONPath to a function that gives all matches. Raises ValueError for what the subset lacks."""
    steps: list[Step] = []
    at = 0
    text = path if path.startswith((".", "[")) else "." + path
    while at < len(text) and text != ".":
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(f"JSONPath not understood at {at}: {path}")
        at = found.end()
        steps.append(_step(found))

    def evaluate(obj: Any) -> list[Any]:
        values = [obj]
        for step in steps:
            values = [inner for value in values for inner in step(value)]
        return values

    return evaluate


def _step(found: re.Match[str]) -> Step:
    if found["field"] is not None:
        inner, wanted, equal = json_path(found["field"]), found["value"], found["op"] == "=="
        return lambda value: (
            [one for one in value if ([str(got) for got in inner(one)] == [wanted]) is equal]
            if isinstance(value, list)
            else []
        )
    if found["index"] is not None:
        at = int(found["index"])
        return lambda value: [value[at]] if isinstance(value, list) and -len(value) <= at < len(value) else []
    if found["star"] is not None:
        return lambda value: (
            value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        )
    name = found["quoted"] if found["quoted"] is not None else re.sub(r"\\(.)", r"\1", found["name"])
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def age(seconds: float) -> str:
    """A duration as kubectl writes it: `12s`, `5m3s`, `17m`, `3h5m`, `26h`, `3d4h`, `20d`."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    if total < 120:
        return f"{total}s"
    minutes = total // 60
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y{days % 365}d"


def _since(stamp: Any, now_s: float) -> str:
    if not isinstance(stamp, str) or not stamp:
        return "<unknown>"
    try:
        return age(now_s - datetime.fromisoformat(stamp).timestamp())
    except ValueError:
        return "<invalid>"


def _event_cells(obj: Obj, now_s: float) -> list[Any]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    source = (
        (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or obj.get("reportingController")
    )
    return [
        _since(last, now_s),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        source or "",
        str(obj.get("message") or obj.get("note") or "").strip(),
        _since(first, now_s),
        count,
        obj["metadata"]["name"],
    ]


_EVENT_COLUMNS = [
    ("Last Seen", "string", 0),
    ("Type", "string", 0),
    ("Reason", "string", 0),
    ("Object", "string", 0),
    ("Subobject", "string", 1),
    ("Source", "string", 1),
    ("Message", "string", 0),
    ("First Seen", "string", 1),
    ("Count", "string", 1),
    ("Name", "string", 1),
]
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _columns(resource: Resource) -> tuple[Obj, ...]:
    if resource.custom:
        return resource.columns or (_AGE,)
    return (*resource.columns, _AGE) if resource.kind == "Namespace" else resource.columns


def column_definitions(resource: Resource) -> list[Obj]:
    """The `columnDefinitions` of the resource's tables."""
    if resource.store == "events":
        return [
            {"name": name, "type": kind, "format": "", "description": "", "priority": wide}
            for name, kind, wide in _EVENT_COLUMNS
        ]
    first = {"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0}
    return [first] + [
        {
            "name": column["name"],
            "type": column["type"],
            "format": column.get("format", ""),
            "description": column.get("description", ""),
            "priority": column.get("priority", 0),
        }
        for column in _columns(resource)
    ]


def _cell(value: list[Any], kind: str, now_s: float) -> Any:
    if not value:
        return "<unknown>" if kind == "date" else None if kind in ("integer", "number", "boolean") else ""
    if kind == "date":
        return _since(value[0], now_s)
    first = value[0] if len(value) == 1 else ",".join(str(one) for one in value)
    if kind == "string" and isinstance(first, (dict, list)):
        return json.dumps(first)
    if kind == "string" and isinstance(first, bool):
        return "true" if first else "false"
    return str(first) if kind == "string" and first is not None else first


def table(
    resource: Resource,
    objects: list[Obj],
    *,
    now_s: float,
    metadata: Obj,
    include: str = "Metadata",
    with_columns: bool = True,
) -> Obj:
    """A `meta.k8s.io/v1` Table of `objects`. `include`: None, Metadata or Object, what each row carries along."""
    events = resource.store == "events"
    columns = () if events else tuple((json_path(one["jsonPath"]), one["type"]) for one in _columns(resource))
    rows: list[Obj] = []
    for obj in objects:
        if events:
            cells = _event_cells(obj, now_s)
        else:
            cells = [obj["metadata"]["name"], *(_cell(path(obj), kind, now_s) for path, kind in columns)]
        row: Obj = {"cells": cells}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": column_definitions(resource) if with_columns else [],
        "rows": rows,
    }
