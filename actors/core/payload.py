"""What a backend is told of a child: a template of the fleet's definition, made into a function once for each kind.

A template is JSON in which texts may have words in braces: ``"{name}"``, ``"i-{fields.slot}"``; ``{{`` and ``}}`` are braces. A
text that is one word and nothing else becomes the value itself, so that a number stays a number. An item's ``key`` and ``uid``
are always there: by them the backend's answers are told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .fleet import PAYLOAD, Field, FleetDefinition
from .model import Child, ParentKey

__all__ = ["WORDS", "Render", "compiled", "payloads", "words_in"]

Render = Callable[[Child, ParentKey, str], dict[str, Any]]
"""Of a child, its parent and the item's key: what the backend is told."""
_Value = Callable[[Child, ParentKey], Any]
WORDS: dict[str, _Value] = {
    "name": lambda child, _parent: child.name,
    "namespace": lambda child, _parent: child.namespace,
    "kind": lambda child, _parent: child.kind,
    "uid": lambda child, _parent: child.uid,
    "parent": lambda _child, parent: parent.name,
    "parentNamespace": lambda _child, parent: parent.namespace,
    "incident": lambda child, _parent: child.incident,
}
"""All words but ``fields.NAME``."""
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FLEETS_MAX = 64
_fleets: dict[int, tuple[FleetDefinition, Mapping[str, Render] | None]] = {}


def words_in(template: object) -> list[str]:
    """Every word in braces, in order; a brace that is alone comes as itself."""
    if isinstance(template, str):
        found = [match for match in _PART.finditer(template) if match[0] not in ("{{", "}}")]
        return [match[0] if match[1] is None else match[1] for match in found]
    below = (
        template.values() if isinstance(template, Mapping) else template if isinstance(template, list | tuple) else ()
    )
    return [word for each in below for word in words_in(each)]


def compiled(template: Mapping[str, Any], fields: tuple[Field, ...]) -> Render:
    """The template as a function. ``ValueError`` for a word that is none."""
    parts = [(name, _value(each, fields)) for name, each in template.items()]

    def render(child: Child, parent: ParentKey, key: str) -> dict[str, Any]:
        return {"key": key, **{name: value(child, parent) for name, value in parts}, "uid": child.uid}

    return render


def payloads(fleet: FleetDefinition) -> Mapping[str, Render] | None:
    """By child kind, made once for each fleet; None where items are to be as ``Repairs`` makes them."""
    known = _fleets.get(id(fleet))
    if known is None or known[0] is not fleet:  # kept with its fleet, so that no other can have its number
        if len(_fleets) >= _FLEETS_MAX:
            _fleets.clear()
        renders = {child.ref.kind: compiled(fleet.payload, child.fields) for child in fleet.children}
        known = _fleets[id(fleet)] = fleet, None if fleet.payload == PAYLOAD else renders
    return known[1]


def _value(template: Any, fields: tuple[Field, ...]) -> _Value:
    if isinstance(template, Mapping):
        named = [(name, _value(each, fields)) for name, each in template.items()]
        return lambda child, parent: {name: value(child, parent) for name, value in named}
    if isinstance(template, list | tuple):
        many = [_value(each, fields) for each in template]
        return lambda child, parent: [value(child, parent) for value in many]
    return _text(template, fields) if isinstance(template, str) else lambda _child, _parent: template


def _text(template: str, fields: tuple[Field, ...]) -> _Value:
    whole = _PART.fullmatch(template)
    if whole is not None and whole[1] is not None:
        return _word(whole[1], fields)
    pieces: list[str | _Value] = []
    at = 0
    for match in _PART.finditer(template):
        pieces.append(template[at : match.start()])
        at = match.end()
        pieces.append(
            match[0][0] if match[0] in ("{{", "}}") else _word(match[0] if match[1] is None else match[1], fields)
        )
    pieces.append(template[at:])
    return lambda child, parent: "".join(
        piece if isinstance(piece, str) else _shown(piece(child, parent)) for piece in pieces
    )


def _word(word: str, fields: tuple[Field, ...]) -> _Value:
    if word in WORDS:
        return WORDS[word]
    for quiet in (False, True):
        names = [each.name for each in fields if each.quiet == quiet]
        if word.startswith("fields.") and word[7:] in names:
            place = names.index(word[7:])
            return _kept_at(place, quiet=quiet)
    raise ValueError(
        f"found {{{word}}}, expected one of {', '.join([*WORDS, *(f'fields.{each.name}' for each in fields)])}"
    )


def _kept_at(place: int, *, quiet: bool) -> _Value:
    def value(child: Child, _parent: ParentKey) -> Any:
        texts = child.quiet if quiet else child.fields
        return msgspec.json.decode(texts)[place] if texts else None

    return value


def _shown(value: Any) -> str:
    """Within a text: as it is, or as JSON."""
    return value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
