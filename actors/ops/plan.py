"""``muster plan``: what an operator that starts now would do, worked out from one list of each kind. It writes nothing.

It is a reader of its own and needs no running operator: each kind is listed once, the parents first because their timeouts
decide who is silent, then every parent is reconciled as on its first look. What a running operator remembers is not known
here (which repairs it has asked for already); asking again would be the same item with the same key, so it is shown all the
same. What the backend answers is taken from the status.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import evolve, frozen

from ..core import reconcile as pure
from ..core.decode import BadObject, Decoder
from ..core.errors import ApiError, SettingsError, Undecodable
from ..core.fleet import FleetDefinition, KindRef
from ..core.fleet_valve import FleetValve
from ..core.health import Roll
from ..core.intake import Intake
from ..core.intakes import intake_of
from ..core.joins import JoinedIntake, Side, sides_of
from ..core.model import Child, Now, Parent, ParentKey, Policy, Record, Share
from ..core.operation import ALL
from ..core.override import Override
from ..core.planned import plan_view
from ..core.ports import Clock
from ..core.reconcile import BackendView, Children
from ..core.repairs import Repairs
from ..core.stream import PAGE_ITEMS, PAGE_S
from ..edge.clock import SystemClock
from ..edge.kube import KubeClient
from ..edge.settings_load import Loaded
from .exit_codes import ExitCode

__all__ = ["Plans", "in_json", "in_lines", "plan_command", "plans"]

LINES_MAX = 200  # parents drawn for people; --json has all


@frozen(kw_only=True)
class Plans:
    """One view for each parent asked for, as ``core.planned`` makes it, and the objects that could not be read."""

    parents: int
    children: int
    views: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do for any of them."""
        return all(view["nothing"] for view in self.views)


def plans(
    client: KubeClient, fleet: FleetDefinition, policy: Policy, clock: Clock, *, namespace: str = "", parent: str = "",
    fleet_share: Share = ALL,
) -> Plans:  # fmt: skip
    """Lists, reconciles, and compares. ``fleet_share``: of the valve over all parents.

    ``parent`` (``NS/NAME``, or a name that only one has) "" means all of them.
    """
    problems: list[str] = []
    parents = {
        record.key: record
        for record in _listed(client, fleet, fleet.parent, namespace, clock, {}, problems.append)
        if isinstance(record, Parent)
    }
    chosen = _chosen(parents, parent)
    timeouts = {key: policy.over(each.spec).heartbeat_timeout_s for key, each in parents.items()}
    rolls = {key: Roll((child.ref.kind for child in fleet.children), key) for key in parents}
    count = ill = 0
    for child in fleet.children:
        for record in _listed(client, fleet, child.ref, namespace, clock, timeouts, problems.append):
            count += not (isinstance(record, Child) and record.guest)
            ill += isinstance(record, Child) and record.eligible
            if isinstance(record, Child) and record.parent in rolls:
                rolls[record.parent].put(record)
    now = Now(clock.now(), clock.wall())
    valve = FleetValve(fleet_share)
    valve.look(ill, count, now.mono_s)
    views = tuple(_view(fleet, parents[key], rolls[key], policy, now, valve.why) for key in chosen)
    return Plans(parents=len(parents), children=count, views=views, problems=tuple(problems))


def _view(fleet: FleetDefinition, parent: Parent, roll: Roll, policy: Policy, now: Now, held: str) -> dict[str, Any]:
    backend = evolve(_told(parent.status), held=held)
    children = Children(
        roll=roll, repairs=Repairs(fleet.operation), backend=backend, override_ends_s=Override().by(parent, now)
    )
    plan = pure.reconcile(fleet, parent, children, policy.over(parent.spec), now)
    return plan_view(parent.key, parent.status, (), plan, roll.eligible, now.mono_s)


def _told(status: Mapping[str, Any]) -> BackendView:
    """What the status says of the backend: nobody is asked here."""
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == "BackendReachable":
            reachable = {"True": True, "False": False}.get(str(each.get("status")))
            return BackendView(
                reachable=reachable, reason=str(each.get("reason", "")), message=str(each.get("message", ""))
            )
    return BackendView()


def _chosen(parents: Mapping[ParentKey, Parent], wanted: str) -> list[ParentKey]:
    if not wanted:
        return sorted(parents)
    namespace, slash, name = wanted.rpartition("/")
    found = [key for key in parents if key.name == name and (key.namespace == namespace or not slash)]
    if len(found) != 1:
        some = ", ".join(str(key) for key in sorted(found or parents)[:5])
        what = f"{len(found)} parents are called {name}" if found else f"there is no parent {wanted}"
        raise SettingsError(
            f"{what}: expected NAMESPACE/NAME of one, such as {some or 'none: there is no parent at all'}"
        )
    return found


