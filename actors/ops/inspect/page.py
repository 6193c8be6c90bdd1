"""What is made from code in ``docs/shell.md`` (the commands) and ``docs/why.md`` (the gates, the causes); tests hold the pages.

``python -m actors.ops.inspect.page docs/shell.md docs/why.md`` puts each part anew between its marks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ...core import gates
from ...core.whylog import TOLD
from .commands import REGISTRY
from .registry import LEVELS

BEGIN = "<!-- {part}: made by python -m actors.ops.inspect.page {page} -->"
END = "<!-- end of {part} -->"


def commands() -> str:
    """Every command, by group."""
    parts = ["| level | what it may do |\n|---|---|\n"]
    parts += [f"| {level.value} | {text} |\n" for level, text in LEVELS.items()]
    group = ""
    for command in REGISTRY:
        if command.group != group:
            group = command.group
            parts.append(f"\n### {group[0].upper()}{group[1:]}\n")
        parts.append(f"\n#### `{command.usage}`\n\n{command.text} ({command.level.value})\n")
        shown = [each for each in command.arguments if each.text]
        if shown:
            parts.append("\n")
        for each in shown:
            default = f" Default: `{each.default}`." if each.default else ""
            parts.append(f"- `{each.written.strip('[]')}`: {each.text}{default}\n")
        if command.more:
            parts.append(f"\n{command.more}\n")
    return "".join(parts)


def causes() -> str:
    """What the why-log keeps."""
    return "| fact | what it tells |\n|---|---|\n" + "".join(
        f"| `{fact.__name__}` | {what} |\n" for fact, what in TOLD.items()
    )


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/shell.md": {"commands": commands},
    "docs/why.md": {"gates": gates.markdown, "causes": causes},
}


def renewed(name: str, text: str) -> str:
    """That page with its parts made anew."""
    for part, made in PARTS[name].items():
        begin, end = BEGIN.format(part=part, page=name), END.format(part=part)
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        assert begun, f"{begin} is missing"
        assert ended, f"{end} is missing"
        text = f"{before}{begin}\n\n{made()}\n{end}{after}"
    return text


def main(names: list[str]) -> None:
    """Renew those files, named from the root of the project."""
    for name in names:
        file = Path(name)
        file.write_text(renewed(name, file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
