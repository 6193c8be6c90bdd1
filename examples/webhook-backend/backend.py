"""A whole repair backend for Muster in one file of the standard library: copy it, and make `carry_out` your own.

    python backend.py --port 8088 --quota 10/1s --batch-max 100 --command 'reboot-by-ipmi "$1"'

POST /v1/nodes:OPERATION   as docs/backend-openapi.yaml describes it
GET  /v1/repairs           what has been carried out, in order; for people and for tests

What it shows: keys (each is carried out once, and answered again as before), a result for each node, the quota counted at
arrival, and refusals that Muster understands. What it lacks: its memory is gone when it ends. Keep the keys where your
machines are kept, for as long as a node may be asked for under one key: until its health has turned, and some hours more.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_MAX = 16 << 20  # bytes


class Refusal(Exception):
    """The call as a whole is not accepted, and nothing of it has been carried out."""

    def __init__(self, code, error, retry_after_s=None):
        super().__init__(error)
        self.code, self.retry_after_s = code, retry_after_s


class Backend:
    """Decides and remembers; knows no HTTP. Calls come on threads of their own, so there is a lock."""

    def __init__(self, calls_max=10, window_s=1.0, batch_max=100, command=""):
        self.calls_max, self.window_s, self.batch_max, self.command = calls_max, window_s, batch_max, command
        self.repairs = []
        self._results = {}  # by key: the first answer, which is given again
        self._arrivals = deque()  # of the last calls, refused ones included
        self._lock = threading.Lock()

    def call(self, body):
        """One call: a result for each node. Raises Refusal."""
        with self._lock:
            self._count(time.monotonic())
            nodes = self._checked(body)
            return {"results": [self._repair(node) for node in nodes]}

    def carry_out(self, node):
        """Repair one node: "" when it is done, else why it cannot be. THE PLACE FOR YOUR OWN CODE.

        Done means begun for certain; whether the node is well again, its health will tell.
        """
        if not self.command:
            return ""
        words = ["sh", "-c", self.command, "sh", node.get("name", ""), node.get("namespace", "")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
        return "" if done.returncode == 0 else done.stderr.strip() or f"the command ended with {done.returncode}"

    def _count(self, now_s):
        """At most so many calls in any window, counted when they come in."""
        while self._arrivals and now_s - self._arrivals[0] >= self.window_s:
            self._arrivals.popleft()
        if len(self._arrivals) >= self.calls_max:
            wait_s = self._arrivals[-self.calls_max] + self.window_s - now_s
            self._arrivals.append(now_s)
            raise Refusal(429, f"more than {self.calls_max} calls in {self.window_s:g} s", math.ceil(wait_s))
        self._arrivals.append(now_s)

    def _checked(self, body):
        try:
            nodes = json.loads(body)["nodes"]
            well = isinstance(nodes, list) and all(
                isinstance(node[name], str) for node in nodes for name in ("key", "uid")
            )
        except (ValueError, KeyError, TypeError):
            well = False
        if not well:
            raise Refusal(400, 'expected {"nodes": [{"key": …, "uid": …}, …]}')
        if not 1 <= len(nodes) <= self.batch_max:
            raise Refusal(400, f"expected 1 to {self.batch_max} nodes, found {len(nodes)}")
        return nodes

    def _repair(self, node):
        known = self._results.get(node["key"])
        if known is None:
            try:
                why = self.carry_out(node)
            except subprocess.TimeoutExpired:
                why = "the command did not end in time"
            result = {"status": "failed", "message": why} if why else {"status": "accepted"}
            known = self._results[node["key"]] = {"key": node["key"], "uid": node["uid"], **result}
            if not why:
                self.repairs.append(node)
        return known


class Handler(BaseHTTPRequestHandler):
    """HTTP, and nothing else."""

    protocol_version = "HTTP/1.1"
    backend: Backend

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not self.path.startswith("/v1/nodes:"):
            self._answer(404, {"error": "there is POST /v1/nodes:OPERATION"})
        elif length > BODY_MAX:
            self._answer(413, {"error": f"more than {BODY_MAX} bytes"})
        else:
            try:
                self._answer(200, self.backend.call(self.rfile.read(length)))
            except Refusal as refusal:
                self._answer(refusal.code, {"error": str(refusal)}, refusal.retry_after_s)
            except Exception as error:  # noqa: BLE001 - a bug of carry_out: what was done nobody knows, and the keys will tell
                self.log_error("%r", error)
                self._answer(500, {"error": "see the log"})

    def do_GET(self):
        if self.path == "/v1/repairs":
            self._answer(200, {"repairs": list(self.backend.repairs)})
        else:
            self._answer(404, {"error": "there is GET /v1/repairs"})

    def _answer(self, code, answer, retry_after_s=None):
        body = json.dumps(answer).encode()
        self.send_response(code)
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        if code in (404, 413):
            self.close_connection = True  # its body was not read
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser(description="A tiny repair backend for Muster.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8088, help="0: any free one (default 8088)")
    parser.add_argument("--quota", default="10/1s", help="calls per seconds, such as 10/1s (default)")
    parser.add_argument("--batch-max", type=int, default=100, help="nodes per call (default 100)")
    parser.add_argument("--command", default="", help='run by sh for each node, with its name as "$1"')
    chosen = parser.parse_args()
    calls, _, seconds = chosen.quota.partition("/")
    Handler.backend = Backend(int(calls), float(seconds.removesuffix("s")), chosen.batch_max, chosen.command)
    with ThreadingHTTPServer((chosen.host, chosen.port), Handler) as server:
        print(f"listening at http://{chosen.host}:{server.server_address[1]}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
