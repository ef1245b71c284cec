"""Photos that arrive are captioned when they have settled: what makes a batch, what does not, and what may fail."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.captioning import file_events, undone
from engine.captioning.file_events import Changed, FolderEvents, Notice, NoticeKind
from engine.captioning.settling import PATIENCE_SECONDS, SETTLE_SECONDS, Settling
from engine.captioning.undone import left_undone, written_by_runs
from engine.captioning.watch import Batch, PhotoWatch
from engine.core.errors import EnvironmentFault
from engine.core.mounts import is_on_network
from engine.photos.discovery import Selection
from engine.sidecars.undo import UndoOutcome
from tests.sidecars.test_journal import take_back, write


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def put(path: Path, data: bytes = b"photo") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# Settling


def test_a_file_settles_when_it_stays_the_same(tmp_path):
    clock = Clock()
    settling = Settling(clock)
    photo = put(tmp_path / "a.jpg")
    settling.touch(photo)
    assert settling.due() == SETTLE_SECONDS
    for k in range(5):  # it is written slowly, with no further event
        clock.now += SETTLE_SECONDS
        put(photo, b"photo" * (k + 2))
        assert settling.take() == set()
    clock.now += SETTLE_SECONDS
    assert settling.take() == {photo}
    assert settling.take() == set()
    assert settling.due() is None


def test_a_copy_that_keeps_the_time_is_seen_by_its_size_and_by_its_inode(tmp_path):
    clock = Clock()
    settling = Settling(clock)
    photo = put(tmp_path / "a.jpg")
    os.utime(photo, (1, 1))
    settling.touch(photo)
    clock.now += SETTLE_SECONDS
    put(tmp_path / "b.jpg")
    os.utime(tmp_path / "b.jpg", (1, 1))
    (tmp_path / "b.jpg").replace(photo)
    assert settling.take() == set()
    clock.now += SETTLE_SECONDS
    assert settling.take() == {photo}


def test_a_file_that_is_only_read_settles_all_the_same(tmp_path):
    clock = Clock()
    settling = Settling(clock)
    photo = put(tmp_path / "a.jpg")
    for _ in range(6):
        settling.touch(photo)
        clock.now += 1
    assert settling.take() == {photo}


def test_files_that_have_settled_wait_for_others_but_not_forever(tmp_path):
    clock = Clock()
    settling = Settling(clock)
    done, growing = put(tmp_path / "a.jpg"), put(tmp_path / "b.mov.jpg")
    settling.touch(done)
    settling.touch(growing)
    waited = 0.0
    while not (settled := settling.take()):
        clock.now += 1
        waited += 1
        put(growing, b"x" * int(waited))
    assert settled == {done}
    assert PATIENCE_SECONDS <= waited <= PATIENCE_SECONDS + 2 * SETTLE_SECONDS


def test_what_is_gone_or_no_file_is_forgotten(tmp_path):
    clock = Clock()
    settling = Settling(clock)
    photo = put(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(photo)
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("a.jpg", "link.jpg", "pipe.jpg", "missing.jpg", "."):
        settling.touch(tmp_path / name)
    (tmp_path / "other.jpg").symlink_to(tmp_path / "nowhere")
    settling.touch(tmp_path / "other.jpg")
    clock.now += SETTLE_SECONDS
    assert settling.take() == {photo, tmp_path / "link.jpg"}


# Batches


@dataclass
class Script:
    """Events as a test says; waiting moves the clock."""

    clock: Clock
    changes: list[Changed] = field(default_factory=list)

    def wait(self, seconds: float) -> Changed:
        if self.changes:
            return self.changes.pop(0)
        self.clock.now += seconds
        return Changed()


@dataclass
class Library:
    """A watched folder, with what runs are said to know."""

    root: Path
    watch: PhotoWatch
    script: Script
    known: set[Path]

    def after(self, *paths: str, whole: bool = False) -> dict[str, list[str]]:
        """What is in the batches when these paths changed: photos, with the sidecars if only these changed."""
        changed = Changed(frozenset(self.root / p for p in paths), (self.root,) if whole else ())
        self.script.changes.append(changed)
        found = {}
        batches = self.watch.batches()
        for _ in range(6):
            batch = next(batches)
            for file in batch.files:
                names = [c.name for c in file.companions] or [s.name for s in batch.edited.get(file.path, ())]
                found[str(file.path.relative_to(self.root))] = names
        return found


def make_library(root: Path, selection: Selection | None = None) -> Library:
    clock, known = Clock(), set[Path]()
    script = Script(clock)
    root.mkdir(parents=True)
    watch = PhotoWatch((root,), selection or Selection(), script, lambda files: frozenset(known), clock)
    return Library(root, watch, script, known)


@pytest.fixture
def library(tmp_path) -> Library:
    return make_library(tmp_path / "library")


def test_what_makes_a_batch(library):
    root = library.root
    put(root / "2024" / "a.JPG")
    assert library.after("2024/a.JPG") == {"2024/a.JPG": []}
    put(root / "2024" / "a.CR2")
    assert library.after("2024/a.CR2") == {"2024/a.JPG": ["a.CR2"]}  # one shot, one caption
    put(root / "2024" / "a.JPG.xmp")
    put(root / "2024" / "b.jpg")
    put(root / "2024" / "b.xmp")
    assert library.after("2024/b.xmp") == {"2024/b.jpg": ["b.xmp"]}
    assert library.after("2024/b.jpg", "2024/b.xmp") == {"2024/b.jpg": []}
    put(root / "2024" / "B.JPG.XMP")
    assert library.after("2024/B.JPG.XMP") == {"2024/b.jpg": ["B.JPG.XMP"]}


def test_what_makes_none(library):
    root = library.root
    names = ("film.mp4", ".a.jpg.Xy12", "a.jpg.part", "a.jpg.myvlm.json", ".myvlm-tmp-1-2", "c.txt", "lonely.xmp")
    for name in (*names, ".thumbnails/a.jpg", "@eaDir/a.jpg", "known.jpg"):
        put(root / name)
    library.known.add(root / "known.jpg")
    assert library.after(*names, ".thumbnails/a.jpg", "@eaDir/a.jpg", "known.jpg", "gone.jpg") == {}


def test_a_folder_that_appears_is_looked_into(library):
    for name in ("trip/a.jpg", "trip/deep/b.jpg", "trip/deep/b.dng", "trip/.hidden/c.jpg"):
        put(library.root / name)
    assert library.after("trip") == {"trip/a.jpg": [], "trip/deep/b.jpg": ["b.dng"]}


def test_a_folder_that_came_back_is_looked_at_as_a_whole(library):
    for name in ("a.jpg", "b/c.jpg", "known.jpg"):
        put(library.root / name)
    library.known.add(library.root / "known.jpg")
    assert library.after(whole=True) == {"a.jpg": [], "b/c.jpg": []}
    assert library.after(whole=True) == {}  # nothing changed since, though no run knows them
    put(library.root / "a.jpg", b"new")
    assert library.after(whole=True) == {"a.jpg": []}


def test_only_what_is_selected(tmp_path):
    selection = Selection(("2024/*.jpg",), ("private",), datetime(2020, 1, 1))
    library = make_library(tmp_path / "library", selection)
    for name in ("2024/a.jpg", "2024/b.png", "a.jpg", "private/2024/c.jpg", "2024/old.jpg"):
        put(library.root / name)
    os.utime(library.root / "2024" / "old.jpg", (1, 1))
    assert library.after("2024", "a.jpg", "private", "private/2024/c.jpg") == {"2024/a.jpg": []}


def test_a_folder_that_is_reached_by_a_link_is_found_by_its_real_path(tmp_path):
    """macOS reports real paths."""
    library = make_library(tmp_path / "real")
    (tmp_path / "link").symlink_to(library.root)
    script = library.script
    watch = PhotoWatch((tmp_path / "link",), Selection(), script, lambda files: frozenset(), script.clock)
    put(library.root / "sub" / "a.jpg")
    put(library.root / "sub" / "b.jpg")
    put(library.root / "sub" / "b.jpg.xmp")
    script.changes.append(Changed(frozenset({library.root / "sub" / n for n in ("a.jpg", "b.jpg.xmp")})))
    batch = next(b for b in watch.batches() if b.files)
    assert [f.path for f in batch.files] == [tmp_path / "link" / "sub" / n for n in ("a.jpg", "b.jpg")]
    assert list(batch.edited) == [tmp_path / "link" / "sub" / "b.jpg"]


def test_a_batch_that_failed_comes_again_later_and_later(library):
    put(library.root / "a.jpg")
    put(library.root / "b.jpg")
    library.script.changes.append(Changed(frozenset({library.root / "a.jpg", library.root / "b.jpg"})))
    clock, waits = library.script.clock, []
    last = None
    for batch in library.watch.batches():
        if batch.files:
            waits += [] if last is None else [clock.now - last]
            last = clock.now
            assert library.watch.retry(batch) == min(3600, 60 * 2**batch.failed)
            (library.root / "b.jpg").unlink(missing_ok=True)
        if len(waits) == 8:
            break
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert [f.path.name for f in batch.files] == ["a.jpg"]


def test_notices_are_passed_on(library):
    notice = Notice(NoticeKind.GONE, library.root)
    library.script.changes.append(Changed(notices=(notice,)))
    assert next(library.watch.batches()).notices == (notice,)


# Events


def collect(events: FolderEvents, until, seconds: float = 10.0) -> Changed:
    """All changes until they fulfil a condition."""
    paths, whole, notices = set(), [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        changed = events.wait(0.2)
        paths |= changed.paths
        whole += changed.whole
        notices += changed.notices
        if until(paths, whole, notices):
            return Changed(frozenset(paths), tuple(whole), tuple(notices))
    raise AssertionError((paths, whole, notices))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(file_events, "_STEP_MS", 50)
    monkeypatch.setattr(file_events, "_ALIVE_SECONDS", 0.1)


@pytest.mark.parametrize("poll", [None, 1])
def test_files_and_folders_that_appear_are_noticed(tmp_path, quick, poll):
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root / "a" / "old.jpg")
    put(outside / "deep" / "b.jpg")
    with FolderEvents((root,), poll) as events:
        put(root / "a" / "new.jpg")
        outside.rename(root / "moved")
        (root / "x" / "y").mkdir(parents=True)
        (root / "a" / "old.jpg").unlink()
        found = collect(events, lambda p, *_: {root / "a" / "new.jpg", root / "moved", root / "x"} <= p)
        assert root / "a" / "old.jpg" not in found.paths
        put(root / "x" / "y" / "c.jpg")
        put(root / "moved" / "deep" / "d.jpg")
        collect(events, lambda p, *_: {root / "x" / "y" / "c.jpg", root / "moved" / "deep" / "d.jpg"} <= p)


def test_a_folder_may_go_and_come_back(tmp_path, quick):
    root, other = tmp_path / "root", tmp_path / "other"
    put(root / "a.jpg")
    put(other / "b.jpg")
    with FolderEvents((root, other)) as events:
        root.rename(tmp_path / "away")
        gone = collect(events, lambda p, w, notices: notices)
        assert gone.notices == (Notice(NoticeKind.GONE, root),)
        put(tmp_path / "away" / "c.jpg")
        (tmp_path / "away").rename(root)
        back = collect(events, lambda p, w, notices: root in w)
        assert back.notices == (Notice(NoticeKind.BACK, root),)
        put(root / "d.jpg")
        put(other / "e.jpg")
        collect(events, lambda p, *_: {root / "d.jpg", other / "e.jpg"} <= p)


def test_another_folder_in_its_place_is_noticed(tmp_path, quick):
    """As where a disk is mounted."""
    put(tmp_path / "root" / "a.jpg")
    with FolderEvents((tmp_path / "root",)) as events:
        (tmp_path / "root").rename(tmp_path / "old")
        put(tmp_path / "new" / "b.jpg")
        (tmp_path / "new").rename(tmp_path / "root")
        found = collect(events, lambda p, w, notices: tmp_path / "root" in w)
        assert found.notices[-1] == Notice(NoticeKind.BACK, tmp_path / "root")


def test_names_that_are_not_utf8_are_found_by_looking_at_everything(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(file_events, "_WHOLE_SECONDS", 1.5)
    root = tmp_path / "root"
    root.mkdir()
    odd = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg"))
    with FolderEvents((root,)) as events:
        put(odd)
        collect(events, lambda p, w, notices: root in w)
        began = time.monotonic()
        looks = 0
        while time.monotonic() < began + 4:  # as another program may, again and again
            odd.read_bytes()
            looks += bool(events.wait(0.1).whole)
        assert 1 <= looks <= 3
        put(root / "a.jpg")
        collect(events, lambda p, w, notices: root / "a.jpg" in p or root in w)


IN_NAMESPACE = ("unshare", "--user", "--map-root-user")


def run_with_limit(tmp_path, name: str, limit: int, code: str) -> subprocess.CompletedProcess:
    """Run code in a user namespace of its own, where the system watches few folders."""
    if shutil.which("unshare") is None or subprocess.run([*IN_NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces cannot be made here")
    setup = f"echo {limit} > /proc/sys/user/{name} && exec {sys.executable} -c '{code}' {tmp_path}"
    return subprocess.run([*IN_NAMESPACE, "sh", "-c", setup], capture_output=True, text=True, timeout=60)


def test_a_limit_of_the_system_is_said_at_the_start(tmp_path):
    for k in range(10):
        (tmp_path / "root" / f"{k}").mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from engine.captioning.file_events import FolderEvents\n"
        'try: FolderEvents((Path(sys.argv[1]) / "root",)).__enter__()\n'
        "except Exception as err: print(type(err).__name__, err, err.hint)"
    )
    done = run_with_limit(tmp_path, "max_inotify_watches", 5, code)
    assert done.stdout.startswith("WatchLimitError the system watches no more folders"), done.stderr
    assert "sudo sysctl fs.inotify.max_user_watches=524288" in done.stdout
    assert "--poll 60" in done.stdout
    done = run_with_limit(tmp_path, "max_inotify_instances", 0, code)
    assert "fs.inotify.max_user_instances" in done.stdout


def test_a_limit_that_is_reached_later_is_said_and_all_files_are_looked_at(tmp_path):
    (tmp_path / "root").mkdir()
    code = (
        "import sys; from pathlib import Path; from engine.captioning import file_events as f\n"
        'f._STEP_MS, f._ALIVE_SECONDS, f.POLL_SECONDS = 50, .1, 1; root = Path(sys.argv[1]) / "root"\n'
        "with f.FolderEvents((root,)) as events:\n"
        "    for k in range(10): (root / str(k)).mkdir()\n"
        "    found = [events.wait(1.0) for _ in range(3)]\n"
        "    print([n.kind.value for c in found for n in c.notices], sum(bool(c.whole) for c in found))\n"
        '    (root / "9" / "a.jpg").write_bytes(b"x")\n'
        '    print(any(root / "9" / "a.jpg" in events.wait(1.0).paths for _ in range(80)))\n'
    )
    done = run_with_limit(tmp_path, "max_inotify_watches", 4, code)
    assert done.stdout.splitlines() == ["['limit'] 1", "True"], done.stderr


def test_network_drives_are_known(tmp_path):
    lines = (
        "/dev/sda1 / ext4 rw 0 0",
        "server:/x /mnt/photo\\040disk nfs4 rw 0 0",
        "/dev/sdb /mnt/photo\\040disk/local ext4 rw 0 0",
        "s /home/me/remote fuse.sshfs rw 0 0",
        "server:/y /mnt/Müller\\040Fotos\\134 nfs4 rw 0 0",
    )
    mounts = put(tmp_path / "mounts", "\n".join(lines).encode())
    expected = {
        "/home/me": False,
        "/mnt/photo disk/2024": True,
        "/mnt/photo disk": True,
        "/mnt/photo disk2": False,
        "/mnt/photo disk/local/x": False,
        "/home/me/remote/x": True,
        "/mnt/Müller Fotos\\/2024": True,
    }
    assert {path: is_on_network(Path(path), mounts) for path in expected} == expected
    assert not is_on_network(Path("/home"), tmp_path / "missing")


def test_network_drives_are_looked_at_from_time_to_time(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(file_events, "is_on_network", lambda folder: folder.name == "remote")
    monkeypatch.setattr(file_events, "POLL_SECONDS", 1)
    roots = tmp_path / "local", tmp_path / "remote"
    for root in roots:
        root.mkdir()
    with FolderEvents(roots) as events:
        assert events.wait(0.0).notices == (Notice(NoticeKind.POLLED, roots[1], "on a network drive"),)
        for root in roots:
            put(root / "a.jpg")
        collect(events, lambda p, *_: {root / "a.jpg" for root in roots} <= p)


def test_the_environment_may_turn_events_off(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    monkeypatch.setattr(file_events, "POLL_SECONDS", 1)
    with FolderEvents((tmp_path,)) as events:
        assert events.wait(0.0).notices == (Notice(NoticeKind.POLLED, tmp_path, "WATCHFILES_FORCE_POLLING is set"),)
        put(tmp_path / "a.jpg")
        collect(events, lambda p, *_: tmp_path / "a.jpg" in p)


def test_what_cannot_be_watched_is_an_error(tmp_path, monkeypatch):
    import watchfiles._rust_notify

    def fail(*_):
        raise RuntimeError("something new\nand more")

    monkeypatch.setattr(watchfiles._rust_notify, "RustNotify", fail)
    with pytest.raises(EnvironmentFault, match=r"the folders cannot be watched: something new$"):
        FolderEvents((tmp_path,)).__enter__()


# After undo


def test_photos_stay_as_another_run_wrote_them(home, tmp_path):
    photo, sidecar = tmp_path / "p.jpg", tmp_path / "p.jpg.xmp"
    put(sidecar, b"before")
    assert written_by_runs(home, {photo: (sidecar,)}) == frozenset()
    run = write(home, tmp_path, (sidecar.name, b"captioned"))
    assert written_by_runs(home, {photo: (sidecar,), tmp_path / "b.jpg": (tmp_path / "b.jpg.xmp",)}) == {photo}
    put(sidecar, b"captioned, and edited")
    assert written_by_runs(home, {photo: (sidecar,)}) == frozenset()
    put(sidecar, b"captioned")
    take_back(home, run)
    assert written_by_runs(home, {photo: (sidecar,)}) == frozenset()


def test_photos_stay_as_undo_left_them(home, tmp_path, monkeypatch):
    photo, sidecar, began = tmp_path / "p.jpg", tmp_path / "p.jpg.xmp", datetime.now().astimezone()
    put(sidecar, b"before")
    run = write(home, tmp_path, (sidecar.name, b"captioned"))
    put(photo)
    edited = {photo: (sidecar,), tmp_path / "b.jpg": (sidecar,)}
    assert left_undone(home, began, edited) == frozenset()
    assert take_back(home, run) == {sidecar.name: UndoOutcome.RESTORED}
    assert left_undone(home, began, edited) == {photo}
    assert left_undone(home, began, {photo: (photo, tmp_path / "p.dng")}) == {photo}
    assert left_undone(home, began, {}) == frozenset()
    assert left_undone(home, began + timedelta(hours=1), edited) == frozenset()  # undone before the start
    monkeypatch.setattr(undone, "_TRUNCATED", -60.0)  # as if it had been a minute earlier
    assert left_undone(home, began - timedelta(hours=1), edited) == frozenset()  # somebody edited it since


def test_a_batch_without_photos():
    assert Batch().without([Path("a")]) == Batch()
