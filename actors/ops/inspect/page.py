"""The list of commands in ``docs/shell.md``, made from the registry; a test holds the page to it.

``python -m actors.ops.inspect.page docs/shell.md`` puts it anew between the two marks.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .commands import REGISTRY
from .registry import LEVELS

BEGIN = "<!-- commands: made by python -m actors.ops.inspect.page docs/shell.md -->"
END = "<!-- end of commands -->"


def markdown() -> str:
    """The part between the marks."""
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


def renewed(page: str) -> str:
    """The page with that part made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{BEGIN} is missing"
    assert end, f"{END} is missing"
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"


def main(path: str) -> None:
    """Renew that file."""
    file = Path(path)
    file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
