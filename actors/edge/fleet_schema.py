"""The JSON Schema of a fleet's file, for editors: made of the types that the loader reads by, so that the two say the same.

What no schema can say (that a path is not within another, that a CEL expression is one) only the loader says.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from . import fleet_types as types

__all__ = ["fleet_schema", "schema_text"]

_ID = "https://muster.dev/schemas/fleet.v1alpha1.json"


def fleet_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    schema = msgspec.json.schema(types.FleetFile)
    found: dict[str, Any] = schema["$defs"]
    for cls in types.Spec.__subclasses__():
        if cls.ONE_OF:
            found[cls.__name__]["oneOf"] = [{"required": [name]} for name in cls.ONE_OF]
    for each in found.values():
        del each["title"]
        if not each.get("required") and "oneOf" not in each:
            each["type"] = ["object", "null"]  # "owner:" with nothing after it says the same as "owner: {}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _ID, "title": "Muster fleet", **schema}


def schema_text() -> str:
    """As it is in docs."""
    return json.dumps(fleet_schema(), indent=1, ensure_ascii=False) + "\n"
