"""The entry point: ``python supervisor.py WORDS`` and the installed command ``muster WORDS`` are the same thing.

Other distributions, too, install a package called ``actors`` and a module called ``supervisor``. So this file is never
imported, and before it hands over it looks whether the ``actors`` found is Muster's own.
"""

import sys
from types import ModuleType
from typing import NoReturn

EXIT_FOREIGN_PACKAGE = 78  # EX_CONFIG: nothing that a restart would cure


def stranger(package: ModuleType) -> str | None:
    """Where the ``actors`` found lies, when it is not ours; None when it is."""
    if getattr(package, "MUSTER_MARKER", None) == "muster-operator":
        return None
    return getattr(package, "__file__", None) or ", ".join(getattr(package, "__path__", [])) or "an unknown place"


def main() -> None:
    try:
        import actors
    except ImportError as error:
        complain(f"the package 'actors' does not import ({error})")
    where = stranger(actors)
    if where is not None:
        complain(f"{where} is another project's 'actors'")
    from actors.ops.cli import main as command_line

    command_line()


def complain(what: str) -> NoReturn:
    """End with one line that names the thing and the cure."""
    print(
        f"muster: {what}; install muster-operator into an environment of its own: "
        "python -m venv DIR && DIR/bin/pip install muster-operator",
        file=sys.stderr,
    )
    raise SystemExit(EXIT_FOREIGN_PACKAGE)


if __name__ == "__main__":
    main()
