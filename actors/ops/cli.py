"""The words ``run``, ``demo``, ``check``, ``fleet``, ``new``, ``shell`` … Thin: each imports what it needs when it runs.

The options of ``run``, ``check`` and ``config`` are made from the table of settings. They hand over strings, and the
one loader reads them, because then a flag, a variable and a line of the file are refused in the same words. In a pod
and without a word, ``run`` is meant; elsewhere the help is. Exit codes are in ``exit_codes``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..core.errors import SettingsError
from ..edge.settings import TABLE
from .exit_codes import ExitCode, table

if TYPE_CHECKING:
    from ..edge.settings_load import Loaded

_LAZY = {  # word → module beside this one, the click command in it
    "demo": ("demo", "demo_command"),
    "fleet": ("fleet_words", "fleet_command"),
    "new": ("project", "new_command"),
    "replay": ("replay", "replay_command"),
    "shell": ("inspect.shell", "shell_command"),
    "simulate": ("simulate", "simulate_command"),
}


class Problem(click.ClickException):
    """A setting is wrong: each problem on a line of its own, and exit code 2."""

    exit_code = ExitCode.SETTINGS.value

    def show(self, file: Any = None) -> None:
        """Print to stderr, without a traceback: the cure is outside the code."""
        for line in self.message.splitlines():
            click.echo(f"muster: {line}", err=True, file=file)


class Words(click.Group):
    """Commands; some of them are imported only when they are called by name or listed in the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are written here; the demo first, because that is how one begins."""
        return [*_LAZY, *(name for name in super().list_commands(ctx) if name not in _LAZY)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        module_name, attribute = _LAZY[cmd_name]
        from importlib import import_module

        try:
            command: click.Command = getattr(import_module(f".{module_name}", __package__), attribute)
        except ModuleNotFoundError as error:
            return _missing(cmd_name, error)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is none is answered with the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near or error.message.endswith("?"):
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a ``SettingsError`` of any of them ends in exit code 2.

        An interrupt that comes while a word is still being imported has nothing to drain: a line, and the shell's own code.
        """
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise Problem(str(error)) from error
        except KeyboardInterrupt:
            click.echo("muster: interrupted", err=True)
            ctx.exit(128 + signal.SIGINT)


def _missing(name: str, error: ModuleNotFoundError) -> click.Command:
    """Stands in for a command whose module, or a package that it needs, is not installed: the other words still work."""

    def fail() -> NoReturn:
        raise Problem(f"{name} needs {error.name}, which is not installed: install muster-operator anew, whole")

    return click.Command(name, callback=fail, short_help=f"Not available here: {error.name} is not installed.")


@click.group(
    cls=Words,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExit codes:\n" + table(),
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Muster takes the roll-call of fleets: it counts the healthy nodes of each Cluster and has the others repaired,
    in batches, under a strict quota.

    Begin with "demo": it needs nothing but this.
    """
    if ctx.invoked_subcommand is None:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            ctx.invoke(run)
        else:
            click.echo(ctx.get_help())


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--config`` and an option for each setting; the command receives them as one ``Loaded``, and its own options."""

    def wrapped(config: str | None, **options: Any) -> None:
        from ..edge.settings_load import load

        given = {each.name: options.pop(_parameter(each.name), None) for each in TABLE}
        flags = {name: value for name, value in given.items() if value is not None}
        command(load(flags, os.environ, config), **options)

    decorated: Callable[..., None] = wrapped
    for each in reversed(TABLE):
        bare: dict[str, Any] = {"is_flag": False, "flag_value": each.form.bare} if each.form.bare else {}
        default = f"default: {each.default}; " if each.default else ""
        decorated = click.option(
            each.flag,
            _parameter(each.name),
            metavar=each.form.metavar,
            help=f"{each.effect}  [{default}env: {each.env}]",
            **bare,
        )(decorated)
    decorated = click.option(
        "--config", metavar="FILE", help="A YAML file of settings, by their keys (batchMax: 100).  [env: MUSTER_CONFIG]"
    )(decorated)
    decorated.__name__, decorated.__doc__ = command.__name__, command.__doc__
    options: Any = (
        decorated  # click keeps the options of a function on the function itself: those of ``command`` go first
    )
    options.__click_params__ += getattr(command, "__click_params__", [])
    return decorated


def _parameter(name: str) -> str:
    return "setting_" + name.replace("-", "_")


@cli.command()
@with_settings
def run(loaded: Loaded) -> None:
    """Run the operator, until SIGTERM or SIGINT drains it; a second signal ends it at once."""
    from .run import run_operator

    _leave(run_operator(loaded))


@cli.command()
@with_settings
@click.argument("parent", default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def plan(loaded: Loaded, parent: str, as_json: bool) -> None:
    """Show what `run` would do now, for all parents or one (NAMESPACE/NAME), from one list of each kind. Writes nothing.

    Exit code 0: nothing. Honours the same settings as `run`.
    """
    from .plan import plan_command

    _leave(plan_command(loaded, parent, as_json=as_json))


@cli.command()
@with_settings
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def check(loaded: Loaded, as_json: bool) -> None:
    """Say whether `run` would work here: settings, connection, permissions, CRDs, backend. Sends no batch call."""
    from .check import checks, in_json, in_lines

    lines = checks(loaded)
    click.echo(in_json(lines) if as_json else in_lines(lines), nl=False)
    _leave(ExitCode.OK if all(line.ok is not False for line in lines) else ExitCode.CHECK_FAILED)


@cli.command()
@with_settings
@click.option("--crds", is_flag=True, help="Definitions of the fleet's kinds, too: of all but Kubernetes' own.")
def manifests(loaded: Loaded, crds: bool) -> None:
    """Print the least rights that the fleet needs, as roles for the operator's service account. Asks no server."""
    from . import manifests_words

    click.echo(manifests_words.manifests(loaded, crds=crds), nl=False)


@cli.command()
@with_settings
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    help="markdown: the page of all settings that there are.",
)
def config(loaded: Loaded, form: str) -> None:
    """Show every setting in force, and where each came from."""
    from . import settings_page

    if form == "markdown":
        click.echo(settings_page.markdown(), nl=False)
        return
    click.echo(settings_page.as_json(loaded) if form == "json" else settings_page.as_text(loaded), nl=False)
    for note in loaded.notes:
        click.echo(f"muster: note: {note}", err=True)


@cli.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "rules", "prometheus-rule", "dashboard"]),
    default="text",
    help="markdown: the page of all metrics and alerts; the others: what manifests/monitoring has.",
)
def metrics(form: str) -> None:
    """Print every metric that there is; alert rules and the Grafana dashboard of this very version."""
    from .metrics_page import FORMATS

    click.echo(FORMATS[form](), nl=False)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a line.")
def version(as_json: bool) -> None:
    """Print the version, and those of the parts that matter in a bug report."""
    import json

    from .versions import versions

    parts = versions()
    if as_json:
        click.echo(json.dumps(parts))
    else:
        own = parts.pop("muster")
        click.echo(f"muster {own} ({', '.join(f'{name} {number}' for name, number in parts.items())})")


def _leave(code: int) -> NoReturn:
    sys.exit(int(code))


def main() -> None:
    """What ``muster`` and ``supervisor.py`` call: runs the words of the command line, and exits."""
    cli.main(prog_name="muster")
