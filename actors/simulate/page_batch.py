"""The page of a batch: how many seeds, which promises broke and where, what was reached of the faults and the oracles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from .batch import BatchResult, Coverage
from .page_style import page, tiles
from .run import Result

__all__ = ["batch_page"]


def batch_page(
    total: BatchResult, thin: Sequence[Coverage], figures: Sequence[tuple[str, object]], again: Callable[[int], str]
) -> str:
    """The document. ``figures``: what the command measured; ``again(seed)``: what repeats that seed."""
    good = total.ok and not thin
    word = (
        "every promise was kept" if good else "a promise was broken" if total.breached_seeds else "it proves too little"
    )
    span = f"seeds {total.first} to {total.last}" if total.seeds else "no seeds"
    only = "" if total.faults is None else f"With these faults only: {', '.join(total.faults) or 'none'}. "
    ended = " Interrupted: this is what there was so far." if total.interrupted else ""
    about = f"{only}The same seeds give the same fingerprint: {total.fingerprint:016x}.{ended}"
    parts = [
        f'<h1>Simulation, {span} <span class="verdict {"ok" if good else "bad"}">{word}</span></h1>',
        f'<p class="soft">{about}</p>',
        tiles(*figures),
        _warnings(total),
        _broken(total, again),
        _canaries(total),
        "<h2>Faults</h2><p>How often each fired, and in how many seeds. The bars grow with the logarithm.</p>",
        _coverage("faults", [row for row in total.coverage() if row.what == "fault"], thin, "fired", "fault"),
        "<h2>Oracles</h2><p>How often each had something to judge, and in how many seeds.</p>",
        _coverage("oracles", [row for row in total.coverage() if row.what == "oracle"], thin, "judged", "promise"),
        "<h2>Gates</h2><p>How often <code>why</code> named each, which was then true, and in how many seeds.</p>",
        _coverage("gates", [row for row in total.coverage() if row.what == "gate"], thin, "named", "what is so"),
    ]
    return page(f"Simulation, {span}: {word}", "\n".join(part for part in parts if part))


def _warnings(total: BatchResult) -> str:
    lines = [
        f"<li><b>The planted bug {escape(name)} was not found.</b> The oracles do not see it: this batch proves nothing.</li>"
        for name in total.blind
    ]
    lines += [
        f"<li><b>The simulator itself failed at seed {each.seed}.</b><br><code>{escape(_last(each.text))}</code></li>"
        for each in total.troubles
    ]
    return f'<h2 class="bad-text">In the way</h2><ul class="breaches">{"".join(lines)}</ul>' if lines else ""


def _last(text: str) -> str:
    return text.strip().splitlines()[-1]


def _broken(total: BatchResult, again: Callable[[int], str]) -> str:
    if not total.breached_seeds:
        return ""
    by_oracle: dict[str, list[Result]] = {}
    for each in total.breached:
        by_oracle.setdefault(each.breaches[0].oracle, []).append(each)
    parts = [f'<h2 class="bad-text">Broken in {len(total.breached_seeds)} of {total.seeds} seeds</h2>']
    for oracle, results in sorted(by_oracle.items(), key=lambda entry: -len(entry[1])):
        items = "".join(_item(each, again(each.seed)) for each in results)
        promise = escape(results[0].breaches[0].promise)
        parts.append(f'<h3>{escape(oracle)} ({promise}): {len(results)}</h3><ul class="breaches">{items}</ul>')
    more = len(total.breached_seeds) - len(total.breached)
    parts.append(f"<p>And {more} seeds more.</p>" if more else "")
    return "".join(parts)


def _item(result: Result, command: str) -> str:
    first = result.breaches[0]
    return f"<li>seed {result.seed}, at {first.at_s:.3f} s: {escape(first.text)}<br><code>{escape(command)}</code></li>"


def _canaries(total: BatchResult) -> str:
    rows = "".join(
        f'<tr class="{"thin" if kill.survived else ""}"><td>{escape(kill.name)}</td><td class="number">{kill.seeds}</td>'
        f"<td>{'not found' if kill.survived else escape(kill.oracle)}</td></tr>"
        for kill in total.canaries
    )
    if not rows:
        return ""
    head = '<tr><th>planted bug</th><th class="number">seeds</th><th>found by</th></tr>'
    return (
        f'<h2>Canaries</h2><p>Planted bugs that had to be found.</p><div class="card"><table>{head}{rows}</table></div>'
    )


def _coverage(name: str, rows: Iterable[Coverage], thin: Sequence[Coverage], verb: str, about: str) -> str:
    rows = list(rows)
    most = max((row.count for row in rows), default=0)
    lines = []
    for row in rows:
        width = 100 * math.log(1 + row.count) / math.log(1 + most) if most else 0.0
        kind = (
            "thin"
            if row in thin or (row.what == "oracle" and not row.count)
            else ""
            if row.asked or row.count
            else "off"
        )
        lines.append(
            f'<tr class="{kind}"><td><b>{escape(row.id)}</b></td><td>{escape(row.name)}</td>'
            f'<td class="number">{row.count:,}</td><td class="number">{row.seeds:,}</td>'
            f'<td class="bar"><i style="width:{width:.1f}%"></i></td></tr>'
        )
    head = (
        f'<tr><th></th><th>{about}</th><th class="number">{verb}</th><th class="number">seeds</th>'
        '<th aria-hidden="true"></th></tr>'
    )
    return f'<div class="card" data-chart="{name}"><table>{head}{"".join(lines)}</table></div>'
