"""A load server: ``python -m bench.load --fleet 100x1000``. It prints ``ready URL``, then obeys lines on stdin."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.load.control import Control
from bench.load.control import __doc__ as words
from bench.load.server import Face, Fleet


def sizes(text: str) -> list[int]:
    """``100x1000`` (100 parents of 1,000) or a sum of such: ``49x100+1x5000``."""
    found: list[int] = []
    for part in text.split("+"):
        parents, _, children = part.partition("x")
        found += [int(children)] * int(parents)
    return found


def main() -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=f"{__doc__}\n\n{words}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--fleet", type=sizes, default="10x100", help="parents x children, such as 100x1000+1x5000")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true", help="with a certificate made for this run")
    parser.add_argument("--kubeconfig", type=Path, help="write one here")
    chosen = parser.parse_args()
    authority, tls = None, None
    if chosen.tls:
        from bench.load.certificate import issue

        authority, tls = issue()
    face = Face(Fleet(chosen.fleet))
    server = face.serve(chosen.port, tls)
    if chosen.kubeconfig:
        chosen.kubeconfig.write_text(kubeconfig(server.url, authority))
    print(f"ready {server.url}", flush=True)
    control = Control(face)
    for line in sys.stdin:
        if line.split() == ["quit"]:
            break
        if line.strip():
            try:
                answer = control.obey(line)
            except (TypeError, ValueError, IndexError) as error:
                answer = {"error": f"{line.strip()}: {error}"}
            print(json.dumps(answer), flush=True)
    server.stop()
    return 0


def kubeconfig(url: str, authority: str | None) -> str:
    """One that any client can read (JSON is YAML). The certificate authority is inside."""
    cluster = {"server": url} | ({"certificate-authority-data": authority} if authority else {})
    found = {
        "apiVersion": "v1", "kind": "Config", "current-context": "load",
        "contexts": [{"name": "load", "context": {"cluster": "load", "user": "load", "namespace": "default"}}],
        "clusters": [{"name": "load", "cluster": cluster}], "users": [{"name": "load", "user": {"token": "load"}}],
    }  # fmt: skip
    return json.dumps(found)


if __name__ == "__main__":
    sys.exit(main())
