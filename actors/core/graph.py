"""Objects as JSON values and back: what a tape holds of messages, records and actors' state.

Not pickle: a tape comes from somebody else's machine, and unpickling runs what it is told to. Here nothing is called but
``cls.__new__`` of classes that are defined in a ``TRUSTED`` module, and state is set field by field. Shared and cyclic
references survive. Text is masked on the way out (``masking``).

A value that JSON has is itself; everything else is a list whose first element says what it is:

======================== ===============================================================
``["=", n]``             the n-th mutable object or struct of this graph, again
``["f", text]``          a float that JSON has not (inf, nan)
``["b", text]``          bytes, in base64
``["l", […]]``           a list; ``t`` a tuple, ``s`` a set, ``z`` a frozenset
``["d", {…}, class]``    a dict with text keys; ``D`` one with any keys, as pairs
``["q", […], max]``      a deque
``["e", class, name]``   a member of an enum
``["n", class, […]]``    a named tuple; ``m`` a msgspec struct
``["o", class, {…}]``    any other object, by its fields
``["x", class, […], {…}]`` an exception: its arguments and its fields
======================== ===============================================================

``special`` hooks of ``Encoder`` and ``Decoder`` add kinds of their own (refs to actors, functions, ports).
"""

from __future__ import annotations

import builtins
import enum
import math
import sys
from base64 import b64decode, b64encode
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from .errors import MusterError
from .masking import MASK, SECRET_FIELD, masked_text

Json = Any
TRUSTED = (
    "actors.core.",
    "actors.actor",
    "actors.cluster",
    "actors.directory",
    "actors.gateway",
    "actors.mailbox",
    "actors.messages",
    "actors.status",
    "actors.supervision",
    "actors.tree",
    "actors.watcher",
    "pykka._envelope",
    "ratelimit.decorators",
    "ratelimit.exception",
)  # nothing in them opens, runs or sends anything
_PLAIN = (type(None), bool, int)
_BARE = (list, dict, set, frozenset, deque)  # of no interest to hooks
_DICTS: dict[str, type[dict[Any, Any]]] = {"": dict, "OrderedDict": OrderedDict, "Counter": Counter}


class Unplain(MusterError):
    """A value has no form here; the text says which, by its fields from the outside in."""


class Misshapen(MusterError):
    """What was read is not the form of any value, or names something that it must not."""


class Plain(Protocol):
    """An object whose state on a tape is not its fields: what it keeps packed must be masked like everything else."""

    def plain(self) -> dict[str, Any]:
        """Its state."""

    def of_plain(self, values: dict[str, Any]) -> None:
        """Take that state on, of a new object."""


def trusted(module: str) -> bool:
    """Whether a tape may name things of that module."""
    return any(module.startswith(each) if each.endswith(".") else module == each for each in TRUSTED)


@cache
def name_of(cls: type) -> str:
    """``module:Class``; Unplain where that may not be named."""
    if not trusted(cls.__module__):
        raise Unplain(f"a {cls.__module__}.{cls.__qualname__}")
    return f"{cls.__module__}:{cls.__qualname__}"


def class_of(name: str) -> type:
    """The class of that name. Misshapen where there is none, or where a tape may not name it."""
    module, _, path = name.partition(":")
    if not trusted(module):
        raise Misshapen(f"{name}: a tape may not name that")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or found.__module__ != module or found.__qualname__ != path:
        raise Misshapen(f"{name}: there is no such class in this version")
    return found


def fields_of(value: object) -> dict[str, Any]:
    """All state of an object: its slots (base classes' first) and its ``__dict__``; or as it says itself (``plain``)."""
    kind: Any = type(value)
    if hasattr(kind, "of_plain"):
        return cast("Plain", value).plain()
    fields = {name: getattr(value, name) for name in _slots_of(kind) if hasattr(value, name)}
    return fields | getattr(value, "__dict__", {})


@cache
def _slots_of(kind: type[Any]) -> tuple[str, ...]:
    names: list[str] = []
    for cls in reversed(kind.__mro__):
        slots: str | Iterable[str] = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            private = slot.startswith("__") and not slot.endswith("__")
            names.append(f"_{cls.__name__.lstrip('_')}{slot}" if private else slot)
    return tuple(name for name in names if name not in ("__weakref__", "__dict__"))


