"""The repair backend over HTTP: a process of its own, with a quota and a log of arrivals.

    python -m actors.sim.serve_backend --port 0 --quota 10/1s --batch-max 100 [--log FILE] [--heal-after S --api-url
    URL]

`POST /v1/nodes:batchRepair` is stamped when its last byte was read, under the lock that orders the calls: that stamp is
the arrival that the quota counts. The log has a line per arrival (`"event": "arrival"`, with `mono_s`, `wall_s`,
`status`, the items) and one per executed repair (`"event": "execution"`).

For tests: `GET /__log` answers `{"arrivals": [...], "repairs": [...], "fullestWindow", "duplicates"}`; `POST /__faults`
takes one behaviour or a list, each `{"do": NAME, "count": N, "for_s": S, ...}` as `backend.Behaviour` has them, or
`{"do": "clear"}`.
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

import attrs
import msgspec

from .backend import FIELDS, BackendModel, Behaviour, parse_quota
from .serve import Connection, Dropped, HttpServer, JsonLines, Request, announce, stop_requested
from .serve_heal import Healer

__all__ = ["BackendFace", "main"]

_encode = msgspec.json.Encoder().encode
_OPERATION = "batchRepair"


class BackendFace:
    """The HTTP face of `model`. Give `handle` to an `HttpServer`."""

    def __init__(
        self, model: BackendModel, *, log: JsonLines | None = None, healer: Healer | None = None, operation: str = _OPERATION
    ) -> None:  # fmt: skip
        self.model = model
        self._path = f"/v1/nodes:{operation}"
        self.lock = threading.Lock()
        self._log = log
        self._healer = healer

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request on its connection's thread."""
        match request.method, request.path:
            case "POST", path if path == self._path:
                self._repair(request, connection)
            case "POST", "/__faults":
                self._behave(request, connection)
            case "GET", "/__log":
                connection.send(200, _encode(self.log()))
            case "GET", "/healthz":
                connection.send(200, b"ok", "text/plain")
            case _:
                connection.send(404, _encode({"error": f"no such path; there is POST {self._path}"}))

    def log(self) -> dict[str, Any]:
        """All arrivals and executed repairs so far. Times are monotonic seconds."""
        with self.lock:
            return {
                "arrivals": [attrs.asdict(arrival) for arrival in self.model.arrivals],
                "repairs": [attrs.asdict(repair) for repair in self.model.repairs],
                "fullestWindow": self.model.fullest_window(),
                "duplicates": self.model.duplicates_count,
            }

    def _repair(self, request: Request, connection: Connection) -> None:
        key = request.headers.get("idempotency-key", "")
        with self.lock:
            now_s, wall_s = time.monotonic(), time.time()
            answer = self.model.arrive(request.body, key, now_s)
            arrival = self.model.arrivals[-1]
            if self._log is not None:
                entry = {"event": "arrival", "mono_s": now_s, "wall_s": wall_s, "status": arrival.code, "key": key}
                self._log.write(entry | {"behaviour": arrival.behaviour, "items": arrival.items})
                for repair in answer.repairs:
                    entry = {"event": "execution", "mono_s": now_s, "wall_s": wall_s}
                    self._log.write(entry | attrs.asdict(repair))
        if self._healer is not None and answer.repairs:
            self._healer.accept(answer.repairs)
        if answer.delay_s:
            time.sleep(answer.delay_s)
        if answer.code == 0:
            connection.wait_for_end()
        if answer.code < 0:
            raise Dropped
        connection.send(answer.code, answer.body, headers=answer.headers, pace_s=answer.pace_s)

    def _behave(self, request: Request, connection: Connection) -> None:
        try:
            commands = msgspec.json.decode(request.body)
            with self.lock:
                for command in commands if isinstance(commands, list) else [commands]:
                    if command["do"] == "clear":
                        self.model.clear()
                        continue
                    for_s = command.pop("for_s", None)
                    until_s = None if for_s is None else time.monotonic() + for_s
                    self.model.behave(Behaviour(**command, until_s=until_s))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            connection.send(400, _encode({"error": f"not a behaviour: {error!r}"}))
            return
        connection.send(200, b"{}")


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m actors.sim.serve_backend", description="Muster's simulated backend"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--quota", default="10/1s", help="calls per time, such as 10/1s (default)")
    parser.add_argument("--batch-max", type=int, default=100, help="items per call (default 100)")
    parser.add_argument("--latency-s", type=float, default=0.0, help="answer each call so late")
    parser.add_argument("--log", help="arrivals and executions, JSON lines")
    parser.add_argument("--heal-after", type=float, metavar="S", help="make repaired nodes healthy after S seconds")
    parser.add_argument("--api-url", help="the API server to heal through")
    parser.add_argument("--kubeconfig", help="the same, by kubeconfig")
    parser.add_argument("--heal-group", default="muster.dev/v1alpha1", help="where the nodes' kinds are served")
    parser.add_argument(
        "--operation", default=_OPERATION, help="calls come to /v1/nodes:OPERATION (default batchRepair)"
    )
    parser.add_argument("--any-item", action="store_true", help="an item needs nothing but its key and uid")
    parser.add_argument("--port-file", help="write the port here when listening")
    chosen = parser.parse_args(arguments)
    try:
        calls_max, window_s = parse_quota(chosen.quota)
    except ValueError as error:
        parser.error(str(error))
    api = chosen.api_url or chosen.kubeconfig
    if chosen.heal_after is not None and not api:
        parser.error("--heal-after needs --api-url or --kubeconfig")
    stop = stop_requested()
    healer = None
    if chosen.heal_after is not None:
        healer = Healer(api, after_s=chosen.heal_after, group_version=chosen.heal_group).start()
    fields = ("key", "uid") if chosen.any_item else FIELDS
    model = BackendModel(calls_max=calls_max, window_s=window_s, batch_max=chosen.batch_max, fields=fields)
    if chosen.latency_s:
        model.behave(Behaviour("latency", seconds=chosen.latency_s))
    log = JsonLines(chosen.log)
    face = BackendFace(model, log=log if chosen.log else None, healer=healer, operation=chosen.operation)
    with HttpServer(face.handle, port=chosen.port, host=chosen.host) as server:
        announce(server.url, chosen.port_file)
        stop.wait()
    log.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
