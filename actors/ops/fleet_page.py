"""The tables of docs/fleets.md, made of the types of the file: printed by ``muster fleet --format markdown``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect as types

from ..edge import fleet_types as file_types
from ..edge.fleet_types import SETTINGS

__all__ = ["tables"]

_TITLES = {
    "FleetFile": "The file",
    "Parent": "parent",
    "Child": "children[]",
    "Selector": "selector",
    "Mapping": "children[].parent[]",
    "Owner": "children[].parent[].owner",
    "Health": "children[].health",
    "Turned": "children[].health.turned",
    "Heartbeat": "children[].heartbeat",
    "LeaseOf": "children[].heartbeat.lease",
    "Kept": "children[].fields.NAME",
    "Repair": "repair",
}
_SETTINGS = """
### `settings`

The words are those of [settings.md](settings.md), which tells what each means.

| field | default |
|---|---|
"""


def tables() -> str:
    """All of them."""
    parts = []
    for name, title in _TITLES.items():
        cls = getattr(file_types, name)
        found = types.type_info(cls)
        assert isinstance(found, types.StructType)
        parts.append(
            f"\n### {title if title == 'The file' else f'`{title}`'}\n\n{' '.join((cls.__doc__ or '').split())}\n"
        )
        parts.append("\n| field | | what it is |\n|---|---|---|\n")
        parts += [_row(each) for each in found.fields]
    parts.append(_SETTINGS)
    parts += [f"| `{key}` | {f'`{each.default}`' if each.default else 'unset'} |\n" for key, each in SETTINGS.items()]
    return "".join(parts)


def _row(field: types.Field) -> str:
    metas = []
    kind: types.Type = field.type
    while isinstance(kind, types.Metadata):
        metas.append(kind)
        kind = kind.type
    told = next((each.extra_json_schema["description"] for each in metas if each.extra_json_schema), "")
    doc = kind.cls.__doc__ or "" if isinstance(kind, types.StructType) else ""
    text = " ".join((told or doc).split()).replace("|", "\\|")
    return f"| `{field.encode_name}` | {'required' if field.required else ''} | {text or _default(field)} |\n"


def _default(field: types.Field) -> Any:
    """Of a field that has one value."""
    found = field.type
    return (
        f"`{found.values[0]}`." if isinstance(found, types.LiteralType) else msgspec.json.encode(field.default).decode()
    )
