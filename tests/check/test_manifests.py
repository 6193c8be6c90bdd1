"""What users apply keeps its promises: bounded schemas, least verbs, a restricted Pod, one writer. No server needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.core.builtin import MUSTER_FLEET
from actors.core.model import Policy
from actors.edge.settings import TABLE, Settings
from actors.sim.crds import crd_documents

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
CRDS = {document["metadata"]["name"]: document for document in crd_documents()}


def documents(folder: str) -> Iterator[dict[str, Any]]:
    for file in sorted((MANIFESTS / folder).rglob("*.yaml")):
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def only(folder: str, kind: str, name: str) -> dict[str, Any]:
    found = [each for each in documents(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)]

    assert len(found) == 1, f"{kind} {name} in manifests/{folder}"
    return found[0]


def schema(crd: dict[str, Any]) -> dict[str, Any]:
    (version,) = crd["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its dotted path."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from nodes(schema[word], f"{path}[]")


def at(crd: dict[str, Any], path: str) -> dict[str, Any]:
    return dict(nodes(schema(crd)))["." + path]


EVERY_NODE = [
    pytest.param(node, id=f"{name.partition('.')[0]}{path}")
    for name, crd in CRDS.items()
    for path, node in nodes(schema(crd))
    if path
]


# --- the resources ----------------------------------------------------------------------------------------------------
def test_every_kind_of_the_built_in_fleet_has_a_definition_and_no_other_has() -> None:
    expected = {
        f"{kind.plural}.{kind.group}": (kind.kind, kind.version, "Namespaced" if kind.namespaced else "Cluster")
        for kind in MUSTER_FLEET.kinds
    }

    assert expected == {
        name: (crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["name"], crd["spec"]["scope"])
        for name, crd in CRDS.items()
    }


@pytest.mark.parametrize("node", EVERY_NODE)
def test_every_field_is_bounded(node: dict[str, Any]) -> None:
    """An unbounded field makes a CEL rule unaffordable, and one object as large as the server takes."""
    assert "x-kubernetes-preserve-unknown-fields" not in node
    kind = "int-or-string" if node.get("x-kubernetes-int-or-string") else node["type"]
    wanted: dict[str, list[set[str]]] = {
        "string": [{"maxLength"}, {"enum"}, {"format"}],
        "integer": [{"minimum", "format"}],
        "array": [{"maxItems", "items", "x-kubernetes-list-type"}],
        "int-or-string": [{"maxLength", "pattern", "x-kubernetes-validations"}],
        "boolean": [set()],
        "object": [set()],
    }

    assert any(words <= node.keys() for words in wanted[kind]), sorted(node)


@pytest.mark.parametrize("name", list(CRDS))
def test_definitions_have_a_status_subresource_a_category_and_no_builtin_short_name(name: str) -> None:
    names = CRDS[name]["spec"]["names"]
    short = {"clusters": "mcl", "computenodes": "mcn", "storagenodes": "msn"}

    assert CRDS[name]["spec"]["versions"][0]["subresources"] == {"status": {}}
    assert names["categories"] == ["fleet"]
    assert names["shortNames"] == [short[names["plural"]]]


@pytest.mark.parametrize("name", list(CRDS))
def test_conditions_are_a_map_by_type(name: str) -> None:
    conditions = at(CRDS[name], "status.conditions")

    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_a_person_sees_readiness_first_and_details_only_when_asked() -> None:
    columns = CRDS["clusters.muster.dev"]["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [each["name"] for each in columns if not each.get("priority")]

    assert shown == ["Ready", "Healthy", "Total", "Unhealthy", "Repairing", "Age"]
    assert {each["name"] for each in columns} - set(shown) == {"Unknown", "Available", "Paused"}


@pytest.mark.parametrize("setting", [each for each in TABLE if each.spec], ids=lambda each: str(each.name))
def test_where_the_spec_is_silent_the_operators_setting_holds(setting: Any) -> None:
    """A default in the schema would silence the flag for ever; and the schema says which flag it is."""
    field = at(CRDS["clusters.muster.dev"], setting.spec)

    assert "default" not in field
    assert setting.flag in field["description"]


def test_the_schema_and_the_settings_have_the_same_bounds() -> None:
    crd = CRDS["clusters.muster.dev"]

    for setting in TABLE:
        if not setting.spec:
            continue
        rules = " ".join(each["rule"] for each in at(crd, setting.spec).get("x-kubernetes-validations", ()))
        for bound in re.findall(r"duration\('(\w+)'\)", rules):
            setting.form.parse(bound)
        for bound in ("minimum", "maximum"):
            if bound in at(crd, setting.spec):
                setting.form.parse(str(at(crd, setting.spec)[bound]))


@pytest.mark.parametrize("name", list(CRDS))
def test_every_rule_says_what_to_do(name: str) -> None:
    messages = [
        rule["message"] for _, node in nodes(schema(CRDS[name])) for rule in node.get("x-kubernetes-validations", ())
    ]

    assert all("must" in message and len(message) > 40 for message in messages), messages
    assert not re.search(r"!(?!=)", " ".join(messages)), "no exclamations"


# --- rights -----------------------------------------------------------------------------------------------------------
def test_the_operator_may_do_exactly_what_it_does() -> None:
    rules = only("rbac", "ClusterRole", "muster-operator")["rules"]
    plurals = [kind.plural for kind in MUSTER_FLEET.kinds]

    assert rules == [
        {"apiGroups": ["muster.dev"], "resources": plurals, "verbs": ["list", "watch"]},
        {"apiGroups": ["muster.dev"], "resources": [f"{plurals[0]}/status"], "verbs": ["patch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]


def test_no_role_has_a_wildcard() -> None:
    words = [
        word
        for each in documents(".")
        for rule in each.get("rules", ())
        for words in rule.values()
        for word in words
        if each["kind"] in ("Role", "ClusterRole")
    ]

    assert words
    assert "*" not in " ".join(words)


def test_the_operators_rights_go_to_its_own_account_only() -> None:
    account = only("rbac", "ServiceAccount", "muster")["metadata"]
    subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}

    assert only("rbac", "ClusterRoleBinding", "muster-operator")["subjects"] == [subject]
    assert only("overlays", "RoleBinding", "muster-operator")["subjects"] == [subject]
    assert pod()["serviceAccountName"] == account["name"]


# --- the operator -----------------------------------------------------------------------------------------------------
def deployment() -> dict[str, Any]:
    return dict(only("operator", "Deployment", "muster")["spec"])


def pod() -> dict[str, Any]:
    return dict(deployment()["template"]["spec"])


def container() -> dict[str, Any]:
    (each,) = pod()["containers"]
    return dict(each)


def test_two_writers_never_run_at_a_time() -> None:
    """There is no leader election yet: a rolling update would run the old and the new one together."""
    assert (deployment()["replicas"], deployment()["strategy"]) == (1, {"type": "Recreate"})


def test_the_pod_meets_pod_security_restricted() -> None:
    security = pod()["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] >= 10_000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"]["allowPrivilegeEscalation"] is False
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod().keys()
    assert all(set(volume) == {"name", "emptyDir"} for volume in pod()["volumes"])


def test_the_namespace_enforces_what_the_pod_meets() -> None:
    labels = only("operator", "Namespace", "muster-system")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_asks_for_what_it_needs_and_is_bounded() -> None:
    resources = container()["resources"]

    assert resources["requests"].keys() == {"cpu", "memory"}
    assert "memory" in resources["limits"]
    assert "cpu" not in resources["limits"], "a throttled operator reports silence that is its own"


def test_the_probes_and_the_service_use_the_port_that_is_listened_on() -> None:
    settings = Settings()
    (port,) = container()["ports"]
    (service_port,) = only("operator", "Service", "muster-metrics")["spec"]["ports"]

    assert settings.listen.endswith(f":{port['containerPort']}")
    assert container()["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert container()["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert service_port["targetPort"] == port["name"]


def test_the_drain_ends_before_the_kubelet_kills() -> None:
    assert Settings().grace_s < pod()["terminationGracePeriodSeconds"]


def test_the_command_is_the_one_that_is_documented_and_the_image_runs() -> None:
    command = container()["command"]

    assert command == ["python", "supervisor.py", "run"]
    assert f"CMD {command}".replace("'", '"') in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_a_socket_and_temporary_files_have_a_place_to_be() -> None:
    assert {each["mountPath"] for each in container()["volumeMounts"]} == {"/run/muster", "/tmp"}
    assert {each["name"] for each in container()["volumeMounts"]} == {each["name"] for each in pod()["volumes"]}


def test_selectors_find_the_pod() -> None:
    labels = deployment()["template"]["metadata"]["labels"]

    assert deployment()["selector"]["matchLabels"].items() <= labels.items()
    assert only("operator", "Service", "muster-metrics")["spec"]["selector"].items() <= labels.items()


def test_the_image_the_labels_and_the_package_have_one_version() -> None:
    version = re.search(r"(?m)^version = (.+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"))
    kustomization = yaml.safe_load((MANIFESTS / "operator" / "kustomization.yaml").read_text(encoding="utf-8"))

    assert version
    assert kustomization["images"] == [{"name": "muster-operator", "newTag": version[1]}]
    assert container()["image"] == f"muster-operator:{version[1]}"
    assert deployment()["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == version[1]


def test_every_variable_that_the_manifests_set_is_a_setting() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in MANIFESTS.rglob("*.yaml"))

    assert set(re.findall(r"\bMUSTER_[A-Z_]+[A-Z]\b", text)) <= {setting.env for setting in TABLE}
    assert pod()["enableServiceLinks"] is False, "a Service muster-… would set MUSTER_…_PORT"


def test_everything_that_we_create_is_labelled() -> None:
    unlabelled = [
        f"{each['kind']} {each['metadata']['name']}"
        for folder in ("crd", "rbac", "operator", "overlays")
        for each in documents(folder)
        if not {"app.kubernetes.io/name", "app.kubernetes.io/part-of"} <= each["metadata"].get("labels", {}).keys()
    ]

    assert unlabelled == []


def test_every_file_is_in_a_kustomization() -> None:
    for file in MANIFESTS.rglob("*.yaml"):
        listed = yaml.safe_load((file.parent / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]

        assert file.name in [*listed, "kustomization.yaml"], file


# --- the samples ------------------------------------------------------------------------------------------------------
def test_the_samples_show_every_field_of_a_clusters_spec() -> None:
    shown = only("samples", "Cluster", "harbour")["spec"]
    wanted = at(CRDS["clusters.muster.dev"], "spec")["properties"]

    assert shown.keys() == wanted.keys()
    assert shown["repair"].keys() == wanted["repair"]["properties"].keys()
    assert shown["debounce"].keys() == wanted["debounce"]["properties"].keys()


def test_the_samples_nodes_belong_to_the_samples_clusters() -> None:
    samples = list(documents("samples"))
    clusters = {each["metadata"]["name"] for each in samples if each["kind"] == "Cluster"}
    parents = {
        each.get("spec", {}).get("clusterRef", {}).get("name") or each["metadata"]["labels"]["muster.dev/cluster"]
        for each in samples
        if each["kind"] != "Cluster"
    }

    assert parents == clusters


def test_the_documented_floor_of_the_valve_is_the_real_one() -> None:
    description = at(CRDS["clusters.muster.dev"], "spec.repair.maxUnhealthy")["description"]

    assert Policy().eligible_floor == 3
    assert "three nodes or fewer" in description
