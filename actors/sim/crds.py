"""The custom resource definitions that this Muster was built with: what ``kubectl apply -k manifests/crd`` applies.

``manifests/crd`` is their one source. A wheel carries that folder as ``crds`` inside the package (``package_dir`` in
``setup.cfg``); in a checkout, and in an editable install of one, it is still where it was written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["crd_documents", "crd_folder"]


def crd_folder() -> Path:
    """The folder that holds the definitions. FileNotFoundError when this installation has lost them."""
    package = Path(__file__).parent.parent
    places = (package / "crds", package.parent / "manifests" / "crd")
    for place in places:
        if (place / "kustomization.yaml").is_file():
            return place
    raise FileNotFoundError(
        f"Muster's resource definitions are in neither {places[0]} nor {places[1]}: install muster-operator again"
    )


def crd_documents() -> list[dict[str, Any]]:
    """Every CustomResourceDefinition, in the order of their files' names; new objects at each call."""
    documents: list[dict[str, Any]] = []
    for file in sorted(crd_folder().glob("*.yaml")):
        loaded = yaml.safe_load_all(file.read_text(encoding="utf-8"))
        documents.extend(each for each in loaded if each and each.get("kind") == "CustomResourceDefinition")
    return documents
