"""``muster demo --fleet FLEET``: somebody's own fleet on the demo's embedded API server and backend, over real HTTP.

The API server has the definitions of the fleet's kinds (others, such as Pods, it takes as they come) and the objects of
``--objects``. The operator is the one of ``run``. A machine that the backend has repaired reports a moment later that it is
well, by what the definition reads of it; a person may do the same with ``kubectl`` or ``curl`` meanwhile. At the end stands
what each parent's status says, and what was repaired. Threads and processes are the demo's (``demo``).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click
import yaml
from attrs import evolve

from ..core.errors import ApiError, SettingsError
from ..core.fleet import FleetDefinition, KindRef
from ..core.fleet_rules import near
from ..core.ports import Facts
from ..edge.fleet_python import settings_of
from ..edge.kube import KubeClient
from ..edge.settings import Settings
from ..edge.settings_load import Loaded, load
from ..sim.kinds import PLAIN
from ..sim.reports import report, status_in
from .definitions import definitions
from .demo import (
    HEAL_AFTER_S,
    LOOK_S,
    OPERATOR_LOG,
    DemoEngine,
    Stage,
    end_operator,
    folder_of,
    keep,
    operator_flags,
    show,
    tell_where,
)
from .demo_cast import STOP_S, Cast, Interrupt, Interrupted
from .demo_summary import Options
from .exit_codes import ExitCode
from .report import BACKEND
from .rights import kinds_read
from .run import run_operator

__all__ = ["play_own"]

READY_S = 20.0
_MERGE = "application/merge-patch+json"
_NAMESPACES = KindRef(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)


def play_own(fleet: str, objects: Path | None, options: Options, given: Container[str], out: TextIO) -> int:
    """One demo of that fleet; the exit code. ``SettingsError`` before anything starts. Main thread only.

    Quota and batch are the fleet's, but for those ``given`` on the command line.
    """
    found = load({"fleet": fleet}).fleet
    settings = settings_of(found)
    options = evolve(
        options,
        quota=options.quota if "quota" in given else settings.quota,
        batch_max=options.batch_max if "batch_max" in given else settings.batch_max,
    )
    documents = _read(objects, found) if objects is not None else []
    with Interrupt() as interrupt, folder_of(options.keep_logs) as folder:
        try:
            with Cast(folder, interrupt) as cast:
                stage, code, lines = _perform(fleet, found, documents, options, folder, cast, interrupt, out)
        except Interrupted:
            return ExitCode.OK
        if stage.failure:
            keep(folder, options)
            raise click.ClickException(f"{stage.failure}\nThe logs are in {folder}")
        print(json.dumps(lines, indent=2) if options.as_json else _told(lines), file=out)
        return code


def _perform(
    name: str,
    fleet: FleetDefinition,
    documents: list[dict[str, Any]],
    options: Options,
    folder: Path,
    cast: Cast,
    interrupt: Interrupt,
    out: TextIO,
) -> tuple[Stage, int, dict[str, Any]]:
    kubeconfig = folder / "kubeconfig"
    cast.start("api", "sim.serve_api", "--kubeconfig", kubeconfig, *_kinds(fleet, folder))
    api_url = cast.wait("api", "ready")
    cast.start(
        "backend", "sim.serve_backend", "--quota", options.quota, "--batch-max", options.batch_max, "--any-item",
        "--operation", fleet.operation, "--log", folder / BACKEND,
    )  # fmt: skip
    flags = {"fleet": name, **operator_flags(options, kubeconfig, cast.wait("backend", "ready"))}
    if fleet.settings.get("backend") not in (None, "none"):
        flags["backend"] = "http"  # whoever it is in earnest, here it is the demo's own
    loaded = load(flags)
    kube = KubeClient(str(kubeconfig))
    for each in documents:
        _create(kube, fleet, each)
    stage = Stage(options=options, cast=cast, interrupt=interrupt, api_url=api_url)
    hint = tell_where(stage, kubeconfig, fleet.parent.plural, out)
    over = threading.Event()
    jobs: list[tuple[Any, tuple[Any, ...]]] = [
        (_direct, (stage, over)),
        (_heal, (stage, fleet, kube, folder / BACKEND, over)),
    ]
    if not options.as_json:
        jobs.append((show, (stage, over, hint, out)))
    code = _run(loaded, fleet, stage, folder, over, jobs)
    return stage, code, _summary(kube, fleet, folder / BACKEND)


def _run(
    loaded: Loaded,
    fleet: FleetDefinition,
    stage: Stage,
    folder: Path,
    over: threading.Event,
    jobs: list[tuple[Any, tuple[Any, ...]]],
) -> int:
    def build(settings: Settings, facts: Facts) -> DemoEngine:
        return DemoEngine(settings, facts, stage, fleet=fleet)

    threads = [threading.Thread(target=job, args=arguments, name="demo", daemon=True) for job, arguments in jobs]
    with (folder / OPERATOR_LOG).open("w") as log, contextlib.redirect_stderr(log):
        for thread in threads:
            thread.start()
        try:
            return run_operator(loaded, build=build)
        finally:
            over.set()
            for thread in threads:
                thread.join(STOP_S)


# --- what is there at the beginning -----------------------------------------------------------------------------------
def _kinds(fleet: FleetDefinition, folder: Path) -> list[object]:
    """The API server's arguments: definitions of the kinds that can have one, and all others by name."""
    (folder / "crds").mkdir(exist_ok=True)
    defined = definitions(fleet)
    (folder / "crds" / "fleet.yaml").write_text(yaml.safe_dump_all(defined), encoding="utf-8")
    known = {each["metadata"]["name"] for each in defined}
    others = [ref for ref, _ in kinds_read(fleet) if ref.resource not in known]
    plain = [{name: getattr(ref, name) for name in PLAIN} for ref in others]
    (folder / "kinds.json").write_text(json.dumps(plain), encoding="utf-8")
    return ["--crd-dir", folder / "crds", "--kinds", folder / "kinds.json"]


