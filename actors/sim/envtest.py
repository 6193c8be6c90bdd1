"""A real kube-apiserver and etcd for tests: started on free ports, in a temporary folder, gone with this process.

Nothing else of a cluster is there: no controllers (nothing collects garbage, no namespace ever empties), no scheduler, no
kubelet. The server makes its own certificate; its one user is an administrator with a token. Data, ports and certificate
survive ``stop`` and ``start``, so that an outage can be played.

The binaries are those of the "envtest" convention: ``etcd``, ``kube-apiserver`` and ``kubectl`` in the folder that
``KUBEBUILDER_ASSETS`` names. Linux only (the kernel ends them with us).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["RealApiServer", "free_ports", "until_we_end"]

READY_S = 120.0
"""How long each server may take to be ready; a loaded machine takes half a minute."""
STOP_S = 15.0
_WITH_US = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the thread that started us is gone, so are we
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class RealApiServer:
    """Starts on entering (or by ``start``). ``kubeconfig`` is an administrator's; ``url`` the server's."""

    def __init__(self, assets: Path | str, *, flags: tuple[str, ...] = ()) -> None:
        """``flags`` are further ones for kube-apiserver."""
        self._assets = Path(assets)
        for name in ("etcd", "kube-apiserver"):
            if not os.access(self._assets / name, os.X_OK):
                raise FileNotFoundError(f"no program {name} in {self._assets} (KUBEBUILDER_ASSETS)")
        self._flags = flags
        self._folder = Path(tempfile.mkdtemp(prefix="muster-envtest-"))
        self._token = secrets.token_hex(16)
        self._etcd_port, self._port = free_ports(2)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"https://127.0.0.1:{self._port}"
        self.kubeconfig = self._folder / "kubeconfig"
        self._write_files()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start what is not running, and wait until it is ready."""
        etcd = f"http://127.0.0.1:{self._etcd_port}"
        self._launch(
            "etcd", "--data-dir", str(self._folder / "data"), "--listen-client-urls", etcd,
            "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync",
        )  # fmt: skip
        self._await("etcd", lambda: _get(etcd + "/health"))
        key = str(self._folder / "accounts.key")
        self._launch(
            "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1",
            "--advertise-address", "127.0.0.1", "--secure-port", str(self._port),
            "--cert-dir", str(self._folder / "certificates"), "--token-auth-file", str(self._folder / "tokens"),
            "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
            "--service-account-issuer", self.url, "--service-account-key-file", key,
            "--service-account-signing-key-file", key, "--endpoint-reconciler-type", "none",
            "--disable-admission-plugins", "ServiceAccount", *self._flags,
        )  # fmt: skip
        for path in ("/readyz", "/api/v1/namespaces/default"):
            self._await("kube-apiserver", lambda path=path: _get(self.url + path, self._token, self._authority))

    def stop(self, *, only_server: bool = True) -> None:
        """Stop kube-apiserver (and etcd, unless ``only_server``); ``start`` brings it back with the same data and port."""
        for name in ("kube-apiserver",) if only_server else ("kube-apiserver", "etcd"):
            process = self._running.pop(name, None)
            if process is not None:
                _stop(process)

    def kill(self) -> None:
        """End kube-apiserver at once (SIGKILL): connections are reset, nothing is said."""
        process = self._running.pop("kube-apiserver", None)
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stop both and remove everything."""
        self.stop(only_server=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def process(self, name: str = "kube-apiserver") -> subprocess.Popen[bytes]:
        """The process, to pause and resume it with signals."""
        return self._running[name]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Standard output of kubectl as the administrator; ``CalledProcessError`` (with stderr) when it fails."""
        command = [str(self._assets / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(  # noqa: S603 - the test's own words
            command, input=stdin, check=check, text=True, capture_output=True, timeout=60
        ).stdout

    def kubeconfig_for(self, token: str, path: Path) -> Path:
        """Write a kubeconfig for that bearer token (of a ServiceAccount, say) at ``path``."""
        path.write_text(json.dumps(self._config(token)), encoding="utf-8")
        path.chmod(0o600)
        return path

    # --- inside ---

    @property
    def _authority(self) -> Path:
        return self._folder / "certificates" / "apiserver.crt"

    def _write_files(self) -> None:
        (self._folder / "tokens").write_text(f'{self._token},admin,admin,"system:masters"\n', encoding="utf-8")
        (self._folder / "accounts.key").write_text(_signing_key(), encoding="utf-8")
        self.kubeconfig_for(self._token, self.kubeconfig)

    def _config(self, token: str) -> dict[str, object]:
        # The server's own file holds its certificate and the one that signed it; it is there once the server is ready.
        cluster = {"server": self.url, "certificate-authority": str(self._authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "user"}}],
        }

    def _launch(self, name: str, *arguments: str) -> None:
        if name in self._running and self._running[name].poll() is None:
            return
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - the binaries of the test kit
                until_we_end([str(self._assets / name), *arguments]),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await(self, name: str, ready: object) -> None:
        assert callable(ready)
        until_s = time.monotonic() + READY_S
        while True:
            status = self._running[name].poll()
            if status is None and ready():
                return
            if status is not None or time.monotonic() > until_s:
                log = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                what = f"ended with {status}" if status is not None else f"was not ready within {READY_S:.0f} s"
                self.stop(only_server=False)
                raise RuntimeError(f"{name} {what}; the end of its log:\n" + "\n".join(log.splitlines()[-20:]))
            time.sleep(0.05)


def _get(url: str, token: str = "", authority: Path | None = None) -> bool:
    """Whether ``url`` answers 200."""
    try:
        context = ssl.create_default_context(cafile=str(authority)) if authority is not None else None
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=5, context=context) as response:  # noqa: S310 - ours
            return bool(response.status == 200)
    except OSError:  # URLError and ssl.SSLError are ones; so is the certificate that is not there yet
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until_we_end(command: list[str]) -> list[str]:
    """A command line that runs ``command`` (an absolute path first); the kernel kills it with the thread that starts it."""
    return [sys.executable, "-c", _WITH_US, str(os.getpid()), *command]


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _signing_key() -> str:
    """A P-256 key to sign account tokens: ECPrivateKey of RFC 5915 (version, scalar, curve), the public half left out."""
    scalar = (1 + secrets.randbelow(_P256_ORDER - 1)).to_bytes(32, "big")
    curve = bytes((0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07))  # OBJECT IDENTIFIER prime256v1
    parts = bytes((0x02, 1, 1)) + bytes((0x04, len(scalar))) + scalar + bytes((0xA0, len(curve))) + curve
    text = base64.encodebytes(bytes((0x30, len(parts))) + parts).decode("ascii")
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n"
