"""How much of core the fast tests would notice: mutmut changes each line in turn, and a test must fail for it.

Usage: python bench/mutation_score.py [--least PERCENT] [--children N] [--keep] [--survivors] [MODULE ...]

Runs ``mutmut run`` as ``[mutmut]`` in setup.cfg configures it (what is changed, by which tests it is to be found), from the
checkout's root, and prints a table by module. A mutant is killed when a test fails, or when it never comes to an end
(mutmut's "timeout": a loop that does not stop). One that survives is a line that could be wrong without anybody noticing,
or an equivalent one: a change that changes nothing. Exit code 1 below ``--least`` (85), 2 when mutmut itself failed.

The same result each time: property tests draw the same examples (Hypothesis does so under ``CI``) and the hash seed is
fixed. Each run begins afresh, because mutmut would let stand what it found before the tests were changed; ``--keep`` goes
on where a run was interrupted. ``mutmut show NAME`` shows a survivor's change.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

CORE = Path("actors/core")
MUTANTS = Path("mutants")
LEAST_PERCENT = 85.0
# A mutant may be a loop that only adds to a list: it is to end with MemoryError and not with the machine. Address space of
# one child in bytes; the tests need a tenth of it.
MEMORY_MAX = 6 * 1024**3
KINDS = ("killed", "timeout", "survived", "untested", "unfinished")
# mutmut's exit codes: pytest's own, and how its time limit ends a child (signals SIGXCPU and SIGKILL, 36 of its own). 33 and
# pytest's 5: no test comes by.
BY_CODE: dict[int | None, str] = {
    0: "survived", 1: "killed", 3: "killed", 5: "untested", 33: "untested", 36: "timeout", 24: "timeout", -24: "timeout",
    152: "timeout", 255: "timeout", -9: "timeout", None: "unfinished",
}  # fmt: skip


def run(modules: list[str], children: int) -> int:
    """Let mutmut test the mutants of these modules (none named: all of them); its exit code."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(children)]
    command += [f"actors.core.{module}.*" for module in modules]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    return subprocess.run(command, env={**os.environ, "CI": "1", "PYTHONHASHSEED": "0"}, check=False).returncode


def verdicts(modules: list[str]) -> dict[str, dict[str, str]]:
    """By module and mutant: what became of it. Modules without a mutant are left out."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted((MUTANTS / CORE).glob("*.py.meta")):
        module = file.name.removesuffix(".py.meta")
        codes = json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes and (not modules or module in modules):
            # Another signal ended the test process: a change that has such an end is noticed, too.
            found[module] = {mutant: BY_CODE.get(code, "killed") for mutant, code in codes.items()}
    return found


def percent(counts: Counter[str]) -> float:
    """The share of all mutants that were killed or never came to an end; 100 where there are none."""
    return 100.0 * (counts["killed"] + counts["timeout"]) / counts.total() if counts.total() else 100.0


def print_table(by_module: dict[str, Counter[str]]) -> None:
    """One line for each module and one for all."""
    print(f"\n{'module':12}{'mutants':>9}" + "".join(f"{kind:>12}" for kind in KINDS) + f"{'percent':>10}")
    for module, counts in [*by_module.items(), ("all", sum(by_module.values(), Counter()))]:
        cells = "".join(f"{counts[kind]:>12}" for kind in KINDS)
        print(f"{module:12}{counts.total():>9}{cells}{percent(counts):>10.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of actors/core, without .py; none: all of them")
    parser.add_argument("--least", type=float, default=LEAST_PERCENT, help="percent killed that is enough (85)")
    parser.add_argument("--children", type=int, default=1, help="test processes at a time (1)")
    parser.add_argument("--keep", action="store_true", help="let stand what an interrupted run has found")
    parser.add_argument("--survivors", action="store_true", help="name those that survived or met no test")
    options = parser.parse_args()
    unknown = [module for module in options.modules if not (CORE / f"{module}.py").is_file()]
    if unknown:
        parser.error(f"{CORE} has no module {', '.join(unknown)} (run this from the checkout's root)")
    if not options.keep:
        shutil.rmtree(MUTANTS, ignore_errors=True)
    if code := run(options.modules, options.children):
        print(f"mutmut ended with exit code {code}: its own words are above")
        raise SystemExit(2)
    found = verdicts(options.modules)
    print_table({module: Counter(of.values()) for module, of in found.items()})
    if options.survivors:
        for of in found.values():
            for mutant, kind in of.items():
                if kind in ("survived", "untested"):
                    print(f"{kind}: {mutant}")
    total = Counter(kind for of in found.values() for kind in of.values())
    if total["unfinished"] or percent(total) < options.least:
        print(f"killed {percent(total):.1f} %, wanted {options.least:g} %; {total['unfinished']} not tested to the end")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
