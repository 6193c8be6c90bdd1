"""``muster demo``: the main job with nothing installed, and a verdict on it at the end.

An embedded API server, an embedded backend and a fleet of simulated users run as processes of their own; the operator runs
in this one, by the very function that ``run`` calls, over real HTTP. When the time is over it gets the signal that a pod
would get, and drains. Then the servers end, and ``report`` judges what happened by their logs alone.

Three threads: the main thread is the operator's (it waits for signals, as in a pod); the *director* starts the users once
the operator is ready, watches the processes and ends the run; the *viewer* draws. The children hold our end of a pipe as
their standard input, so they end with us however we end. They are in sessions of their own, because Ctrl-C at a terminal
goes to a whole process group, and the servers must outlive the operator's drain.

``--for`` is the time from the moment at which the fleet is complete to the drain. In its last part (``settle_s``) nothing new
befalls the fleet, so that every silence and repair under way comes to its end and every status can be judged.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import click
from attrs import define, evolve, field
from click.core import ParameterSource

from ..core.builtin import MUSTER_FLEET
from ..core.fleet import FleetDefinition
from ..core.ports import Facts
from ..core.quantity import parse_duration, parse_quota
from ..edge.settings import Settings
from ..edge.settings_load import Loaded, load
from .demo_cast import START_S, STOP_S, Cast, Interrupt, Interrupted
from .demo_summary import Options, Outcome, document, print_report
from .engine import RealEngine
from .exit_codes import ExitCode
from .report import ACCESSES, BACKEND, OBJECTS, Terms, judge, read_logs
from .run import Both, run_operator
from .view import Glance, Tally, glance, line, picture

HEAL_AFTER_S = 1.2  # from the execution of a repair to the node's good report
CREATE_S = 10.0  # for the fleet to be there, and a hundredth of a second more for each node
GRACE_S = 5  # of the drain: a demo's calls take milliseconds
LOOK_S = 0.1
DRAW_S = 0.25
PLAIN_S = 1.0
OPERATOR_LOG = "operator.jsonl"


def settle_s(for_s: float) -> float:
    """How much of the time is quiet at the end: heartbeat timeout, repair and recovery take some five seconds."""
    return min(6.0, 0.4 * for_s)


@define(eq=False)
class Stage:
    """What the threads share. Instants are seconds of the monotonic clock; each field has one writer."""

    options: Options
    cast: Cast
    interrupt: Interrupt
    api_url: str
    tally: Tally = field(factory=Tally)
    engine: DemoEngine | None = None
    began_s: float | None = None  # the fleet is complete, and the first deeds begin
    drained_from_s: float | None = None  # the operator was asked to end
    on_time: bool = False  # … by us
    failure: str = ""

    def left_s(self) -> float | None:
        """Until the drain; None where nothing ends it but a signal."""
        if self.options.for_s is None or self.began_s is None:
            return self.options.for_s
        return self.began_s + self.options.for_s - time.monotonic()


class DemoEngine(RealEngine):
    """The operator's engine, which also tells when it starts and drains, and may be looked at."""

    def __init__(
        self, settings: Settings, facts: Facts, stage: Stage, *, fleet: FleetDefinition = MUSTER_FLEET
    ) -> None:  # fmt: skip
        super().__init__(settings, Both((facts, stage.tally)), fleet=fleet)
        self._stage = stage
        self._quota = settings.quota

    def start(self) -> None:
        """As ``run``; then the director may begin. A signal that came before ``run`` took them is not lost."""
        super().start()
        self._stage.engine = self
        if self._stage.interrupt.asked:
            signal.raise_signal(signal.SIGTERM)

    def drain(self, calls_s: float, statuses_s: float) -> list[str]:
        """As ``run``. Where the time is over anyway, a Ctrl-C in these last moments adds nothing."""
        self._stage.drained_from_s = time.monotonic()
        if self._stage.on_time:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return super().drain(calls_s, statuses_s)

    def look(self, ran_s: float, left_s: float | None) -> Glance:
        """For the view. Any thread."""
        cells, parents = dict(self._system.cells()), self._system.store.all_parents()
        found = glance(
            cells=cells, parents=parents, tally=self._stage.tally, quota=self._quota, ran_s=ran_s, left_s=left_s
        )
        return evolve(found, parents=self._system.fleet.parent.plural)


# --- the director -----------------------------------------------------------------------------------------------------
def direct(stage: Stage, over: threading.Event) -> None:
    """The director's thread: the users come when the operator is ready; the end comes with the time or a trouble."""
    try:
        until_s = time.monotonic() + START_S
        invited = False
        while not over.wait(LOOK_S):
            engine = stage.engine
            ready, why = engine.ready() if engine is not None else (False, ["it did not start"])
            if not invited and ready:
                _invite(stage)
                invited, until_s = (
                    True,
                    time.monotonic() + CREATE_S + 0.01 * stage.options.clusters * stage.options.nodes,
                )
            if invited and stage.began_s is None and stage.cast.said("fleet", "created") is not None:
                stage.began_s = time.monotonic()
            if stage.began_s is None and time.monotonic() > until_s:
                stage.failure = (
                    f"the operator is not ready: {'; '.join(why)}" if not invited else "the fleet is not complete yet"
                )
            for name in stage.cast.ended():
                stage.failure = stage.cast.trouble(name, "ended before its time")
            left_s = stage.left_s() if stage.began_s is not None else None
            if stage.failure or (left_s is not None and left_s <= 0):
                stage.on_time = True
                end_operator()
                return
    except Exception as error:
        stage.failure = f"the demo itself failed: {error!r}"
        end_operator()
        raise


