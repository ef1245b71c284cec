"""The one reader of files that come from the user's disk: regular files of a bounded size, and no waiting."""

import errno
import io
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.core.files import UnsuitableFileError, open_regular, read_bytes, read_list_bytes, read_stream, read_text

ROOT = Path(__file__).resolve().parents[2]
UNGUARDED = {
    "engine/core/files.py",  # the reader itself
    "engine/vision/config.py",  # files of the package
    "engine/vision/class_guess.py",
    "engine/vlms/config.py",
    "engine/pages/render.py",
    "engine/core/cpu.py",  # files of the system
    "engine/core/nvidia.py",
    "engine/core/database.py",
    "engine/benchmarks/speed/decisions.py",  # pictures that they drew
    "engine/benchmarks/speed/drawn_library.py",
    "myvlm_cli/generate.py",
}


@pytest.mark.parametrize("size", [0, 1, 4095, 65_535, 65_536, 65_537, 300_000])
def test_a_file_is_read_whole_up_to_the_limit(tmp_path, size):
    path, data = tmp_path / "file", os.urandom(size)
    path.write_bytes(data)
    assert read_bytes(path, size) == data
    assert read_stream(io.BytesIO(data), size) == data
    if size:
        for read in (read_bytes, read_list_bytes):
            with pytest.raises(UnsuitableFileError, match="larger than"):
                read(path, size - 1)
        with pytest.raises(UnsuitableFileError, match="larger than"):
            read_stream(io.BytesIO(data), size - 1)


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda f: os.stat_result((*real(f)[:6], 5, *real(f)[7:])))
    assert read_bytes(path, 100_000) == b"x" * 100_000
    with pytest.raises(UnsuitableFileError, match="larger than 99999 bytes"):
        read_bytes(path, 99_999)


def make_pipe(folder):
    os.mkfifo(folder / "it")


def make_socket(folder):
    with socket.socket(socket.AF_UNIX) as s:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has 108 bytes at most
        try:
            s.bind("it")
        finally:
            os.chdir(here)


def make_link_to_device(folder):
    (folder / "it").symlink_to("/dev/zero")


def make_loop(folder):
    (folder / "it").symlink_to("it")


def make_link_to_pipe(folder):
    os.mkfifo(folder / "pipe")
    (folder / "it").symlink_to("pipe")


KINDS = [
    (make_pipe, errno.EINVAL, r"not a regular file \(a named pipe\)"),
    (make_socket, errno.EINVAL, r"not a regular file \(a socket\)"),
    (make_link_to_device, errno.EINVAL, r"not a regular file \(a device\)"),
    (make_link_to_pipe, errno.EINVAL, r"not a regular file \(a named pipe\)"),
    (make_loop, errno.ELOOP, "symbolic links"),
    (lambda folder: (folder / "it").mkdir(), errno.EISDIR, "Is a directory"),
    (lambda folder: None, errno.ENOENT, "No such file"),
    (lambda folder: (folder / "it").symlink_to("nowhere"), errno.ENOENT, "No such file"),
]


@pytest.mark.parametrize(("make", "number", "reason"), KINDS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make, number, reason):
    make(tmp_path)
    for read in (read_bytes, read_text):
        with pytest.raises(OSError, match=reason) as caught:
            read(tmp_path / "it", 1000)
        assert caught.value.errno == number
        assert caught.value.strerror
    with pytest.raises(OSError, match=reason), open_regular(tmp_path / "it"):
        pass


def test_links_to_regular_files_are_followed(tmp_path):
    (tmp_path / "file").write_text("\ufeffgr\u00fcn", "utf-8")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link", 100) == "gr\u00fcn"


def test_descriptors_are_closed(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 10)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read_bytes(tmp_path / "file", 10)
        with pytest.raises(UnsuitableFileError):
            read_bytes(tmp_path / "file", 9)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_leased_file_is_waited_for(tmp_path):
    """A file server's lease makes O_NONBLOCK fail; the kernel breaks it for a reader that waits."""
    import fcntl
    import signal

    path = tmp_path / "file"
    path.write_bytes(b"leased")
    code = (
        "import fcntl, os, signal, sys, time\n"
        f"f = os.open({str(path)!r}, os.O_RDWR)\n"
        "signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_UNLCK))\n"
        "fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\ntime.sleep(30)\n"
    )
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this system has no leases")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        if holder.stdout.readline() != b"held\n":
            pytest.skip("this file system grants no leases")
        try:
            assert read_bytes(path, 100) == b"leased"
        finally:
            holder.send_signal(signal.SIGKILL)


def test_lists_come_from_pipes_and_are_bounded(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for limit, data in ((10, b"a.jpg\n"), (5, b"a.jpg\n")):
        writer = threading.Thread(target=pipe.write_bytes, args=(data,))
        writer.start()
        if len(data) <= limit:
            assert read_list_bytes(pipe, limit) == data
        else:
            with pytest.raises(UnsuitableFileError, match="larger than 5 bytes"):
                read_list_bytes(pipe, limit)
        writer.join()
    with pytest.raises(UnsuitableFileError, match="larger than 1 MiB"):
        read_list_bytes(Path("/dev/zero"), 2**20)
    assert read_list_bytes(Path("/dev/null"), 10) == b""
    with pytest.raises(IsADirectoryError):
        read_list_bytes(tmp_path, 10)


def test_nothing_else_opens_the_users_files():
    """Every other way to read a file could wait for a pipe, or read a file of any size."""
    import re

    reading = re.compile(
        r"\.read_(?:bytes|text)\(|(?<![\w.])(?<!def )open\(|\b(?:path|file|target)\.open\(|Image\.open\((?!io\.)"
    )
    found = set()
    for top in ("engine", "myvlm_cli"):
        for path in (ROOT / top).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(("engine/storybook/build/", "engine/vision/build/")) and reading.search(
                path.read_text("utf-8")
            ):
                found.add(name)
    assert found <= UNGUARDED
