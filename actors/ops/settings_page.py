"""The settings for people: the page ``docs/settings.md`` and the tables of ``muster config``, made from the one table.

A test holds the page to the table; ``muster config --format markdown`` writes it anew.
"""

from __future__ import annotations

import json

from ..core.quantity import format_duration
from ..edge.settings import GROUPS, TABLE
from ..edge.settings_load import CONFIG_ENV, Loaded
from .exit_codes import ExitCode

_HEAD = f"""# Settings

<!-- Made from the table in actors/edge/settings.py: muster config --format markdown > docs/settings.md -->

A setting is read from, in this order: its flag; its environment variable (an empty one counts as unset); the YAML file
named by `--config` or `{CONFIG_ENV}`, by its key; the `settings` of the file named by `--fleet` (those about nodes and the
backend: [fleets.md](fleets.md)); its default. Where a Cluster's spec has a field of its own, that
beats them all for that Cluster. Durations are written `100ms`, `2s`, `5m`, `1h30m`. What cannot be used ends the
command with exit code {ExitCode.SETTINGS.value} and a line for each problem, which names the setting, where it came
from, what was found and what is expected. `muster config` shows what is in force, and where each value came from.

```yaml
# muster.yaml
backendUrl: http://repairs.example:8080
quota: 10/1s
maxUnhealthy: 50%
heartbeatTimeout: 60s
```
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for group in GROUPS:
        parts.append(f"\n## {group}\n")
        if any(each.spec for each in TABLE if each.group == group):
            parts.append("\nEach holds for a Cluster whose spec is silent.\n")
        for each in TABLE:
            if each.group != group:
                continue
            default = f"`{each.default}`" if each.default else "unset"
            spec = f" · the Cluster's `{each.spec}`" if each.spec else ""
            parts.append(
                f"\n### `{each.flag}`\n\n{each.effect}\n\n"
                f"- Default: {default}. {each.reason}\n"
                f"- Expected: {each.form.expected}.\n"
                f"- Also: `{each.env}` · `{each.key}` in the file{spec}\n"
            )
    parts.append("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
    parts += [f"| {code.value} | {code.meaning} |\n" for code in ExitCode]
    parts.append("| 78 | `supervisor.py` found another project's package `actors`: use an environment of its own. |\n")
    parts.append(
        "| 130, 143 | A second SIGINT or SIGTERM cut the drain short, or the first came before anything was begun. |\n"
    )
    return "".join(parts)


def shown(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Name, value in force (as people write it) and origin of every setting."""
    rows = []
    for each in TABLE:
        value = each.show(getattr(loaded.settings, each.attribute))
        if each.name == "cold-start" and loaded.settings.cold_start_s is None:
            value = f"auto ({format_duration(loaded.settings.cold_start_full_s)})"
        rows.append((each.name, value, loaded.origins.get(each.name, "default")))
    return rows


def as_text(loaded: Loaded) -> str:
    """The rows, aligned."""
    rows = shown(loaded)
    wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "".join(f"{name:<{wide[0]}}  {value:<{wide[1]}}  {origin}\n" for name, value, origin in rows)


def as_json(loaded: Loaded) -> str:
    """The rows, by name."""
    return (
        json.dumps({name: {"value": value, "origin": origin} for name, value, origin in shown(loaded)}, indent=2) + "\n"
    )