def _listed(
    client: KubeClient, fleet: FleetDefinition, ref: KindRef, namespace: str, clock: Clock,
    timeouts: Mapping[ParentKey, float | None], problem: Callable[[str], None],
) -> Iterable[Record]:  # fmt: skip
    """Every object of that kind as the operator's own reader would keep it at first sight."""
    intake = intake_of(fleet, ref.kind)
    if isinstance(intake, JoinedIntake):
        for side, kind in zip(intake.sides, sides_of(fleet, ref.kind), strict=True):
            path = kind.ref.path(kind.namespace or namespace)
            _fill(client, Decoder(kind.fleet, kind.ref.kind), side, path, clock, {}, problem)
    path = ref.path(namespace if ref.namespaced else "")
    _fill(client, Decoder(fleet, ref.kind), intake, path, clock, timeouts, problem)
    mail = intake.take(0)
    return [record for record in mail.entries.values() if record is not None] if mail is not None else []


def _fill(
    client: KubeClient, decoder: Decoder, intake: Intake | Side, path: str, clock: Clock,
    timeouts: Mapping[ParentKey, float | None], problem: Callable[[str], None],
) -> None:  # fmt: skip
    """One list, by pages."""
    records: list[Record] = []
    version, token = 0, ""
    while True:
        query = {"limit": str(PAGE_ITEMS)} | ({"continue": token} if token else {}) | decoder.ref.query
        answer = client.request("GET", path, query=query, timeout_s=PAGE_S)
        page = decoder.page(answer.body)
        if answer.wall_s is not None:
            intake.set_wall(clock.now(), answer.wall_s)
        for raw in page.items:
            try:
                records.append(decoder.object(raw)[0])
            except BadObject as bad:
                problem(str(bad))
        version, token = page.version, page.continue_token
        if not token:
            break
    now_s = clock.now()
    if isinstance(intake, Intake):
        for parent, timeout_s in timeouts.items():
            intake.set_timeout(parent, timeout_s, now_s)
    intake.replace(records, version, now_s, refused={})


def plan_command(loaded: Loaded, parent: str, *, as_json: bool) -> ExitCode:
    """The word ``plan``. SettingsError for what is wrong with the command; an API server that says no is told, too."""
    from rich.console import Console

    settings = loaded.settings
    client = KubeClient(settings.kubeconfig or None, settings.context or None)
    try:
        found = plans(
            client, loaded.fleet, settings.policy, SystemClock(), namespace=settings.namespace, parent=parent,
            fleet_share=settings.max_unhealthy_fleet,
        )  # fmt: skip
    except (ApiError, Undecodable) as error:
        sys.stderr.write(f"muster: {error}\nmuster: `muster check` says what is missing\n")
        return ExitCode.CHECK_FAILED
    finally:
        client.close()
    if as_json:
        sys.stdout.write(in_json(found))
    else:
        Console(soft_wrap=not sys.stdout.isatty()).print(in_lines(found))
    return ExitCode.OK if found.nothing else ExitCode.TO_DO


# --- drawing ----------------------------------------------------------------------------------------------------------
def in_json(found: Plans) -> str:
    """For programs."""
    shown = {
        "schema": 1, "nothing": found.nothing, "parents": found.parents, "children": found.children,
        "plans": list(found.views), "problems": list(found.problems),
    }  # fmt: skip
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"


def in_lines(found: Plans) -> Any:
    """For people: what rich draws."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PARENT", "WHAT", "FROM", "TO"):
        table.add_column(name, overflow="fold")
    busy = [view for view in found.views if not view["nothing"]]
    for view in busy[:LINES_MAX]:
        name = view["parent"]
        for each in view["status"]:
            table.add_row(Text(name), Text(each["field"]), Text(_text(each["stands"])), Text(_text(each["wanted"])))
            name = ""
        for each in view["repairs"]:
            table.add_row(Text(name), Text(f"repair {each['kind']}/{each['child']}"), Text(""), Text(each["why"]))
            name = ""
        for each in view["events"]:
            table.add_row(Text(name), Text(f"Event {each['reason']}"), Text(""), Text(each["note"]))
            name = ""
    parts: list[Any] = [table] if busy else []
    if len(busy) > LINES_MAX:
        parts.append(Text(f"and {len(busy) - LINES_MAX} parents more: --json has all"))
    parts += [Text(f"not read: {problem}") for problem in found.problems[:20]]
    repairs = sum(view["asked_anew"] for view in found.views)
    verdict = f"{len(busy)} of {len(found.views)} parents would change, {repairs} repairs would be asked for"
    parts.append(
        Text(verdict if busy else f"nothing to do for {len(found.views)} parents; {found.children} children seen")
    )
    return Group(*parts)


def _text(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
