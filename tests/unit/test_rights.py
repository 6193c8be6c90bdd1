"""The rights that a fleet needs and definitions of its kinds: for the built-in one, word for word what manifests/ holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from click.testing import CliRunner

from actors.core.builtin import MUSTER_FLEET
from actors.core.fleet import KindRef, Lease
from actors.edge.fleet_file import load_fleet
from actors.edge.settings import Settings
from actors.ops.cli import cli
from actors.ops.definitions import definitions, is_ours
from actors.ops.rights import Right, documents, kinds_read, repairs_by, rights
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents

ROOT = Path(__file__).parents[2]
EVERYTHING = load_fleet(str(ROOT / "tests" / "fleets" / "everything.yaml")).fleet


def documents_of(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / path).read_text(encoding="utf-8")))


def test_the_rights_of_the_built_in_fleet_are_those_in_the_manifests() -> None:
    assert documents(MUSTER_FLEET) == documents_of("manifests/rbac/role.yaml")


def test_the_definitions_of_the_built_in_fleet_are_those_in_the_manifests() -> None:
    found = {each["metadata"]["name"]: each for each in definitions(MUSTER_FLEET)}

    assert found == {each["metadata"]["name"]: each for each in crd_documents()}


def test_in_one_namespace_a_role_is_enough() -> None:
    role, binding = documents(MUSTER_FLEET, "muster-system")
    rules = documents_of("manifests/rbac/role.yaml")[0]["rules"]

    assert (role["kind"], role["metadata"]["namespace"], role["rules"]) == ("Role", "muster-system", rules)
    assert binding == documents_of("manifests/overlays/namespaced/role_binding.yaml")[0]


def test_leases_are_read_where_they_are_and_nowhere_else() -> None:
    everywhere, bound, leases, bound_too = documents(EVERYTHING)  # and those of the Proxies everywhere

    assert (leases["kind"], leases["metadata"]["namespace"]) == ("Role", "kube-node-lease")
    assert leases["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"]}
    ]
    assert bound_too["roleRef"]["kind"] == "Role"
    assert {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list", "watch"]} in everywhere["rules"]
    assert {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]} in everywhere["rules"]
    assert bound["roleRef"]["kind"] == "ClusterRole"


def test_what_is_in_no_namespace_is_read_by_a_cluster_role_even_where_one_namespace_is_watched() -> None:
    found = documents(EVERYTHING, "pools")
    by_place = {(each["kind"], each["metadata"].get("namespace", "")): each for each in found if "rules" in each}

    assert by_place["ClusterRole", ""]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}
    ]
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]} in by_place["Role", "pools"]["rules"]


def test_a_parent_that_is_somebody_elses_is_patched_as_a_whole_and_not_defined() -> None:
    fleet = evolve(MUSTER_FLEET, status_annotation="muster.dev/fleet")

    assert ("clusters",) in [right.resources for right in rights(fleet) if right.verbs == ("patch",)]
    assert [each["spec"]["names"]["kind"] for each in definitions(fleet)] == ["ComputeNode", "StorageNode"]


@pytest.mark.parametrize(("annotation", "verb"), [("", "delete"), ("example.com/repair", "patch")])
def test_repairs_on_the_api_server_need_a_right_on_the_children(annotation: str, verb: str) -> None:
    settings = Settings(backend="kubernetes", kubernetes_annotation=annotation)
    plain = rights(MUSTER_FLEET, "muster-system", repairs=repairs_by(Settings()))
    more = rights(MUSTER_FLEET, "muster-system", repairs=repairs_by(settings))

    assert [each for each in more if each not in plain] == [
        Right("muster.dev", (plural,), (verb,), "muster-system") for plural in ("computenodes", "storagenodes")
    ]


def test_leases_beside_the_child_are_a_right_like_others() -> None:
    compute, storage = MUSTER_FLEET.children
    fleet = evolve(MUSTER_FLEET, children=(evolve(compute, health=evolve(compute.health, heartbeat=Lease())), storage))

    assert (Lease().ref, "") in kinds_read(fleet)
    assert "leases" in [resource for right in rights(fleet) for resource in right.resources]


def test_events_on_a_cluster_scoped_parent_are_in_the_namespace_default() -> None:
    fleet = evolve(MUSTER_FLEET, parent=evolve(MUSTER_FLEET.parent, namespaced=False))

    assert [right.namespace for right in rights(fleet) if right.resources == ("events",)] == ["default"]


@pytest.mark.parametrize(
    ("group", "expected"), [("x.io", True), ("", False), ("apps", False), ("coordination.k8s.io", False)]
)
def test_kubernetes_own_groups_are_taken(group: str, expected: bool) -> None:
    assert is_ours(KindRef(group=group, version="v1", kind="A", plural="as")) is expected


def test_generated_definitions_are_accepted_and_hold_what_the_fleet_reads_and_writes() -> None:
    """By the model of the API server; names of the status as the fleet has them, settings where it has them."""
    api = ApiServerModel(clock=lambda: 0.0)
    found = definitions(EVERYTHING)
    for each in found:
        api.create("customresourcedefinitions.apiextensions.k8s.io", each)

    assert [each["spec"]["names"]["kind"] for each in found] == ["Pool", "Proxy", "Disk", "Link", "Fan"]
    pool = found[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert "minHealthy" in pool["spec"]["properties"]["fleet"]["properties"]
    assert {"ready", "members", "unhealthy", "conditions"} <= pool["status"]["properties"].keys()
    assert not {"healthy", "total", "unhealthySample"} & pool["status"]["properties"].keys()
    columns = {each["name"]: each["jsonPath"] for each in found[0]["spec"]["versions"][0]["additionalPrinterColumns"]}
    assert (columns["Healthy"], columns["Total"]) == (".status.ready", ".status.members")
    created = api.create(
        "proxies.example.com", {"metadata": {"name": "p"}, "spec": {"id": "i", "replicas": 2, "other": 1}}, "default"
    )
    assert created.obj["spec"] == {"id": "i", "replicas": 2}, "what the fleet does not read is pruned"


def test_the_command_prints_documents_for_kubectl() -> None:
    path = str(ROOT / "tests" / "fleets" / "everything.yaml")
    found = CliRunner().invoke(cli, ["manifests", "--fleet", path, "--crds"])
    kinds = [each["kind"] for each in yaml.safe_load_all(found.output)]

    assert found.exit_code == 0
    assert kinds == [
        "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", *["CustomResourceDefinition"] * 5,
    ]  # fmt: skip
    assert "# No definitions of Node, Pod: Kubernetes has those." in found.output
    assert "CustomResourceDefinition" not in CliRunner().invoke(cli, ["manifests"]).output
