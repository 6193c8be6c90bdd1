"""An answer for people: any JSON value as pairs, tables and lines; with rich on a terminal, as plain text elsewhere.

No command is known here. A list of dicts is a table, a dict of plain values is pairs, a list of texts is lines. A name that
ends in ``_s`` is a duration, one that ends in ``_at`` (or is ``at``) an instant. Columns in which nothing stands are left out,
and a table that is too wide for the terminal is drawn as blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_CELL_MIN = 12  # a column that is narrower than this cannot be read once it wraps
_GAP = 2
_OURS = re.compile(r"[a-z_][a-z0-9_]*")


@frozen(kw_only=True)
class Part:
    """A piece of an answer: exactly one of the three is filled."""

    title: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[str, ...] = ()


def parts(answer: Any, title: str = "") -> Iterator[Part]:
    """The pieces, in order."""
    if isinstance(answer, Mapping):
        plain = {name: value for name, value in answer.items() if not isinstance(value, Mapping | list)}
        shown = tuple((heading(name), cell(name, value)) for name, value in plain.items() if value not in (None, ""))
        if shown:
            yield Part(title=title, pairs=shown)
        for name, value in answer.items():
            if isinstance(value, Mapping | list):
                yield from parts(value, " › ".join(filter(None, (title, heading(name)))))
    elif isinstance(answer, list) and answer and all(isinstance(each, Mapping) for each in answer):
        yield from _rows(answer, title)
    elif isinstance(answer, list):
        if answer:
            yield Part(title=title, lines=tuple(line for each in answer for line in str(each).splitlines()))
    elif answer is not None:
        yield Part(title=title, lines=(str(answer),))


def _rows(rows: Sequence[Mapping[str, Any]], title: str) -> Iterator[Part]:
    if any(isinstance(value, list) for row in rows for value in row.values()):  # such as stacks: one after the other
        for row in rows:
            yield from parts(row)
        return
    yield Part(title=title, rows=tuple(rows))


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the columns in which anything stands."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) not in (None, "") for row in rows)]


def heading(name: str) -> str:
    """``last_error`` → LAST ERROR; what the endings say is in the cells."""
    if not _OURS.fullmatch(name):  # the name of a thing, such as a parent: as it is
        return name
    for ending in ("_s", "_at"):
        name = name.removesuffix(ending)
    return name.replace("_", " ").strip().upper()


def cell(name: str, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int | float) and (name == "at" or name.endswith("_at")):
        return datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int | float) and name.endswith("_s"):
        return duration(value)
    if isinstance(value, float):
        return f"{value:g}"
    return _printable(str(value))


def duration(seconds: float) -> str:
    """Three figures are enough."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def _printable(text: str) -> str:
    """Names and errors come from others: nothing in them may move a cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


# --- plain ------------------------------------------------------------------------------------------------------------
def plain(answer: Any) -> str:
    """As text, nothing cut off: for pipes, where no width is known."""
    blocks = [_plain_part(part) for part in parts(answer)]
    return "\n\n".join(blocks) + "\n" if blocks else "nothing\n"


def _plain_part(part: Part) -> str:
    head = [part.title] if part.title else []
    if part.pairs:
        wide = max(len(name) for name, _ in part.pairs)
        return "\n".join([*head, *(f"{name:<{wide}}  {value}".rstrip() for name, value in part.pairs)])
    if part.rows:
        names = columns(part.rows)
        table = [
            [heading(name) for name in names],
            *([cell(name, row.get(name)) for name in names] for row in part.rows),
        ]
        wides = [max(len(line[index]) for line in table) for index in range(len(names))]
        return "\n".join(
            [
                *head,
                *(
                    "  ".join(f"{text:<{wide}}" for text, wide in zip(line, wides, strict=True)).rstrip()
                    for line in table
                ),
            ]
        )
    return "\n".join([*head, *map(_printable, part.lines)])


# --- on a terminal ----------------------------------------------------------------------------------------------------
def draw(console: Console, answer: Any) -> None:
    """As wide as the terminal."""
    drawn: list[RenderableType] = []
    for part in parts(answer):
        if drawn:
            drawn.append(Text(""))
        if part.title:
            drawn.append(Text(part.title, style="bold"))
        drawn += _drawn(part, console.width)
    console.print(Group(*drawn) if drawn else Text("nothing", style="dim"))


def _drawn(part: Part, width: int) -> Iterator[RenderableType]:
    if part.pairs:
        yield _pairs(part.pairs)
    elif part.rows:
        names = columns(part.rows)
        if _needs(part.rows, names) <= width:
            yield _table(part.rows, names)
            return
        for row in part.rows:  # too wide: a block for each
            yield _pairs(
                [(heading(name), cell(name, row.get(name))) for name in names if row.get(name) not in (None, "")]
            )
            yield Text("")
    else:
        yield from (Text(_printable(line)) for line in part.lines)


def _needs(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """How wide a table must be to be read."""
    wides = [max(len(heading(name)), *(len(cell(name, row.get(name))) for row in rows)) for name in names]
    return sum(min(wide, _CELL_MIN) + _GAP for wide in wides)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, _GAP))
    for name, value in pairs:
        grid.add_row(Text(name, style="cyan"), _styled(value))
    return grid


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold cyan")
    for name in names:
        numbers = all(
            isinstance(row.get(name), int | float | None) and not isinstance(row.get(name), bool) for row in rows
        )
        table.add_column(escape(heading(name)), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_styled(cell(name, row.get(name))) for name in names))
    return table


_STYLES = {
    "NO": "bold red",
    "down": "red",
    "quarantined": "bold red",
    "unhealthy": "red",
    "unknown": "yellow",
    "yes": "green",
}


def _styled(text: str) -> Text:
    return Text(text, style=_STYLES.get(text, ""))
