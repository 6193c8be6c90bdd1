"""The settings: one table, in which each carries its form, default, range, effect and the reason for its number.

``Settings`` is the table: a field's ``setting(...)`` gives everything but the names, and those follow from the
attribute: ``batch_quiet_s`` is the flag ``--batch-quiet``, the variable ``MUSTER_BATCH_QUIET`` and the key
``batchQuiet`` of the configuration file (camelCase, because the Cluster's spec writes the same words so).
``settings_load`` reads them from the three places; ``docs/settings.md``, the help texts and ``muster config`` are made
from ``TABLE``.

All durations are seconds (``_s``). "Arbitrary" is said where a number is.
"""

from __future__ import annotations

from attrs import frozen

from ..core.fleet_rules import KEY
from ..core.model import Policy, Share
from ..core.quantity import Quota
from .setting import (
    Setting,
    address,
    choice,
    choice_or_name,
    duration,
    http_url,
    quota,
    setting,
    settings_of,
    share,
    socket_path,
    text,
    whole,
    yes_no,
)

API, BACKEND, FLEET, ENGINE, PEOPLE = GROUPS = (
    "The API server",
    "The backend",
    "Every Cluster",
    "The engine",
    "Health, metrics, logs",
)


@frozen(kw_only=True)
class Settings:
    """All settings, typed. Made by ``settings_load.load``; the defaults alone are a valid object, too."""

    # --- the API server -----------------------------------------------------------------------------------------------
    kubeconfig: str = setting(
        API,
        text("FILE", "a path of at most 4096 characters"),
        "",
        effect="The kubeconfig file. Unset: $KUBECONFIG, else the pod's own service account, else ~/.kube/config.",
        reason="The order in which kubectl and client-go look.",
    )
    context: str = setting(
        API,
        text("NAME", "the name of a context of the kubeconfig"),
        "",
        effect="The context of the kubeconfig. Unset: its current-context.",
        reason="As kubectl.",
    )
    namespace: str = setting(
        API,
        text(
            "NAME",
            "a namespace's name (lower case letters, digits and -), or nothing for all",
            r"([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?",
        ),
        "",
        effect="Watch this namespace only; a Role there is then enough. Unset: all namespaces.",
        reason="One operator serves the cluster; one namespace is for trials and shared clusters.",
    )
    fleet: str = setting(
        API,
        text("FLEET", "a path, or MODULE:NAME, of at most 4096 characters"),
        "",
        effect=(
            "What a fleet is (parents, children, health, repairs): a file (docs/fleets.md), or MODULE:NAME or file.py:NAME, a "
            "fleet declared in Python (docs/python.md). What it sets of the settings holds where nothing else says so. Unset: "
            "Clusters with ComputeNodes and StorageNodes."
        ),
        reason="The built-in fleet is what the custom resource definitions in manifests/crd are for.",
    )
    audit_interval_s: float | None = setting(
        API,
        duration("1m", "24h", none="off"),
        "30m",
        effect=(
            "How often names, uids and versions are compared with the server by a paged list; differences are "
            "repaired and counted."
        ),
        reason=(
            "A difference is a bug, so it is rare; half an hour bounds it and costs one list of each kind per half "
            "hour."
        ),
    )
    reader: str = setting(
        API,
        choice("auto", "thread", "process"),
        "auto",
        effect=(
            "Where nodes are read. process: each kind by a process of its own, some 50 MiB and a second copy of its records. "
            "auto: so from 20,000 nodes of a kind on, where there is a second processor; how many there are is asked once, at "
            "the start."
        ),
        reason=(
            "A thread is enough for small fleets; beside busy actors it keeps a fifth of its speed, and takes theirs. 20,000 "
            "nodes that beat each 10 s are an eighth of that."
        ),
    )
    # --- the backend --------------------------------------------------------------------------------------------------
    backend: str = setting(
        BACKEND,
        choice_or_name("http", "ec2", "kubernetes", "none"),
        "http",
        effect=(
            "Who repairs. http: a batch service at --backend-url. ec2: Amazon EC2, by RebootInstances (docs/ec2.md); needs "
            "muster-operator[ec2]. kubernetes: the child's own controller, which is told on the API server (docs/backends.md). "
            "none: nobody; nodes are counted. MODULE:NAME: what NAME of that Python module answers when "
            "it is called without arguments, an adapter of your own (docs/backends.md)."
        ),
        reason="Any service can be put behind HTTP.",
    )
    backend_url: str = setting(
        BACKEND,
        http_url(),
        "",
        effect="The batch service; calls go to URL/v1/nodes:batchRepair. `run` requires it where --backend is http.",
        reason="There is no address that would be right by default.",
    )
    ec2_instance_field: str = setting(
        BACKEND,
        text("PATH", "a path such as providerID or spec.providerID", r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"),
        "providerID",
        effect=(
            "Where an item (a fleet's repair.item) names its instance: a provider ID, the id alone, or a text with the id in "
            "it. For --backend ec2."
        ),
        reason="What Nodes call it; with a fleet of one's own it is whatever its file says.",
    )
    ec2_terminate_from: int | None = setting(
        BACKEND,
        whole(2, 100, off=True),
        "off",
        effect=(
            "From this attempt at one node's trouble on, its instance is terminated instead of rebooted. Attempts are counted "
            "by the process. For --backend ec2."
        ),
        reason="Off, because an instance that is terminated does not come back unless something replaces it.",
    )
    kubernetes_annotation: str = setting(
        BACKEND,
        text("KEY", "a key such as cluster.x-k8s.io/remediate-machine", rf"({KEY})?"),
        "",
        effect=(
            "Which annotation asks a child's own controller to repair it; its value is the item's key. Unset: the child is "
            "deleted, for its controller to replace. For --backend kubernetes."
        ),
        reason="Deletion is what every controller of replaceable objects acts on.",
    )
    backend_token_file: str = setting(
        BACKEND,
        text("FILE", "a path of at most 4096 characters"),
        "",
        effect=(
            "A file that holds a bearer token for the backend; read again for each call, so it may be rotated. Unset: "
            "none is sent."
        ),
        reason="A file, because flags and variables are seen by everybody who may look at the process.",
    )
    quota: Quota = setting(  # noqa: RUF009 - an attrs field, not a value
        BACKEND,
        quota(100_000, "10ms", "24h"),
        "10/1s",
        effect=(
            "In no window of that length do more calls arrive at the backend than that: the quota of the service, not "
            "a wish."
        ),
        reason="Arbitrary but harmless: with 100 nodes to a call it repairs 1,000 nodes a second.",
    )
    batch_max: int = setting(
        BACKEND,
        whole(1, 10_000),
        "100",
        effect="At most so many nodes in one call.",
        reason="What most batch services take; a call of 100 is some 20 kB.",
    )
    batch_quiet_s: float = setting(
        BACKEND,
        duration("0s", "1m"),
        "50ms",
        effect=(
            "While the quota is idle, a batch that is not full leaves after so long; while it is scarce, batches wait "
            "up to 1.5 windows per call."
        ),
        reason="Long enough for the parents of one failure to meet in one call, short beside the debounce.",
    )
    backend_timeout_s: float = setting(
        BACKEND,
        duration("100ms", "10m"),
        "10s",
        effect="How long a call may take; then its outcome is unknown and its nodes are sent again with the same keys.",
        reason=(
            "Several times what a batch service needs, and short enough that a drain within --grace sees the answers."
        ),
    )
    backend_lateness_s: float = setting(
        BACKEND,
        duration("0s", "10m"),
        "5s",
        effect=(
            "How long after its timeout a call may still arrive at the backend (proxies, retransmission); its slot of "
            "the quota is kept so long."
        ),
        reason=(
            "Covers TCP's first retransmissions (0.2 to 3 s). Set 0s only where nothing lies between the operator and "
            "the backend."
        ),
    )
    calls_in_flight_max: int = setting(
        BACKEND,
        whole(1, 256),
        "10",
        effect="At most so many calls wait for their answers at a time; a thread each.",
        reason="The default quota may leave in one go; raise it when quota × answer time is larger.",
    )
    cold_start_s: float | None = setting(
        BACKEND,
        duration("0s", "24h", none="auto"),
        "auto",
        effect=(
            "How long a fresh process sends nothing, because an earlier one may just have used the quota. auto: the "
            "quota's window + --backend-timeout + --backend-lateness. DANGER: anything shorter breaks the quota after "
            "a crash; 0s is for a backend that no earlier process can have called (a test, a demo)."
        ),
        reason="By then every call of an earlier process has arrived and left the window.",
    )
    # --- every Cluster: where its spec is silent ----------------------------------------------------------------------
    heartbeat_timeout_s: float | None = setting(
        FLEET,
        duration("1s", "24h", none="off"),
        "off",
        effect="A node that is silent for longer counts as unknown and is repaired.",
        reason=(
            "Off, because not every fleet sends heartbeats; six missed ones (60s for one in 10s) is a good first value."
        ),
        spec="spec.heartbeatTimeout",
    )
    debounce_s: float = setting(
        FLEET,
        duration("0s", "1m"),
        "100ms",
        effect="A Cluster is counted again when nothing of it has changed for so long.",
        reason="One failure shows as a burst of changes within some tens of milliseconds; people do not notice 100 ms.",
        spec="spec.debounce.quiet",
    )
    debounce_max_s: float = setting(
        FLEET,
        duration("0s", "10m"),
        "2s",
        effect="… and at the latest so long after the first change, however many follow.",
        reason="A Cluster under constant change would never be counted otherwise; 2 s is what a person waits for.",
        spec="spec.debounce.max",
    )
    max_unhealthy: Share = setting(  # noqa: RUF009 - an attrs field, not a value
        FLEET,
        share(),
        "50%",
        effect=(
            "The valve: while more nodes than that are unhealthy or silent, none is repaired, and a condition and an "
            "Event say so. A percentage never holds back three nodes or fewer; 100% opens the valve for good, one Cluster's "
            "annotation muster.dev/valve-override-until (an instant) both valves for a while."
        ),
        reason="When half of a fleet fails at once, the fault is rarely the nodes'; Cluster Autoscaler's floor of three.",
        spec="spec.repair.maxUnhealthy",
    )
    max_unhealthy_fleet: Share = setting(  # noqa: RUF009 - an attrs field, not a value
        FLEET,
        share(),
        "50%",
        effect=(
            "The valve over all Clusters: while more of all nodes need repair, no call begins; it opens once fewer have "
            "needed one for a minute. A percentage never holds back ten nodes or fewer; 100%: there is none."
        ),
        reason=(
            "When half of everything fails at once, the fault is ours, or of something that all share. Each Cluster's own "
            "valve does not see it where Clusters are small."
        ),
    )
    cooldown_s: float = setting(
        FLEET,
        duration("1s", "24h"),
        "5m",
        effect="How long after the backend's answer a node that is still unwell is asked for again.",
        reason="A repair (a reboot, a new machine) takes minutes to show.",
        spec="spec.repair.cooldown",
    )
    cooldown_max_s: float = setting(
        FLEET,
        duration("1s", "24h"),
        "1h",
        effect="The cooldown doubles with each attempt at one trouble of a node, up to this.",
        reason="What has not helped three times is not urgent; an hour keeps a node that nobody looks at from being forgotten.",
    )
    max_attempts: int | None = setting(
        FLEET,
        whole(1, 1000, off=True),
        "5",
        effect=(
            "A node that stays unwell after so many attempts is not asked for again; a condition of its Cluster and an Event "
            "on it say so. It has new ones once it has been well for as long as the last one had to cool down."
        ),
        reason="With the default cooldown five attempts take an hour and a quarter; a sixth reboot only wears a node out.",
        spec="spec.repair.maxAttempts",
    )
    min_healthy: int = setting(
        FLEET,
        whole(0, 1_000_000),
        "1",
        effect="The condition Available is True while so many nodes or more are healthy.",
        reason="One is the least that anybody means by available.",
        spec="spec.minHealthy",
    )
    repair_enabled: bool = setting(
        FLEET,
        yes_no(),
        "true",
        effect="false: count only, repair nothing.",
        reason="Repairing is what the operator is for; the valve guards it.",
        spec="spec.repair.enabled",
    )
    max_in_flight: int | None = setting(
        FLEET,
        whole(1, 1_000_000, off=True),
        "off",
        effect="At most so many nodes of one Cluster are in calls at a time.",
        reason="Off: the valve and the quota limit already.",
        spec="spec.repair.maxInFlight",
    )
    # --- the engine ---------------------------------------------------------------------------------------------------
    workers: int = setting(
        ENGINE,
        whole(1, 64),
        "2",
        effect="Threads that run the actors.",
        reason="Python runs one at a time, so a second only covers for one that is held up; more cost throughput.",
    )
    idle_s: float = setting(
        ENGINE,
        duration("1s", "24h"),
        "5m",
        effect="A Cluster's actor sleeps after so long without a change, and wakes with the next one.",
        reason="Arbitrary: it saves memory only. The records stay, so waking costs no API call.",
    )
    restarts_max: int = setting(
        ENGINE,
        whole(0, 1000),
        "5",
        effect=(
            "A supervisor that has restarted one of its children so often within --restarts-period gives up, and the "
            "process exits with code 4; a Cluster's actor is quarantined instead."
        ),
        reason="A fault that outlives five restarts with growing pauses is not passing; a fresh process is the next cure.",
    )
    restarts_period_s: float = setting(
        ENGINE,
        duration("1s", "1h"),
        "60s",
        effect="The period of --restarts-max.",
        reason="Longer than the backoffs of the restarts counted in it, else they could never add up.",
    )
    wedge_after_s: float = setting(
        ENGINE,
        duration("1s", "1h"),
        "30s",
        effect=(
            "An actor that has had one message in hand for longer is given up for stuck: its thread is abandoned, the "
            "actor restarted."
        ),
        reason="Actors do no I/O, so a message takes milliseconds; 30 s allows for a paused machine.",
    )
    grace_s: float = setting(
        ENGINE,
        duration("1s", "1h"),
        "25s",
        effect=(
            "How long SIGTERM's drain may take: calls in flight are awaited, last statuses written. Less than the "
            "pod's terminationGracePeriodSeconds."
        ),
        reason="Kubernetes kills after 30 s by default; 5 s are kept for the exit itself.",
    )
    shadow: bool = setting(
        ENGINE,
        yes_no(),
        "false",
        effect=(
            "Write nothing: no status, no Event, no call. Run beside a live operator, and count how its statuses compare with "
            "what would have been written here. All other figures tell of what would have been done."
        ),
        reason="A trial of a new version or of other settings must be asked for.",
    )
    # --- for people ---------------------------------------------------------------------------------------------------
    listen: str = setting(
        PEOPLE,
        address(),
        "0.0.0.0:8080",
        effect="Where /healthz, /readyz and /metrics are served; off: nowhere.",
        reason="The port of the Deployment's probes.",
    )
    log_format: str = setting(
        PEOPLE,
        choice("auto", "json", "console"),
        "auto",
        effect="auto: readable on a terminal, else one JSON object a line.",
        reason="Each reader gets what it can read.",
    )
    log_level: str = setting(
        PEOPLE,
        choice("debug", "info", "warning", "error"),
        "info",
        effect="The least severe lines that are written. debug writes a line for each reconcile and each status.",
        reason="info says what happens to streams, calls and restarts, and nothing per node.",
    )
    shell_socket: str = setting(
        PEOPLE,
        socket_path(),
        "auto",
        effect=(
            "Where `muster shell` finds the running operator: a Unix socket for this user and root alone, in a folder that "
            "nobody else may write. auto: PID.sock in /run/muster/UID where /run/muster can be written (the pod), else in "
            "muster-UID of the temporary folder."
        ),
        reason="No port: who may reach it is who may be this user there, or has the right to `kubectl exec`.",
    )
    shell_changes: bool = setting(
        PEOPLE,
        yes_no(),
        "false",
        effect="true: commands of the shell may change something (pause, kick, restart …), each with a reason on record.",
        reason="Looking is harmless; whoever is to change the operator beside the API server's own rights should be meant to.",
    )
    record: str = setting(
        PEOPLE,
        text("FILE", "a path of at most 4096 characters"),
        "",
        effect=(
            "Record everything that reaches the operator and the order of its turns from the start on, for `replay`. "
            "SIGUSR2 switches recording on and off while it runs, with or without this. A file that is there is kept: "
            "the next one is FILE.2, up to FILE.9."
        ),
        reason="Off: while it is on, the actors need more than twice the CPU time, and some 500 bytes of disk a change.",
    )
    record_max_mib: int = setting(
        PEOPLE,
        whole(1, 100_000),
        "256",
        effect="A tape ends when it has so many MiB.",
        reason="Arbitrary: half a million changes, and small enough (a tenth of that, packed) to send to somebody.",
    )

    @property
    def cold_start_full_s(self) -> float:
        """The cold start that no earlier process can outlast: W + timeout + lateness."""
        return self.quota.window_s + self.backend_timeout_s + self.backend_lateness_s

    @property
    def cold_start_in_force_s(self) -> float:
        """``cold_start_s``, with ``auto`` worked out."""
        return self.cold_start_full_s if self.cold_start_s is None else self.cold_start_s

    @property
    def policy(self) -> Policy:
        """What holds for a parent whose spec is silent."""
        return Policy(
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            debounce_quiet_s=self.debounce_s,
            debounce_max_s=self.debounce_max_s,
            min_healthy=self.min_healthy,
            repair_enabled=self.repair_enabled and self.backend != "none",
            max_unhealthy=self.max_unhealthy,
            cooldown_s=self.cooldown_s,
            cooldown_max_s=self.cooldown_max_s,
            attempts_max=self.max_attempts,
            in_flight_max=self.max_in_flight,
        )

    @property
    def listen_address(self) -> tuple[str, int] | None:
        """Host (without brackets) and port to listen at; None for nowhere."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


TABLE: tuple[Setting, ...] = settings_of(Settings)