class Encoder:
    """Encodes one graph. ``special(value)`` may give the form of a value itself; None leaves it to the encoder.

    Keeps what it has seen alive, so that no two objects of a graph have the same ``id``.
    """

    def __init__(self, special: Callable[[Any], Json] = lambda value: None) -> None:
        self._special = special
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []

    def encode(self, value: Any) -> Json:
        """The form of ``value``. Unplain where it has none."""
        kind = type(value)
        if kind is str:
            return masked_text(value)
        if kind in _PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else ["f", repr(value)]
        if kind is bytes:
            return ["b", b64encode(value).decode("ascii")]
        if kind is tuple:
            return ["t", [self.encode(each) for each in value]]
        if issubclass(kind, tuple):
            return ["n", name_of(kind), [self.encode(each) for each in value]]
        number = self._seen.get(id(value))
        if number is not None:
            return ["=", number]
        if issubclass(kind, msgspec.Struct):  # immutable: known once it is complete
            fields = [self.encode(getattr(value, name)) for name in value.__struct_fields__]
            self._keep(value)
            return ["m", name_of(kind), fields]
        form = self._special(value) if kind not in _BARE else None
        return form if form is not None else self._object(value, kind)

    def _object(self, value: Any, kind: type) -> Json:
        if isinstance(value, enum.Enum):
            return ["e", name_of(kind), value.name]
        self._keep(value)
        if isinstance(value, dict):
            return self._dict(value, kind)
        if kind is list:
            return ["l", [self.encode(each) for each in value]]
        if kind in (set, frozenset):
            return ["s" if kind is set else "z", [self.encode(each) for each in sorted(value, key=repr)]]
        if kind is deque:
            return ["q", [self.encode(each) for each in value], value.maxlen]
        if isinstance(value, BaseException):
            return self._error(value, kind)
        return ["o", name_of(kind), self._fields(fields_of(value), kind)]

    def _keep(self, value: Any) -> None:
        self._seen[id(value)] = len(self._kept)
        self._kept.append(value)

    def _dict(self, value: dict[Any, Any], kind: type) -> Json:
        name = "" if kind is dict else kind.__name__
        if _DICTS.get(name) is not kind:
            raise Unplain(f"a {kind.__module__}.{kind.__qualname__}")
        if all(type(key) is str for key in value):
            return ["d", {k: MASK if SECRET_FIELD.search(k) else self.encode(v) for k, v in value.items()}, name]
        return ["D", [[self.encode(k), self.encode(v)] for k, v in value.items()], name]

    def _fields(self, fields: dict[str, Any], kind: type) -> dict[str, Json]:
        forms: dict[str, Json] = {}
        for name, value in fields.items():
            try:
                forms[name] = self.encode(value)
            except Unplain as error:
                raise Unplain(f"{kind.__name__}.{name}: {error}") from error
        return forms

    def _error(self, error: BaseException, kind: type) -> Json:
        known = trusted(kind.__module__) or kind.__module__ == "builtins"
        name = f"{kind.__module__}:{kind.__qualname__}" if known else kind.__name__
        fields = {key: value for key, value in vars(error).items() if not key.startswith("__")}
        try:
            return ["x", name, [self.encode(each) for each in error.args], self._fields(fields, kind)]
        except Unplain:
            return ["x", name, [masked_text(str(error))], {}]


class Decoder:
    """Decodes one graph. ``special(form)`` gives the value of a form that is not in the table; it may call ``decode``."""

    def __init__(self, special: Callable[[list[Any]], Any] | None = None) -> None:
        self._special = special
        self._known: list[Any] = []

    def decode(self, form: Json) -> Any:
        """The value of that form. Misshapen where it has none."""
        if type(form) is not list:
            return form
        try:
            return self._value(form)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Misshapen(f"{str(form)[:80]}: {error!r}") from error

    def _value(self, form: list[Any]) -> Any:
        kind = form[0]
        if kind == "=":
            return self._known[form[1]]
        if kind == "m":
            cls = class_of(form[1])
            assert issubclass(cls, msgspec.Struct)
            struct = cls(*[self.decode(each) for each in form[2]])
            self._known.append(struct)
            return struct
        if kind in ("t", "n"):
            return self._tuple(form)
        if kind == "f":
            return float(form[1])
        if kind == "b":
            return b64decode(form[1], validate=True)
        if kind == "e":
            members: Any = class_of(form[1])  # an enum's; TypeError where it is none
            return members[form[2]]
        if kind in ("l", "q", "s", "z"):
            return self._many(form)
        if kind in ("d", "D"):
            return self._dict(form)
        if kind == "x":
            return self._error(form)
        if kind == "o":
            return self._object(form)
        if self._special is None:
            raise Misshapen(f"{str(form)[:80]}: of no kind that is known here")
        return self._special(form)

    def _tuple(self, form: list[Any]) -> Any:
        if form[0] == "t":
            return tuple([self.decode(each) for each in form[1]])
        cls = class_of(form[1])
        assert issubclass(cls, tuple)
        return cls(*[self.decode(each) for each in form[2]])

    def _many(self, form: list[Any]) -> Any:
        kind, place = form[0], len(self._known)
        empty: Any = deque(maxlen=form[2]) if kind == "q" else set() if kind == "s" else []
        self._known.append(empty)
        values = [self.decode(each) for each in form[1]]
        if kind == "z":
            self._known[place] = frozenset(values)
            return self._known[place]
        (empty.update if kind == "s" else empty.extend)(values)
        return empty

    def _dict(self, form: list[Any]) -> Any:
        value = _DICTS[form[2]]()
        self._known.append(value)
        for key, each in form[1].items() if form[0] == "d" else form[1]:
            made = key if form[0] == "d" else self.decode(key)
            value[made] = self.decode(each)
        return value

    def _object(self, form: list[Any]) -> Any:
        cls: Any = class_of(form[1])
        value = cls.__new__(cls)
        self._known.append(value)
        fill(value, {name: self.decode(each) for name, each in form[2].items()})
        return value

    def _error(self, form: list[Any]) -> BaseException:
        module, _, name = form[1].rpartition(":")
        cls: Any = getattr(builtins, name, None) if module == "builtins" else class_of(form[1]) if module else None
        if module and not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise Misshapen(f"{form[1]} is no exception")
        cls = cls or type(name, (Exception,), {})  # somebody else's: its name and text are all that anybody looks at
        error: BaseException = cls.__new__(cls)
        self._known.append(error)
        error.args = tuple([self.decode(each) for each in form[2]])
        fill(error, {key: self.decode(each) for key, each in form[3].items()})
        return error


def fill(value: object, fields: dict[str, Any]) -> None:
    """Set each field, of frozen objects too; what ``fields_of`` has given."""
    if hasattr(type(value), "of_plain"):
        cast("Plain", value).of_plain(fields)
        return
    for name, each in fields.items():
        object.__setattr__(value, sys.intern(name), each)


def graph_of(value: Any) -> Json:
    """The form of a value that needs no hooks."""
    return Encoder().encode(value)


def value_of(form: Json) -> Any:
    """The value of a form that needs no hooks."""
    return Decoder().decode(form)
