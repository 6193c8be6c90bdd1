"""``docs/scenarios.md``, made from the scenarios: ``python -m actors.simulate.scenarios.table > docs/scenarios.md``."""

from __future__ import annotations

import sys

from . import SCENARIOS

__all__ = ["page"]

_HEAD = """\
# Faults of others, replayed

Bug patterns that users of other operators, clients and limiters report, each played against the real actors in virtual time,
with all oracles attending and figures of its own. The seed varies the schedule of the turns, how lists come, how long requests
take and, by a little, when things happen. Each scenario is also played with a bug planted in Muster that it must find.

```sh
muster simulate --scenario list
muster simulate --scenario ghosts-after-410
```

This page is made from the code (`python -m actors.simulate.scenarios.table`), and the figures are the limits that the
scenarios are judged by. What is told of others was measured or read in the versions named, or is in the reports named.

| scenario | whose | what happens | what Muster does | held to |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = (
        f"| `{each.name}` | {each.whose} | {each.what} | {each.does} | {each.promised} |" for each in SCENARIOS.values()
    )
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