def _invite(stage: Stage) -> None:
    """Start the users' process."""
    options = stage.options
    arguments: list[object] = ["--api-url", stage.api_url, "--seed", options.seed]
    arguments += ["--clusters", options.clusters, "--nodes", options.nodes]
    if options.for_s is not None:
        arguments += ["--change-for", round(options.for_s - settle_s(options.for_s), 3)]
    stage.cast.start("fleet", "ops.demo_fleet", *arguments)


def end_operator() -> None:
    """What the kubelet would do."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGTERM)


# --- the viewer -------------------------------------------------------------------------------------------------------
def show(stage: Stage, over: threading.Event, hint: str, out: TextIO) -> None:
    """The viewer's thread, until ``over``: a live picture on a terminal, else a line a second."""
    began_s = time.monotonic()

    def look() -> Glance | None:
        return stage.engine.look(time.monotonic() - began_s, stage.left_s()) if stage.engine is not None else None

    if stage.options.plain or not out.isatty():
        while not over.wait(PLAIN_S):
            if (looked := look()) is not None:
                print(line(looked), file=out, flush=True)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=out)
    with Live(
        console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as live:
        while not over.wait(DRAW_S):
            if (looked := look()) is not None:
                live.update(picture(looked, height=console.size.height, hint=hint), refresh=True)


# --- the whole --------------------------------------------------------------------------------------------------------
def play(options: Options, out: TextIO) -> int:
    """One demo, from the servers' start to the summary; the exit code. Main thread only."""
    with Interrupt() as interrupt, folder_of(options.keep_logs) as folder:
        try:
            with Cast(folder, interrupt) as cast:
                stage, loaded, code = _perform(options, folder, cast, interrupt, out)
        except Interrupted:
            return _nothing_to_judge(options, out)
        if stage.failure or stage.drained_from_s is None:
            keep(folder, options)
            raise click.ClickException(f"{stage.failure or ExitCode(code).meaning}\nThe logs are in {folder}")
        if stage.began_s is None:
            return _nothing_to_judge(options, out)
        report = judge(read_logs(folder), _terms(options, loaded.settings, stage.drained_from_s))
        code = code if report.ok else ExitCode.PROMISE_BROKEN
        if not report.ok:
            keep(folder, options)
        outcome = Outcome(
            options=options,
            ran_s=stage.drained_from_s - stage.began_s,
            interrupted=not stage.on_time,
            restarts=stage.tally.restarts,
            code=int(code),
        )
        if options.as_json:
            print(json.dumps(document(report, outcome), indent=2), file=out)
        else:
            print_report(report, outcome, folder if options.keep_logs or not report.ok else None, out)
        return code


def _nothing_to_judge(options: Options, out: TextIO) -> int:
    if not options.as_json:
        print("ended before it began: there is nothing to judge", file=out)
    return ExitCode.OK


def operator_flags(options: Options, kubeconfig: Path, backend_url: str) -> dict[str, str]:
    """The demo's own operator. No variable of the caller's is read: it is the same for everybody.

    Cold start 0: nobody called this backend before.
    """
    return {
        "kubeconfig": str(kubeconfig), "backend-url": backend_url, "quota": str(options.quota),
        "batch-max": str(options.batch_max), "cold-start": "0s", "listen": "off", "grace": f"{GRACE_S}s",
        "log-format": "json",
    }  # fmt: skip


def tell_where(stage: Stage, kubeconfig: Path, parents: str, out: TextIO) -> str:
    """The command that shows the parents meanwhile; who reads along is told it."""
    hint = f"kubectl --kubeconfig {kubeconfig} get {parents} -w"
    if not stage.options.as_json:
        head = f"API server {stage.api_url}, kubeconfig {kubeconfig}; look for yourself meanwhile:"
        print(f"{head}\n  {hint}\n", file=out, flush=True)
    return hint


def _perform(
    options: Options, folder: Path, cast: Cast, interrupt: Interrupt, out: TextIO
) -> tuple[Stage, Loaded, int]:
    """Servers, operator, users; returns when all but the servers have ended, and the logs are whole once ``cast`` is left."""
    kubeconfig = folder / "kubeconfig"
    quota = ("--quota", str(options.quota), "--batch-max", options.batch_max)
    logs = ("--log", folder / ACCESSES, "--object-log", folder / OBJECTS)
    cast.start("api", "sim.serve_api", "--kubeconfig", kubeconfig, *logs)
    api_url = cast.wait("api", "ready")
    heal = ("--heal-after", HEAL_AFTER_S, "--api-url", api_url)
    cast.start("backend", "sim.serve_backend", *quota, *heal, "--log", folder / BACKEND)
    loaded = load(operator_flags(options, kubeconfig, cast.wait("backend", "ready")))
    stage = Stage(options=options, cast=cast, interrupt=interrupt, api_url=api_url)
    hint = tell_where(stage, kubeconfig, "mcl", out)
    over = threading.Event()
    threads = [threading.Thread(target=direct, args=(stage, over), name="demo-director", daemon=True)]
    if not options.as_json:
        threads.append(threading.Thread(target=show, args=(stage, over, hint, out), name="demo-viewer", daemon=True))
    with (folder / OPERATOR_LOG).open("w") as log, contextlib.redirect_stderr(log):
        for thread in threads:
            thread.start()
        try:
            code = run_operator(loaded, build=lambda settings, facts: DemoEngine(settings, facts, stage))
        finally:
            over.set()
            for thread in threads:
                thread.join(STOP_S)
    return stage, loaded, code


def _terms(options: Options, settings: Settings, until_s: float) -> Terms:
    """Quota and batch are the backend's own, whatever the operator makes of them."""
    return Terms(
        quota_calls=options.quota.calls,
        window_s=options.quota.window_s,
        batch_max=options.batch_max,
        until_s=until_s,
        stale_max_s=settings.debounce_max_s + 1.0,
        cooldown_s=settings.cooldown_s,
        timeout_s=settings.heartbeat_timeout_s,
        max_unhealthy=str(settings.max_unhealthy),
    )


@contextlib.contextmanager
def folder_of(wanted: Path | None) -> Iterator[Path]:
    """Where logs and kubeconfig go: a folder of the caller's, or one that is removed again (unless ``keep`` was called)."""
    if wanted is not None:
        try:
            wanted.mkdir(parents=True, exist_ok=True)
            for name in (OBJECTS, ACCESSES, BACKEND):
                (wanted / name).unlink(missing_ok=True)
        except OSError as error:
            raise click.ClickException(
                f"--keep-logs {wanted}: {error.strerror}: name a folder that may be written"
            ) from error
        yield wanted.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="muster-demo-"))
    try:
        yield folder
    finally:
        if not (folder / _KEPT).exists():
            shutil.rmtree(folder, ignore_errors=True)