def _read(file: Path, fleet: FleetDefinition) -> list[dict[str, Any]]:
    """The objects in that file. ``SettingsError`` where it is no YAML, or has objects of kinds that are not there."""
    try:
        documents = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"--objects {file}: {' '.join(str(error).split())}") from error
    refs = _refs(fleet)
    for number, each in enumerate(documents, 1):
        kind = each.get("kind") if isinstance(each, Mapping) else None
        ref = refs.get(str(kind))
        if ref is None or each.get("apiVersion") != ref.api_version:
            found = f"{each.get('apiVersion')} {kind}" if isinstance(each, Mapping) else repr(each)[:40]
            known = ", ".join(f"{ref.api_version} {ref.kind}" for ref in refs.values())
            told = f"found {found}, expected one of {known}{near(str(kind), refs)}"
            raise SettingsError(f"--objects {file}: document {number}: {told}")
        metadata = each.get("metadata")
        if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
            raise SettingsError(f"--objects {file}: document {number}: found no metadata.name, expected one")
    return documents


def _refs(fleet: FleetDefinition) -> dict[str, KindRef]:
    return {ref.kind: ref for ref in (*(ref for ref, _ in kinds_read(fleet)), _NAMESPACES)}


def _create(kube: KubeClient, fleet: FleetDefinition, document: dict[str, Any]) -> None:
    """Create it, its status too, as its own controller would. ``SettingsError`` where the server refuses it."""
    ref = _refs(fleet)[document["kind"]]
    metadata = document["metadata"]
    where = metadata.get("namespace", "default") if ref.namespaced else ""
    try:
        made = kube.request("POST", ref.path(where), body=document).json()
        if "status" in document and ref != _NAMESPACES:
            body = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "status": document["status"]}
            kube.request("PATCH", f"{ref.path(where, metadata['name'])}/status", body=body, content_type=_MERGE)
    except ApiError as error:
        raise SettingsError(f"--objects: {ref.kind} {metadata['name']}: {error}") from error


