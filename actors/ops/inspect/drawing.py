"""An answer for people: any JSON value as pairs, tables and lines; with rich on a terminal, as plain text elsewhere.

No command is known here. A list of dicts is a table, and so is a dict of dicts that are alike; a dict of plain values is pairs,
a list of texts is lines. A name that ends in ``_s`` is a duration, one that ends in ``_at`` (or is ``at``) an instant. Columns
in which nothing stands are left out, and so is a part that only repeats what stands above it. A table that is too wide for the
terminal is turned on its side where it fits so, else drawn as blocks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_CELL_MIN = 12  # a column that is narrower than this cannot be read once it wraps
_WORD_MAX = 28  # a name; what is longer is a key, which may be folded
_GAP = 2
_OURS = re.compile(r"[a-z_][a-z0-9_]*")


@frozen(kw_only=True)
class Part:
    """A piece of an answer: exactly one of the three is filled."""

    title: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[str, ...] = ()


def parts(answer: Any, title: str = "", *, now_s: float | None = None) -> Iterator[Part]:
    """The pieces, in order. ``now_s``: the Unix time that the instants of pairs are held against; the present where None."""
    now_s = time.time() if now_s is None else now_s
    if isinstance(answer, Mapping):
        plain = {name: value for name, value in answer.items() if not isinstance(value, Mapping | list)}
        shown = tuple(
            (heading(name), pair(name, value, now_s)) for name, value in plain.items() if value not in (None, "")
        )
        if shown:
            yield Part(title=title, pairs=shown)
        for name, value in answer.items():
            if isinstance(value, Mapping | list) and not _repeats(value, answer):
                under = " › ".join(filter(None, (title, heading(name))))
                yield from parts(_alike(value) or value, under, now_s=now_s)
    elif isinstance(answer, list) and answer and all(isinstance(each, Mapping) for each in answer):
        yield from _rows(answer, title, now_s)
    elif isinstance(answer, list):
        if answer:
            yield Part(title=title, lines=tuple(line for each in answer for line in str(each).splitlines()))
    elif answer is not None:
        yield Part(title=title, lines=(str(answer),))


def _rows(rows: Sequence[Mapping[str, Any]], title: str, now_s: float) -> Iterator[Part]:
    if any(isinstance(value, list) for row in rows for value in row.values()):  # such as stacks: one after the other
        for row in rows:
            yield from parts(row, now_s=now_s)
        return
    yield Part(title=title, rows=tuple(rows))


def _repeats(value: Any, above: Mapping[str, Any]) -> bool:
    """Whether every line of that part stands in the one above it already."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(name in above and above[name] == inner for name, inner in value.items())


def _alike(value: Any) -> list[dict[str, Any]] | None:
    """The rows that a dict of several plain dicts with the same names makes; None for anything else."""
    if (
        not isinstance(value, Mapping)
        or len(value) < 2
        or not all(isinstance(each, Mapping) for each in value.values())
    ):
        return None
    names = [tuple(each) for each in value.values()]
    plain = not any(isinstance(inner, Mapping | list) for each in value.values() for inner in each.values())
    if not plain or not names[0] or "name" in names[0] or any(each != names[0] for each in names):
        return None
    return [{"name": name, **each} for name, each in value.items()]


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


def headed(names: Sequence[str]) -> list[tuple[str, str]]:
    """The columns of one table with their headings: ``in_hand`` and ``in_hand_s`` beside each other are IN HAND and FOR."""
    return [("FOR" if name.endswith("_s") and name[:-2] in names else heading(name), name) for name in names]


def cell(name: str, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if _is_instant(name, value):
        return datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, int | float) and name.endswith("_s"):
        return duration(value)
    if isinstance(value, float):
        return f"{value:g}"
    return _printable(str(value))


def pair(name: str, value: Any, now_s: float) -> str:
    """As ``cell``; of an instant, how far away it is, too: that is what is asked at three in the morning."""
    if not _is_instant(name, value):
        return cell(name, value)
    away_s = value - now_s
    return f"{cell(name, value)} ({f'in {duration(away_s)}' if away_s > 0 else f'{duration(-away_s)} ago'})"


def _is_instant(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (name == "at" or name.endswith("_at"))


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
            [head for head, _ in headed(names)],
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
def draw(console: Console, answer: Any, now_s: float | None = None) -> None:
    """As wide as the terminal. Instants in tables are without their date where that is today's: it costs width."""
    now_s = time.time() if now_s is None else now_s
    today = datetime.fromtimestamp(now_s, tz=UTC).strftime("%Y-%m-%d ")
    drawn: list[RenderableType] = []
    for part in parts(answer, now_s=now_s):
        if drawn:
            drawn.append(Text(""))
        if part.title:
            drawn.append(Text(part.title, style="bold"))
        drawn += _drawn(evolve(part, rows=tuple(_short(row, today) for row in part.rows)), console.width)
    console.print(Group(*drawn) if drawn else Text("nothing", style="dim"))


def _short(row: Mapping[str, Any], today: str) -> dict[str, Any]:
    return {
        name: cell(name, value).removeprefix(today) if _is_instant(name, value) else value
        for name, value in row.items()
    }


def _drawn(part: Part, width: int) -> Iterator[RenderableType]:
    if part.pairs:
        yield _pairs(part.pairs)
    elif part.rows:
        names = columns(part.rows)
        if (widths := _widths(part.rows, names, width)) is not None:
            yield _table(part.rows, names, widths)
            return
        if len(part.rows) > 1 and (turned := _turned(part.rows, names, width)) is not None:
            yield turned
            return
        for row in part.rows:  # too wide: a block for each
            yield _pairs(
                [(head, cell(name, row.get(name))) for head, name in headed(names) if row.get(name) not in (None, "")]
            )
            yield Text("")
    else:
        yield from (Text(_printable(line)) for line in part.lines)


def _widths(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int) -> list[int] | None:
    """How wide each column is to be: sentences may wrap, names stay whole. None where that cannot be had.

    Rich would take from the widest columns alone, and cut off what is left of a name.
    """
    least, wanted = [], []
    for head, name in headed(names):
        texts = [head, *(cell(name, row.get(name)) for row in rows)]
        wide = max(map(len, texts))
        words = (size for text in texts for word in text.split() if (size := len(word)) <= _WORD_MAX)
        least.append(max(min(wide, _CELL_MIN), *words))
        wanted.append(wide)
    left = width - sum(least) - _GAP * (len(names) - 1)
    if left < 0:
        return None
    for done, place in enumerate(sorted(range(len(names)), key=lambda place: wanted[place] - least[place])):
        more = min(wanted[place] - least[place], left // (len(names) - done))
        least[place] += more
        left -= more
    return least


def _turned(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int) -> Table | None:
    """A line for each name and a column for each row; None where that is too wide, too."""
    lines = [[head, *(cell(name, row.get(name)) for row in rows)] for head, name in headed(names)]
    if sum(max(map(len, column)) + _GAP for column in zip(*lines, strict=True)) > width:
        return None
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for head, *cells in lines:
        grid.add_row(Text(head, style="cyan"), *map(_styled, cells))
    return grid


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, _GAP))
    for name, value in pairs:
        grid.add_row(Text(name, style="cyan"), _styled(value))
    return grid


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], widths: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold cyan")
    for (head, name), wide in zip(headed(names), widths, strict=True):
        numbers = all(
            isinstance(row.get(name), int | float | None) and not isinstance(row.get(name), bool) for row in rows
        )
        table.add_column(escape(head), justify="right" if numbers else "left", overflow="fold", width=wide)
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
