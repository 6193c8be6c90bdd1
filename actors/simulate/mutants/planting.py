"""How a bug is planted: a named thing of the product is replaced by a faulty one, for a while.

A mutant names what it replaces (``actors.core.quota:Ledger.release``) and makes the replacement from the original, mostly by
calling it with something changed. So it says in a few lines what is wrong, and does not rot quietly: when the target is not
there any more, or has another signature, ``plant`` refuses. A function that a module has imported by name is replaced
where it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from attrs import frozen

__all__ = ["INVARIANTS", "PROMISES", "Bed", "Make", "Mutant", "PlantingError", "Substitution", "plant"]

Make = Callable[[Any], Any]
"""From the original to its replacement."""

PROMISES = (
    "quota", "batch", "wanted", "drain", "merge", "answer", "truth", "lanes", "atomic", "synced", "debounce",
    "silent heartbeats", "valve", "restart", "bounded", "single writer", "no write for nothing",
    "why", "plan",
)  # fmt: skip
"""What the product promises, by the names that the design gives."""
INVARIANTS = tuple(f"I{number}" for number in range(1, 21))
"""The oracles' own numbers: I1 quota … I20 no unexpected exception."""


class PlantingError(RuntimeError):
    """A mutant does not fit the product any more; the text says which, where, and what it expected."""


@frozen(kw_only=True)
class Substitution:
    """Replace ``target`` (``module:Class.method``, ``module:function`` or ``module:CONSTANT``) by ``make(original)``."""

    target: str
    make: Make


@frozen(kw_only=True)
class Mutant:
    """One planted bug. ``what`` says in a line what is wrong; ``promise`` is what it breaks, of ``PROMISES`` or ``INVARIANTS``.

    ``redundant_with`` names mutants whose defence holds while this one's is missing: alone it is expected to survive, and the
    pair of both is in the registry. ``needs`` names, as a hint, what must happen for it to show.
    """

    name: str
    promise: str
    what: str
    substitutions: tuple[Substitution, ...]
    redundant_with: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


class Bed:
    """The mutants of one subject, in the order of planting."""

    def __init__(self) -> None:
        self.mutants: list[Mutant] = []

    def single(
        self, name: str, *, breaks: str, what: str, at: str, needs: tuple[str, ...] = (), redundant_with: tuple[str, ...] = ()
    ) -> Callable[[Make], Mutant]:  # fmt: skip
        """Decorates the ``make`` of a mutant that replaces one thing; the name then stands for the mutant."""

        def enter(make: Make) -> Mutant:
            where = (Substitution(target=at, make=make),)
            mutant = Mutant(
                name=name, promise=breaks, what=what, substitutions=where, needs=needs, redundant_with=redundant_with
            )
            self.mutants.append(mutant)
            return mutant

        return enter

    def several(
        self, name: str, *substitutions: Substitution, breaks: str, what: str, redundant_with: tuple[str, ...] = ()
    ) -> Mutant:
        """One bug in each of several ways that lead to the same end."""
        mutant = Mutant(
            name=name, promise=breaks, what=what, substitutions=substitutions, redundant_with=redundant_with
        )
        self.mutants.append(mutant)
        return mutant

    def pair(
        self, name: str, first: Mutant, second: Mutant, *, breaks: str, what: str, needs: tuple[str, ...] = ()
    ) -> Mutant:
        """Both at once, for two defences of which either is enough."""
        where = first.substitutions + second.substitutions
        mutant = Mutant(name=name, promise=breaks, what=what, substitutions=where, needs=needs)
        self.mutants.append(mutant)
        return mutant


@contextmanager
def plant(mutant: Mutant) -> Iterator[Mutant]:
    """Everything inside runs with the bug; the originals are back afterwards, whatever happens."""
    with ExitStack() as stack:
        for substitution in mutant.substitutions:
            owner, name, original = locate(substitution.target, mutant.name)
            replacement = substitution.make(original)
            _check(mutant.name, substitution.target, original, replacement)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, replacement)
        yield mutant


def locate(target: str, mutant: str) -> tuple[Any, str, Any]:
    """The module or class that holds ``target``, the name under which, and the thing itself, unbound."""
    module, colon, path = target.partition(":")
    *above, name = path.split(".")
    if not colon or not name:
        raise PlantingError(f"mutant {mutant}: {target!r} is not of the form module:Class.method")
    try:
        owner: Any = import_module(module)
    except ImportError as error:
        raise PlantingError(f"mutant {mutant}: there is no module {module} any more: name its successor") from error
    for each in [*above, name]:
        held = vars(owner)
        if each not in held:
            raise PlantingError(
                f"mutant {mutant}: {target} is not there any more (no {each} in {_name_of(owner)}): "
                "name what does its work now, or strike the mutant out"
            )
        if each is not name:
            owner = held[each]
    return owner, name, vars(owner)[name]


def _check(mutant: str, target: str, original: Any, replacement: Any) -> None:
    """Refuse what would not be a bug of the product but a bug of the mutant."""
    if replacement is original:
        raise PlantingError(f"mutant {mutant}: its replacement of {target} is the original")
    before, after = _shape(original), _shape(replacement)
    if before != after:
        raise PlantingError(
            f"mutant {mutant}: {target} is {before} now, its replacement is {after}: fit it to the original"
        )
    if not callable(original) and not isinstance(original, property) and original == replacement:
        raise PlantingError(f"mutant {mutant}: {target} is {original!r} already")


def _shape(thing: Any) -> str:
    """What a caller sees of it: its kind, and the names, kinds and defaults of its parameters."""
    if isinstance(thing, property):
        return f"property{_parameters(thing.fget)}"
    if isinstance(thing, staticmethod | classmethod):
        return f"{type(thing).__name__}{_parameters(thing.__func__)}"
    if inspect.isclass(thing):
        return f"class{_parameters(thing)}"
    if inspect.isfunction(thing):
        return f"function{_parameters(thing)}"
    return "a number" if isinstance(thing, int | float) else f"a {type(thing).__name__}"


def _parameters(thing: Any) -> str:
    parameters = inspect.signature(thing, follow_wrapped=False).parameters.values()
    return f"({', '.join(str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters)})"


def _name_of(owner: Any) -> str:
    return str(getattr(owner, "__qualname__", owner.__name__))
