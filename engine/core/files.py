"""Read files without blocking and up to a size limit; write them atomically.

Every file from the user's disk is read by `read_bytes`, `read_list_bytes` or `open_regular`.
"""

import errno
import hashlib
import os
import secrets
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

TEMPORARY_MARK = ".myvlm-tmp-"
"""Temporary files are called `.myvlm-tmp-PID-RANDOM`; the process number decides who may remove them."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_CHUNK, _SMALL = 2**20, 2**16
LARGEST_DOCUMENT = 64 * 2**20
"""Largest size in bytes of a JSON or text file from the user: captions, answers, decisions, a model's config."""


class UnsuitableFileError(OSError):
    """A file is not a regular file, or is too large. `strerror` says which, without the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return str(self.strerror)


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; links are followed.

    Raises:
        OSError: the file is missing or may not be read. UnsuitableFileError, which is one: it is not a regular file,
            or is larger than the limit. Reading never waits for a named pipe, a socket or a device.
    """
    with open_regular(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as f:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise _too_large(limit)
        return _read_within(f, limit, max(size + 1, _SMALL))


def read_text(path: Path, limit: int) -> str:
    """Read a regular file as UTF-8, with or without a byte order mark.

    Raises:
        OSError: as in `read_bytes`.
        UnicodeDecodeError: the file is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8-sig")


def read_stream(stream: BinaryIO, limit: int) -> bytes:
    """Read a stream to its end.

    Raises:
        OSError: it cannot be read, or has more than `limit` bytes (UnsuitableFileError).
    """
    return _read_within(stream, limit, _CHUNK)


def read_list_bytes(path: Path, limit: int) -> bytes:
    """Read a regular file, a pipe or a terminal to its end: for lists, which shells pass as `/dev/fd/63`.

    Call it in the main thread, where Ctrl-C ends the wait for a pipe.

    Raises:
        OSError: as in `read_bytes`.
    """
    if not _is_stream(path.stat().st_mode):
        return read_bytes(path, limit)
    with path.open("rb") as f:
        return read_stream(f, limit)


@contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading; yields its descriptor.

    Raises:
        OSError: the file is missing, may not be read, or is not a regular file (UnsuitableFileError).
    """
    _check_regular(path.stat().st_mode)  # checked before opening, which may have an effect on a pipe or a device
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK)  # do not wait for what has become a pipe since
    except BlockingIOError:  # a file server holds a lease on the file; the kernel ends it within a minute
        descriptor = os.open(path, flags)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise UnsuitableFileError(f"not a regular file ({_KINDS.get(stat.S_IFMT(mode), 'of an unknown kind')})")


def _is_stream(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _read_within(f: BinaryIO, limit: int, step: int) -> bytes:
    """Read the rest of a file in steps of `step` bytes.

    Raises:
        UnsuitableFileError: it has more than `limit` bytes.
    """
    parts, left = [], limit + 1
    while left and (part := f.read(min(left, step))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> UnsuitableFileError:
    size = f"{limit >> 30} GiB" if limit >= 2**30 else f"{limit >> 20} MiB" if limit >= 2**20 else f"{limit} bytes"
    return UnsuitableFileError(f"the file is larger than {size}")


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def make_private_folder(folder: Path) -> Path:
    """Create a folder that only its owner can enter (0700); restrict an existing one to that."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def write_atomically(path: Path, data: bytes, mode: int | None = None, *, sync: bool = True) -> None:
    """Replace the content of a file atomically: write a temporary file beside it, fsync, rename, fsync the folder.

    mode: permission bits. None: those of the replaced file, and its owner, group and extended attributes as far as the
    system allows; for a new file 0666 without the bits of the umask. sync: False leaves out both fsyncs, for thousands
    of files that can be made again; a power cut may leave some of them empty.
    """
    known = path.stat() if mode is None and path.exists() else None
    if mode is None:
        mode = known.st_mode & 0o7777 if known else 0o666 & ~_umask()
    temporary = path.with_name(f"{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as f:
            if known is not None:
                _keep_owner(f.fileno(), path, known)
            os.fchmod(f.fileno(), mode)
            f.write(data)
            f.flush()
            if sync:
                os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files that killed processes left in a folder; return how many there were.

    Call it before this process writes there: a file with its own process number is taken for one of an earlier process
    with the same number, which is common in containers.
    """
    count = 0
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(TEMPORARY_MARK)]
    except OSError:
        return 0
    for name in names:
        owner = name.removeprefix(TEMPORARY_MARK).partition("-")[0]
        if not _is_of_another(owner) or _is_old(folder / name):
            (folder / name).unlink(missing_ok=True)
            count += 1
    return count


def _is_of_another(owner: str) -> bool:
    return owner.isdecimal() and int(owner) != os.getpid() and is_running(int(owner))


def _is_old(path: Path) -> bool:
    """Return whether a temporary file is over an hour old: no write takes so long, so its process has ended."""
    try:
        return time.time() - path.stat().st_mtime > 3600
    except OSError:
        return False


def is_running(process: int) -> bool:
    """Return whether there is a process with this id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_private(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file atomically with permissions 0600; sync as in `write_atomically`."""
    write_atomically(path, data, 0o600, sync=sync)


@contextmanager
def finish_first() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until writes that belong together are done.

    Handlers record the signal. A signal mask would not do: it holds for one thread, and another would get the signal.
    Outside the main thread Python runs no handlers, so nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    handlers = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for first in noted[:1]:
            signal.raise_signal(first)


def remove_file(path: Path) -> None:
    """Delete a file and sync its folder."""
    path.unlink()
    _sync_folder(path.parent)


def _keep_owner(descriptor: int, path: Path, known: os.stat_result) -> None:
    """Give a new file the owner, group and extended attributes of the one it replaces, as far as the system allows."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (known.st_uid, known.st_gid):
        with suppress(OSError):
            os.fchown(descriptor, -1, known.st_gid)
        with suppress(OSError):
            os.fchown(descriptor, known.st_uid, -1)
    with suppress(OSError, AttributeError):  # AttributeError: some systems lack these functions
        for name in os.listxattr(path):
            with suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(path, name))


def _sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk; some network and FUSE mounts refuse, which is ignored."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