# --- threads ----------------------------------------------------------------------------------------------------------
def _direct(stage: Stage, over: threading.Event) -> None:
    """Ends it when the time is over, which begins when the operator is ready, or when a server has ended."""
    until_s = time.monotonic() + READY_S
    while not over.wait(LOOK_S):
        engine = stage.engine
        ready, why = engine.ready() if engine is not None else (False, ["it did not start"])
        if stage.began_s is None and ready:
            stage.began_s = time.monotonic()
        if stage.began_s is None and time.monotonic() > until_s:
            stage.failure = f"the operator is not ready: {'; '.join(why)}"
        for name in stage.cast.ended():
            stage.failure = stage.cast.trouble(name, "ended before its time")
        left_s = stage.left_s() if stage.began_s is not None else None
        if stage.failure or (left_s is not None and left_s <= 0):
            stage.on_time = True
            end_operator()
            return


def _heal(stage: Stage, fleet: FleetDefinition, kube: KubeClient, log: Path, over: threading.Event) -> None:
    """Has each machine that was repaired report that it is well, a moment later."""
    due: list[tuple[float, str]] = []
    seen = 0
    while not over.wait(LOOK_S):
        executed = list(_executed(log))
        due += [(time.monotonic() + HEAL_AFTER_S, each["uid"]) for each in executed[seen:]]
        seen = len(executed)
        now_s = time.monotonic()
        for at_s, uid in due:
            if at_s <= now_s and stage.engine is not None:
                with contextlib.suppress(ApiError, ValueError):  # it is gone, or only its author knows what to write
                    _well(fleet, kube, stage.engine, uid)
        due = [each for each in due if each[0] > now_s]


def _well(fleet: FleetDefinition, kube: KubeClient, engine: DemoEngine, uid: str) -> None:
    for child in fleet.children:
        record = engine.system.store.children[child.ref.kind].get(uid)
        if record is not None:
            path = child.ref.path(record.namespace, record.name)
            obj = kube.request("GET", path).json()
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            patch = report(child, obj, healthy=True, now=now)
            for place, body in ((path, {k: v for k, v in patch.items() if k != "status"}), (f"{path}/status", patch)):
                if body:
                    kube.request("PATCH", place, body=body, content_type=_MERGE)


def _executed(log: Path) -> Iterator[dict[str, Any]]:
    """The repairs that the backend has carried out."""
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        with contextlib.suppress(ValueError):  # the last one may not be whole yet
            entry = json.loads(line)
            if entry["event"] == "execution":
                yield entry


# --- what came of it --------------------------------------------------------------------------------------------------
def _summary(kube: KubeClient, fleet: FleetDefinition, log: Path) -> dict[str, Any]:
    answer = kube.request("GET", fleet.parent.path()).json()
    parents = [
        {
            "namespace": each["metadata"].get("namespace", ""),
            "name": each["metadata"]["name"],
            "status": status_in(fleet, each),
        }
        for each in answer["items"]
    ]
    return {"fleet": fleet.name, "parents": parents, "repairs": len(list(_executed(log)))}


def _told(found: dict[str, Any]) -> str:
    count = found["repairs"]
    lines = [f"{found['fleet']}: {count} {'repair' if count == 1 else 'repairs'}"]
    for each in found["parents"]:
        status = each["status"]
        counts = ", ".join(f"{name} {value}" for name, value in status.items() if isinstance(value, int | str | bool))
        lines.append(f"  {each['namespace']}/{each['name']}: {counts or 'no status'}".replace(" /", " "))
        for condition in status.get("conditions", ()):
            told = condition["reason"] + (f": {condition['message']}" if condition["message"] else "")
            lines.append(f"    {condition['type']} {condition['status']} ({told})")
    return "\n".join(lines)