_KEPT = "kept"


def keep(folder: Path, options: Options) -> None:
    """What went wrong can be looked at afterwards."""
    if options.keep_logs is None:
        (folder / _KEPT).touch()


# --- the command ------------------------------------------------------------------------------------------------------
def _read(reader: Callable[[object], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """The loader's own words for what is wrong; click adds the option's name."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else reader(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


@click.command(name="demo")
@click.option(
    "--for", "for_s", metavar="DURATION", callback=_read(parse_duration),
    help="How long the fleet lives, such as 20s (at least 2s); the last part of it is quiet.  [default: until Ctrl-C]",
)  # fmt: skip
@click.option("--clusters", type=click.IntRange(1, 1000), default=8, show_default=True, help="How many clusters.")
@click.option(
    "--nodes", type=click.IntRange(1, 1000), default=25, show_default=True, help="Nodes in each, of both kinds."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed: the same deeds at the same times.")
@click.option("--plain", is_flag=True, help="A line a second instead of the live view (as where there is no terminal).")
@click.option("--json", "as_json", is_flag=True, help="Nothing but the summary, as one JSON document.")
@click.option(
    "--quota", metavar="CALLS/DURATION", default="10/1s", show_default=True, callback=_read(parse_quota),
    help="The backend's quota, and the operator's.",
)  # fmt: skip
@click.option(
    "--batch-max", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Nodes per call at most."
)
@click.option(
    "--keep-logs", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Leave logs and kubeconfig in that folder; those of an earlier demo there are overwritten.",
)  # fmt: skip
@click.option(
    "--fleet", "fleet", default="", metavar="FLEET",
    help="A fleet of your own instead, as run takes it: without simulated users and promises, until you end it.",
)  # fmt: skip
@click.option(
    "--objects", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="YAML of objects that are there at the beginning; for --fleet.",
)  # fmt: skip
def demo_command(fleet: str, objects: Path | None, **given: Any) -> None:
    """The main job with nothing installed: the operator against an embedded API server and backend, with a summary.

    Clusters of nodes send heartbeats, fail, recover, fall silent, move, go and come. At the end the servers' own logs
    tell whether every promise was kept; if not, the exit code is 7. Ctrl-C ends it early, with the summary.
    """
    options = Options(**given)
    if objects is not None and not fleet:
        raise click.UsageError("--objects needs --fleet: the built-in fleet has users of its own")
    if fleet:
        from .demo_own import play_own

        context = click.get_current_context()
        given_by_user = {name for name in given if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
        if users := given_by_user & {"clusters", "nodes", "seed"}:
            raise click.UsageError(f"--{min(users)} is about the built-in fleet's users: leave it out beside --fleet")
        sys.exit(int(play_own(fleet, objects, options, given_by_user, sys.stdout)))
    if options.for_s is not None and options.for_s < 2:
        raise click.BadParameter("found less than 2s, expected at least that: nothing would happen", param_hint="--for")
    sys.exit(int(play(options, sys.stdout)))
