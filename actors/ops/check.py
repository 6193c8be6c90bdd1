"""``muster check``: will ``run`` work here? Each question is answered with a plain yes or no, and a no with its cure.

Nothing is changed and no batch call is sent. Permissions are asked by SelfSubjectAccessReview, which every
authenticated user may make; the kinds by discovery, because the operator has no right to read CRDs, and by listing one
object. What cannot be asked since something before it failed says so, instead of failing in its own words.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import asdict, frozen

from ..core.builtin import MUSTER_FLEET
from ..core.errors import (
    ApiError,
    Forbidden,
    MusterError,
    NotFound,
    SettingsError,
    Unauthorized,
    Undecodable,
    Unreachable,
)
from ..core.fleet import FleetDefinition, KindRef
from ..edge.backends import backend_of
from ..edge.kube import KubeClient
from ..edge.settings_load import Loaded, require_backend
from .definitions import is_ours
from .rights import kinds_read, repairs_by, rights

CONNECT_TIMEOUT_S = 5.0


@frozen
class Line:
    """One answer. ``ok`` None: not a yes or no (not asked, or only a note)."""

    name: str
    ok: bool | None
    message: str
    cure: str = ""


def checks(loaded: Loaded) -> list[Line]:
    """Every line, in the order in which ``run`` would meet its subject. Takes seconds at most, and raises nothing."""
    return [
        Line("settings", True, "every setting can be used"),  # else the loader would have ended the command
        *(Line("settings", None, note) for note in loaded.notes),
        *_api_lines(loaded, loaded.fleet),
        *_backend_lines(loaded),
    ]


def in_lines(lines: list[Line]) -> str:
    """For people."""
    words = {True: "yes ", False: "NO  ", None: "-   "}
    shown = []
    for line in lines:
        shown.append(f"{words[line.ok]} {line.name}: {line.message}\n")
        if line.cure:
            shown.append(f"       cure: {line.cure}\n")
    wrong = sum(line.ok is False for line in lines)
    verdict = f"{wrong} of {len(lines)} need a cure" if wrong else "run would work here"
    return "".join(shown) + verdict + "\n"


def in_json(lines: list[Line]) -> str:
    """For programs."""
    well = all(line.ok is not False for line in lines)
    return json.dumps({"ok": well, "checks": [asdict(line) for line in lines]}, indent=2, ensure_ascii=False) + "\n"


# --- the API server ---------------------------------------------------------------------------------------------------
def _api_lines(loaded: Loaded, fleet: FleetDefinition) -> Iterator[Line]:
    try:
        kube = KubeClient(loaded.settings.kubeconfig or None, loaded.settings.context or None)
    except SettingsError as error:
        yield Line("connection", False, str(error), "name another --kubeconfig or --context")
        yield from _not_asked("permissions and kinds", "there is no API server to ask")
        return
    try:
        version = kube.server_version()
        kube.allowed("list", fleet.parent.group, fleet.parent.plural, namespace=loaded.settings.namespace)
    except Undecodable as error:
        yield Line("connection", False, f"{kube.server}: {error}", "is this the address of an API server?")
        yield from _not_asked("permissions and kinds", "what answers there is no API server")
        return
    except ApiError as error:
        yield Line("connection", False, str(error), _connection_cure(error))
        yield from _not_asked("permissions and kinds", "the API server did not answer the questions before")
        return
    yield Line("connection", True, f"{kube.server} answers, Kubernetes {version}")
    for kind, where in kinds_read(fleet, loaded.settings.namespace):
        yield _kind_line(kube, kind, fleet, where)
    yield from _permission_lines(kube, loaded)


def _connection_cure(error: MusterError) -> str:
    if isinstance(error, Unauthorized):
        return (
            "the credentials are not accepted: log in again or renew the token of the kubeconfig (kubectl auth whoami)"
        )
    if isinstance(error, Forbidden):
        return (
            "the credentials are accepted but may ask nothing at all: bind the cluster role system:basic-user to them, "
            "and system:discovery"
        )
    if isinstance(error, Unreachable):
        return (
            "is the API server running, is its address right, does a proxy or a NetworkPolicy stand between? "
            "(kubectl version)"
        )
    return "kubectl version, with the same kubeconfig and context, tells more"


def _kind_line(kube: KubeClient, kind: KindRef, fleet: FleetDefinition, namespace: str) -> Line:
    name = f"kind {kind.resource}"
    apply, older = _definition_cures(kind)
    try:
        served = _object(kube, _group_version_path(kind))
    except NotFound:
        others = ", ".join(_other_versions(kube, kind))
        if others:
            return Line(name, False, f"the server has {kind.group} in {others}, not in {kind.version}", older)
        return Line(name, False, f"the server does not know {kind.api_version} (its CRD is missing)", apply)
    except ApiError as error:
        why = f"discovery of {kind.api_version} failed: {error}"
        return Line(name, False, why, "bind the cluster role system:discovery")
    every = [each for each in served.get("resources") or () if isinstance(each, dict)]
    resources = {str(each.get("name")): each for each in every}
    found = resources.get(kind.plural)
    others = ", ".join(each for each, said in resources.items() if said.get("kind") == kind.kind and "/" not in each)
    if found is None and others:
        why = f"{kind.api_version} is served, without {kind.plural}: the server calls {kind.kind} {others}"
        return Line(name, False, why, f"write plural: {others} in the fleet's file, or {apply}")
    if found is None:
        return Line(name, False, f"{kind.api_version} is served, without {kind.plural} (its CRD is missing)", apply)
    if found.get("kind") != kind.kind:
        return Line(name, False, f"{kind.plural} is another kind there: {found.get('kind')}", older)
    if bool(found.get("namespaced")) != kind.namespaced:
        scope = "Cluster" if kind.namespaced else "Namespaced"
        what = "are in no namespace" if kind.namespaced else "are in namespaces"
        return Line(name, False, f"{kind.plural} {what} there", f"{older}, or scope: {scope} in the fleet's file")
    if kind == fleet.parent and f"{kind.plural}/status" not in resources:
        return Line(name, False, "has no status subresource, so that counts could not be written", older)
    try:
        _object(kube, kind.path(namespace), {"limit": "1", **kind.query})
    except Forbidden:
        pass  # the permission lines say so, with their cure
    except ApiError as error:
        return Line(name, False, f"is served but cannot be listed: {error}", "kubectl get crd; kubectl get apiservice")
    return Line(name, True, f"is served as {kind.api_version}")


def _definition_cures(kind: KindRef) -> tuple[str, str]:
    """What to do where a kind is not there, and where it is another."""
    if kind.group == MUSTER_FLEET.parent.group:
        apply = "kubectl apply -k manifests/crd"
        return apply, f"{apply} (of this version of Muster)"
    told = "correct apiVersion, kind and plural in the fleet's file"
    return (f"{told}, or apply its definition (muster manifests --crds prints one)" if is_ours(kind) else told), told


def _object(kube: KubeClient, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    try:
        return kube.request("GET", path, query=query).json()
    except Undecodable as error:
        raise ApiError(f"{kube.server}: GET {path}: {error}; is this an API server?") from error


def _other_versions(kube: KubeClient, kind: KindRef) -> list[str]:
    try:
        group = _object(kube, f"/apis/{kind.group}")
    except ApiError:
        return []
    return [str(each.get("version")) for each in group.get("versions", ()) if isinstance(each, dict)]


def _permission_lines(kube: KubeClient, loaded: Loaded) -> Iterator[Line]:
    fleet, namespace = loaded.fleet, loaded.settings.namespace
    where = f"in the namespace {namespace}" if namespace else "in all namespaces"
    cure = "kubectl apply -k manifests/rbac" if not namespace else "kubectl apply -k manifests/overlays/namespaced"
    if fleet != MUSTER_FLEET:
        cure = "apply what muster manifests prints for this fleet"
    wanted = [
        (verb, right.group, *resource.partition("/")[::2], right.namespace)
        for right in rights(fleet, namespace, repairs=repairs_by(loaded.settings))
        for resource in right.resources
        for verb in right.verbs
    ]
    for verb, group, plural, subresource, home in wanted:
        thing = (f"{plural}.{group}" if group else plural) + (f", subresource {subresource}" if subresource else "")
        name = f"permission to {verb} {thing} {where if home == namespace else f'in the namespace {home}'}"
        try:
            allowed = kube.allowed(verb, group, plural, subresource=subresource, namespace=home)
        except (ApiError, Undecodable) as error:
            yield Line(name, False, f"could not be asked: {error}", _connection_cure(error))
            continue
        if allowed:
            yield Line(name, True, "granted")
        elif plural == "events":
            yield Line(name, None, "not granted: everything works, but Events are not recorded in full", cure)
        else:
            yield Line(
                name, False, "not granted", f"{cure}, and run as its service account or bind its role to this user"
            )


def _group_version_path(kind: KindRef) -> str:
    return f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"


def _not_asked(name: str, why: str) -> Iterator[Line]:
    yield Line(name, None, f"not asked: {why}")


# --- the backend ------------------------------------------------------------------------------------------------------
def _backend_lines(loaded: Loaded) -> Iterator[Line]:
    try:
        require_backend(loaded)
    except SettingsError as error:
        yield Line("backend", False, str(error), "`run` needs it: see muster config")
    if loaded.settings.backend != "http":
        name = loaded.settings.backend
        if name == "none":
            yield Line("backend", True, "none: nodes are counted, and nobody repairs them")
            return
        page = "docs/ec2.md" if name == "ec2" else "docs/backends.md"
        try:
            backend_of(loaded.settings, loaded.fleet)
        except SettingsError as error:
            yield Line("backend", False, str(error), f"{page} has what it needs")
        else:
            yield Line("backend", True, f"{name} finds what it needs (no call was sent)")
        return
    if not loaded.settings.backend_url:
        return
    url = urlsplit(loaded.settings.backend_url)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            if url.scheme == "https":
                with ssl.create_default_context().wrap_socket(connection, server_hostname=host):
                    pass
    except ssl.SSLCertVerificationError as error:
        yield Line(
            "backend", False, f"{host}:{port}: its certificate is not trusted ({error.verify_message})",
            "install its CA where the operator runs (SSL_CERT_FILE), or correct the name in --backend-url",
        )  # fmt: skip
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield Line(
            "backend", False, f"{host}:{port} cannot be reached ({reason})",
            "is it running, is --backend-url right, does a NetworkPolicy stand between?",
        )  # fmt: skip
    else:
        yield Line("backend", True, f"{host}:{port} takes connections (no call was sent)")
