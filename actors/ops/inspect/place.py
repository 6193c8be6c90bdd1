"""Where the socket is, and that nobody else can get at it.

The folder is this user's own and closed to everybody else (0700), the socket 0600; whoever connects is asked for by the kernel
(``SO_PEERCRED``), at both ends. What is refused says why, and what to do.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

from ...core.errors import SettingsError

AUTO, OFF = "auto", "off"
IN_A_POD = Path("/run/muster")  # what manifests/operator mounts an emptyDir at
PATH_MAX = 100  # bytes: a Unix socket's address takes 107
CONNECT_S = 1.0


class PlaceError(SettingsError):
    """The socket cannot be where it was to be."""


def folders(uid: int | None = None) -> list[Path]:
    """Where sockets of that user may be, the likeliest first; of everybody where ``uid`` is None."""
    temporary = Path(tempfile.gettempdir())
    if uid is not None:
        return [IN_A_POD / str(uid), temporary / f"muster-{uid}"]
    found = [*_listed(IN_A_POD), *(each for each in _listed(temporary) if each.name.startswith("muster-"))]
    return [each for each in found if each.is_dir() and not each.is_symlink()]


def own_path() -> Path:
    """Of this process, where no path is set."""
    in_a_pod, temporary = folders(os.geteuid())
    folder = in_a_pod if os.access(IN_A_POD, os.W_OK | os.X_OK) else temporary
    return folder / f"{os.getpid()}.sock"


def running(uid: int) -> list[Path]:
    """Sockets on which somebody listens, of that user; root sees everybody's."""
    places = folders(None if uid == 0 else uid)
    found = [path for folder in places for path in sorted(_listed(folder)) if path.suffix == ".sock"]
    return [path for path in found if listens(path)]


def listens(path: Path) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def bind(path: Path) -> socket.socket:
    """A socket that listens at ``path``, for this user alone. PlaceError where that is not safe or not possible."""
    if len(os.fsencode(path)) > PATH_MAX:
        raise PlaceError(f"shell-socket: {path} is longer than {PATH_MAX} bytes: choose a shorter --shell-socket")
    _make_folder(path.parent)
    _check_folder(path.parent)
    _clear(path)
    listening = socket.socket(socket.AF_UNIX)
    try:
        try:
            listening.bind(str(path))
        except FileNotFoundError:  # whoever was the last to use the folder has just taken it away: see ``release``
            _make_folder(path.parent)
            listening.bind(str(path))
        path.chmod(0o600)  # before anybody can connect: that takes ``listen``
        listening.listen(16)
    except OSError as error:
        listening.close()
        raise PlaceError(
            f"shell-socket: cannot listen at {path} ({error.strerror}): choose another --shell-socket"
        ) from error
    return listening


def release(path: Path, inode: int, *, folder: bool) -> None:
    """Take that socket away, unless it is another's by now; and its folder with it, if nobody else has one there."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
    if folder:
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise PlaceError(
            f"shell-socket: cannot make {folder} ({error.strerror}): choose another --shell-socket, or off"
        ) from error


def _check_folder(folder: Path) -> None:
    """Whoever may write the folder may put a socket of their own into it."""
    try:
        link, there = folder.lstat(), folder.stat()
    except OSError as error:
        raise PlaceError(f"shell-socket: {folder} cannot be looked at ({error.strerror})") from error
    cure = "remove it, or choose another --shell-socket"
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (os.geteuid(), 0):
        raise PlaceError(f"shell-socket: {folder} is a link that uid {link.st_uid} has made: {cure}")
    if not stat.S_ISDIR(there.st_mode):
        raise PlaceError(f"shell-socket: {folder} is no folder: {cure}")
    if there.st_uid not in (os.geteuid(), 0):
        raise PlaceError(f"shell-socket: {folder} belongs to uid {there.st_uid}: {cure}")
    if there.st_mode & 0o022:
        raise PlaceError(
            f"shell-socket: others may write {folder} (mode {there.st_mode & 0o7777:o}): chmod 700 it, or {cure}"
        )


def _clear(path: Path) -> None:
    """Take away what a dead process left there."""
    try:
        there = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise PlaceError(f"shell-socket: {path} is there, and no socket: choose another --shell-socket")
    if listens(path):
        raise PlaceError(f"shell-socket: another process listens at {path}: end it, or choose another --shell-socket")
    with contextlib.suppress(OSError):
        path.unlink()


def peer(connection: socket.socket) -> tuple[int, int]:
    """Uid and pid of the process at the other end, by the kernel's word."""
    size = struct.calcsize("3i")
    pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid, pid


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
