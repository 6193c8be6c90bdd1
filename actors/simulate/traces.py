"""``python -m actors.simulate.traces FIRST LAST``: a line "seed hash" for each seed, to be compared between interpreters.

The hash is of everything that happened in the run (each turn of each actor, in order). Where two outputs differ, a set was
iterated over, or a library draws numbers in another way: a seed is then not the same run everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .run import play

__all__ = ["main", "traces"]


def traces(first: int, last: int) -> Iterator[str]:
    """The lines, both ends included."""
    for seed in range(first, last + 1):
        result = play(seed)
        yield f"{seed} {result.trace} {result.breaches[0].oracle if result.breaches else 'ok'}"


def main(words: list[str]) -> int:
    """Print them as they come; the exit code."""
    if len(words) != 2 or not all(word.lstrip("-").isdigit() for word in words):
        sys.stderr.write("usage: python -m actors.simulate.traces FIRST LAST\n")
        return 2
    for line in traces(int(words[0]), int(words[1])):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
