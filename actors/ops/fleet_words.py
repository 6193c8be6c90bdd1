"""``muster fleet``: looks at a fleet's file without a server, prints it in its shortest form, or the schema of such files."""

from __future__ import annotations

import click

from ..core.builtin import MUSTER_FLEET
from ..core.errors import SettingsError
from ..core.fleet import ChildKind, ConditionIs, Expression, FieldIn, FleetDefinition, Lease
from ..edge.fleet_file import FleetSource, print_fleet
from ..edge.fleet_python import fleet_of


@click.command(short_help="Look at a fleet's file, print it, or print the schema of such files.")
@click.argument("file", default="", metavar="[FLEET]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "yaml", "schema", "markdown"]),
    default="text",
    help="yaml: the file in its shortest form. schema: the JSON Schema of all such files. markdown: the table of their fields.",
)
def fleet_command(file: str, form: str) -> None:
    """Say what FLEET defines (a file, or MODULE:NAME or file.py:NAME; unset: the built-in fleet), or all that is wrong with it.
    Asks no server.

    Exit code 2: something is wrong; each problem is a line with its place.
    """
    if form in ("schema", "markdown"):
        from ..edge.fleet_schema import schema_text
        from .fleet_page import tables

        if file:
            raise SettingsError(f"--format {form} is about all files, expected no FLEET: found {file}")
        click.echo(schema_text() if form == "schema" else tables(), nl=False)
        return
    source = fleet_of(file) if file else FleetSource(fleet=MUSTER_FLEET, lines={})
    if form == "yaml" and source.fleet.own is not None:
        click.echo(f"# Without what no file can say: {source.fleet.own_name or 'the fields kept of a parent'}")
    click.echo(print_fleet(source.fleet) if form == "yaml" else told(source.fleet), nl=False)


def told(fleet: FleetDefinition) -> str:
    """What a definition means, for people."""
    lines = [f"{fleet.name}: {fleet.parent.kind} ({fleet.parent.resource}) of {len(fleet.children)} child kinds\n"]
    lines += [
        f"  {child.ref.kind} ({child.ref.resource}): {_healthy(child)}{_beats(child)}{_several(child)}\n"
        for child in fleet.children
    ]
    wanted = ", ".join(f"{key} {value}" for key, value in fleet.settings.items())
    repair = "nobody repairs" if fleet.settings.get("backend") == "none" else fleet.operation
    own = f"  reconcile: {fleet.own_name}\n" if fleet.own_name else ""
    return "".join(lines) + f"  repair: {repair}\n{own}" + (f"  settings: {wanted}\n" if wanted else "")


def _healthy(child: ChildKind) -> str:
    how = child.health.healthy
    if isinstance(how, ConditionIs):
        return f"healthy while {how.type} is {' or '.join(how.healthy)}"
    if isinstance(how, FieldIn):
        return f"healthy while {how.path} is {' or '.join(map(str, how.healthy))}"
    return f"healthy by an expression: {how.cel}" if isinstance(how, Expression) else f"healthy while {how} is true"


def _several(child: ChildKind) -> str:
    return ", counted for all of its parents" if child.several else ""


def _beats(child: ChildKind) -> str:
    beat = child.health.heartbeat
    if isinstance(beat, Lease):
        return f", heartbeats by Leases in {beat.namespace or 'its namespace'}"
    return f", heartbeats in {beat}" if beat else ", no heartbeats"
