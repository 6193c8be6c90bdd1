"""Functions by their place in the source: what a checkpoint holds of callbacks.

An actor's state holds functions made inside functions (a timer's callback, the answer of a call, a factory). Such a one is
its code, which is found again by the path of names that leads to it (``Context.schedule.<locals>.<lambda>`` in
``actors.actor``), and the values it has closed over. Only code of the actors' own modules is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from .graph import Json, Misshapen, Unplain, trusted

_LOCALS = "<locals>"
_NO_CODE = "actors.core."  # pure functions, which nobody keeps; and what reads tapes is among them
_OF_DICT = ("__setitem__", "__getitem__", "pop", "get")


def form_of(value: Any, encode: Callable[[Any], Json]) -> Json:
    """The form of a function or method; None where ``value`` is none. Unplain where its code may not be named."""
    if isinstance(value, MethodType):
        return ["method", encode(value.__self__), value.__name__]
    if isinstance(value, FunctionType):
        module = value.__globals__["__name__"]  # functools.wraps lends a function the name of another
        place = f"{module}:{value.__code__.co_qualname}"
        if not _has_code(module):
            raise Unplain(f"the function {place}")
        codes = list(_codes(module, value.__code__.co_qualname))
        if value.__code__ not in codes:
            raise Unplain(f"the function {place}, which is not found at its place")
        number = codes.index(value.__code__)
        closed = [encode(cell.cell_contents) for cell in value.__closure__ or ()]
        defaults = [encode(each) for each in value.__defaults__ or ()]
        by_name = {name: encode(each) for name, each in (value.__kwdefaults__ or {}).items()}
        return ["function", place, number, closed, defaults, by_name]
    owner = getattr(value, "__self__", None)
    if type(owner) is dict and value.__name__ in _OF_DICT:
        return ["method", encode(owner), value.__name__]
    return None


def value_of_form(form: list[Any], decode: Callable[[Json], Any]) -> Any:
    """The function or method of that form. Misshapen where this version has no such code."""
    if form[0] == "method":
        owner, name = decode(form[1]), str(form[2])
        method = getattr(owner, name, None)
        if not (isinstance(method, MethodType) or (type(owner) is dict and name in _OF_DICT)):
            raise Misshapen(f"a {type(owner).__name__} has no method {name}")
        return method
    _, place, number, closed, defaults, by_name = form
    module, _, path = place.partition(":")
    codes = list(_codes(module, path)) if _has_code(module) else []
    if number >= len(codes) or len(codes[number].co_freevars) != len(closed):
        raise Misshapen(f"{place}: there is no such function in this version, or it needs other values")
    cells = tuple(CellType(decode(each)) for each in closed)
    names = vars(import_module(module))
    made = FunctionType(codes[number], names, None, tuple(decode(each) for each in defaults) or None, cells)
    made.__module__ = module  # some of ours are asked where they come from
    made.__kwdefaults__ = {name: decode(each) for name, each in by_name.items()}
    return made


def _has_code(module: str) -> bool:
    return trusted(module) and not module.startswith(_NO_CODE)


def _codes(module: str, path: str) -> Iterator[CodeType]:
    """All code of that path, in the order of the source: several lambdas of one function share theirs."""
    outer, _, rest = path.partition(f".{_LOCALS}.")
    owner: Any = import_module(module)
    *classes, last = outer.split(".")
    for name in classes:
        owner = getattr(owner, name, None)
    found = vars(owner).get(last) if owner is not None else None
    found = getattr(found, "__func__", found)  # of a classmethod or a staticmethod
    if isinstance(found, FunctionType):
        if not rest:
            yield found.__code__
        else:
            yield from (each for each in _inside(found.__code__) if each.co_qualname == path)
    elif not rest and isinstance(owner, type):  # the default of a parameter, made in the body of the class
        for each in vars(owner).values():
            if isinstance(each, FunctionType):
                values = (*(each.__defaults__ or ()), *(each.__kwdefaults__ or {}).values())
                yield from (v.__code__ for v in values if isinstance(v, FunctionType) and v.__qualname__ == path)


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)
