"""Journal, lock, whole-file writes and undo, without any model: plans are plain functions."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.core.errors import EnvironmentFault, SidecarError, StoreLockedError, UsageError
from engine.core.files import TEMPORARY_MARK, remove_leftovers, sha256_of
from engine.sidecars.journal import Journal, Write
from engine.sidecars.lock import run_lock
from engine.sidecars.undo import UndoOutcome, undo
from engine.sidecars.writer import FileEdit, SidecarEdit, Writer, preview
from engine.sidecars.xmp import Merge

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def becomes(data: bytes):
    return lambda existing: Merge(None if existing == data else data)


def files(folder: Path, *pairs) -> list[SidecarEdit]:
    return [SidecarEdit(folder / "p.jpg", (FileEdit(folder / name, becomes(data)),)) for name, data in pairs]


def write(home, folder, *pairs) -> str:
    with Writer(home, "caption") as writer:
        outcomes = writer.write(files(folder, *pairs))
    assert all(o.error is None for o in outcomes), outcomes
    return writer.run


def take_back(home, run=None, **options):
    _, outcomes = undo(home, run, **options)
    return {o.path.name: o.outcome for o in outcomes}


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "old.xmp").write_bytes(b"old\r\n\xff")
    return folder


def test_a_run_is_undone_byte_for_byte(home, library):
    write(home, library, ("old.xmp", b"new"), ("fresh.xmp", b"fresh"))
    assert (library / "old.xmp").read_bytes() == b"new"
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED, "fresh.xmp": UndoOutcome.DELETED}
    assert sorted(p.name for p in library.iterdir()) == ["old.xmp"]
    assert (library / "old.xmp").read_bytes() == b"old\r\n\xff"
    assert Journal(home).runs()[0].undone


def test_permissions_of_a_replaced_file_stay(home, library):
    (library / "old.xmp").chmod(0o640)
    write(home, library, ("old.xmp", b"new"))
    assert (library / "old.xmp").stat().st_mode & 0o777 == 0o640
    take_back(home)
    assert (library / "old.xmp").stat().st_mode & 0o777 == 0o640


def test_undo_walks_back_run_by_run_and_refuses_to_skip_one(home, library):
    first = write(home, library, ("old.xmp", b"one"))
    second = write(home, library, ("old.xmp", b"two"))
    assert take_back(home, first) == {"old.xmp": UndoOutcome.LATER}
    assert (library / "old.xmp").read_bytes() == b"two"
    assert Journal(home).find_run(None).id == second
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED}
    assert (library / "old.xmp").read_bytes() == b"one"
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED}
    assert (library / "old.xmp").read_bytes() == b"old\r\n\xff"
    with pytest.raises(UsageError, match="no run to undo"):
        take_back(home)


def test_undo_twice_changes_nothing(home, library):
    run = write(home, library, ("old.xmp", b"new"))
    take_back(home, run)
    assert take_back(home, run) == {"old.xmp": UndoOutcome.UNCHANGED}


def test_undo_leaves_a_deleted_file_deleted(home, library):
    run = write(home, library, ("old.xmp", b"new"))
    (library / "old.xmp").unlink()
    assert take_back(home, run) == {"old.xmp": UndoOutcome.UNCHANGED}
    assert not (library / "old.xmp").exists()


def test_a_dry_undo_changes_nothing(home, library):
    write(home, library, ("old.xmp", b"new"))
    assert take_back(home, dry=True) == {"old.xmp": UndoOutcome.RESTORED}
    assert (library / "old.xmp").read_bytes() == b"new"
    assert Journal(home).runs()[0].undone is None


def test_a_run_that_writes_nothing_leaves_no_trace(home, library):
    write(home, library, ("old.xmp", b"old\r\n\xff"))
    assert Journal(home).runs() == ()
    assert not Journal(home).path.exists()


def test_preview_writes_nothing(bare_home, library):
    outcome = preview(files(library, ("fresh.xmp", b"x"))[0])
    assert [p.name for p in outcome.paths] == ["fresh.xmp"]
    assert not (library / "fresh.xmp").exists()
    assert not bare_home.exists()


def test_the_second_of_two_runs_is_told_who_holds_the_lock(home, library):
    with run_lock(home, "caption"):
        code = (
            "from pathlib import Path\nfrom engine.core.errors import StoreLockedError\n"
            "from engine.sidecars.lock import run_lock\n"
            f"try:\n    with run_lock(Path({str(home)!r}), 'undo'): print('held')\n"
            "except StoreLockedError as err: print(err)"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
        assert f"process {os.getpid()}" in told
        assert "myvlm caption" in told
        with pytest.raises(StoreLockedError), Writer(home, "caption"):
            pass
    with Writer(home, "caption"):
        pass


def test_a_file_that_changes_meanwhile_is_merged_anew(home, library):
    path = library / "old.xmp"
    seen = []

    def plan(existing):
        seen.append(existing)
        if len(seen) == 1:  # another program writes between our reading and our writing
            path.write_bytes(b"theirs")
        return Merge((existing or b"") + b"+ours")

    with Writer(home, "caption") as writer:
        outcome = writer.write([SidecarEdit(path, (FileEdit(path, plan),))])[0]
    assert outcome.error is None
    assert path.read_bytes() == b"theirs+ours"
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED}
    assert path.read_bytes() == b"theirs", "what the other program wrote is what was there before us"


def test_a_file_that_never_rests_is_left_alone(home, library):
    path = library / "old.xmp"

    def plan(existing):
        path.write_bytes(os.urandom(8))
        return Merge(b"ours")

    with Writer(home, "caption") as writer:
        outcome = writer.write([SidecarEdit(path, (FileEdit(path, plan),))])[0]
    assert isinstance(outcome.error, SidecarError)
    assert "keeps changing" in str(outcome.error)
    assert path.read_bytes() != b"ours"


def test_one_bad_sidecar_does_not_stop_the_others(home, library):
    def refuse(existing):
        raise SidecarError("the sidecar is not well-formed XML")

    with Writer(home, "caption") as writer:
        bad = SidecarEdit(
            library / "a.jpg", (FileEdit(library / "old.xmp", refuse), FileEdit(library / "a.json", becomes(b"{}")))
        )
        outcomes = writer.write([bad, *files(library, ("fresh.xmp", b"x"))])
    assert "old.xmp: the sidecar is not well-formed" in str(outcomes[0].error)
    assert not (library / "a.json").exists(), "the JSON sidecar would say that the photo was done"
    assert outcomes[1].error is None
    assert (library / "fresh.xmp").exists()


def test_a_links_target_is_written_not_the_link(home, library, tmp_path):
    (tmp_path / "real.xmp").write_bytes(b"real")
    (library / "link.xmp").symlink_to(tmp_path / "real.xmp")
    write(home, library, ("link.xmp", b"new"))
    assert (library / "link.xmp").is_symlink()
    assert (tmp_path / "real.xmp").read_bytes() == b"new"
    take_back(home)
    assert (tmp_path / "real.xmp").read_bytes() == b"real"


def test_a_link_to_itself_fails_alone(home, library):
    (library / "loop.xmp").symlink_to(library / "loop.xmp")
    with Writer(home, "caption") as writer:
        outcome = writer.write(files(library, ("loop.xmp", b"x")))[0]
    assert isinstance(outcome.error, SidecarError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_points_to_the_way_out(home, library):
    library.chmod(0o500)
    with Writer(home, "caption") as writer:
        outcome = writer.write(files(library, ("fresh.xmp", b"x")))[0]
    library.chmod(0o700)
    assert "--sidecar-dir" in outcome.error.hint


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_no_permission_is_the_photos_failure(home, library, monkeypatch, code):
    def fail(path, data, mode=None):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("engine.sidecars.writer.write_atomically", fail)
    with Writer(home, "caption") as writer:
        outcome = writer.write(files(library, ("fresh.xmp", b"x")))[0]
    assert "--sidecar-dir" in outcome.error.hint
    assert take_back(home) == {"fresh.xmp": UndoOutcome.UNCHANGED}


def test_a_full_disk_ends_the_run(home, library, monkeypatch):
    def fail(path, data, mode=None):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("engine.sidecars.writer.write_atomically", fail)
    with pytest.raises(EnvironmentFault, match="No space left"), Writer(home, "caption") as writer:
        writer.write(files(library, ("old.xmp", b"x")))
    assert (library / "old.xmp").read_bytes() == b"old\r\n\xff"


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(bare_home, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"{TEMPORARY_MARK}{dead.pid}-aa").touch()
    (tmp_path / f"{TEMPORARY_MARK}{os.getppid()}-bb").touch()
    (tmp_path / f"{TEMPORARY_MARK}{os.getpid()}-cc").touch()  # in containers, every run has the same number
    old = tmp_path / f"{TEMPORARY_MARK}{os.getppid()}-dd"
    old.touch()
    os.utime(old, (0, 0))
    (tmp_path / f"{TEMPORARY_MARK}old-form").touch()
    (tmp_path / "photo.jpg").touch()
    assert remove_leftovers(tmp_path) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{TEMPORARY_MARK}{os.getppid()}-bb", "photo.jpg"]
    assert remove_leftovers(tmp_path / "nowhere") == 0


def test_a_killed_run_is_cleared_up_by_the_next(home, library):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    journal = Journal(home)
    journal.record(
        "r0", "caption", NOW, [Write(library / "old.xmp", library / "p.jpg", b"old\r\n\xff", sha256_of(b"x"))]
    )
    journal.close()
    leftover = library / f"{TEMPORARY_MARK}{dead.pid}-aa"
    leftover.touch()
    write(home, library, ("other.xmp", b"x"))
    assert not leftover.exists()
    assert all(r.finished for r in Journal(home).runs())
    assert take_back(home, "r0") == {"old.xmp": UndoOutcome.UNCHANGED}, "the write was recorded and never made"


def test_runs_are_found_by_their_beginning(home, library):
    run = write(home, library, ("a.xmp", b"x"))
    journal = Journal(home)
    assert journal.find_run(run[:13]).id == run
    with pytest.raises(UsageError, match="no run 'zzz'"):
        journal.find_run("zzz")
    other = write(home, library, ("a.xmp", b"y"))
    with pytest.raises(UsageError, match="several runs"):
        journal.find_run(run[:4])
    assert [r.id for r in journal.runs()] == [other, run]
    assert (journal.runs()[0].files, journal.runs()[0].photos) == (1, 1)


def test_undo_of_bytes_that_were_forgotten_takes_out_only_what_is_ours(home, library):
    from engine.sidecars.xmp import SidecarContent, merge_content

    words = SidecarContent("Anna is here.", ("Anna",), ("Anna",), (), ("a@1",), "vlm@1", "s")
    theirs = merge_content(None, replace(words, names=("Rex",), people=()), NOW).data
    human = theirs.replace(b"Anna is here.", b"Rex in the sun")
    (library / "old.xmp").write_bytes(human)
    ours = merge_content(human, words, NOW).data
    write(home, library, ("old.xmp", ours), ("old.json", b"{}"))
    journal = Journal(home)
    assert journal.forget(lambda data: b"Rex" in data, lambda path: False) == 1
    journal.close()
    assert take_back(home) == {"old.xmp": UndoOutcome.CLEANED, "old.json": UndoOutcome.DELETED}
    left = (library / "old.xmp").read_bytes()
    assert b"Rex in the sun" in left
    assert b"Anna" not in left


def test_pruning_keeps_the_newest(home, library):
    write(home, library, ("a.xmp", b"1"))
    newest = write(home, library, ("a.xmp", b"2"))
    assert Journal(home).prune(1) == 1
    assert [r.id for r in Journal(home).runs()] == [newest]
    assert list(Journal(home).sidecars()) == [library / "a.xmp"]


def test_names_that_are_not_utf8_are_journalled(home, library):
    name = os.fsdecode(b"caf\xe9.xmp")
    write(home, library, (name, b"x"))
    assert take_back(home) == {name: UndoOutcome.DELETED}


def test_everything_is_private(home, library):
    old = os.umask(0)
    try:
        write(home, library, ("a.xmp", b"x"))
    finally:
        os.umask(old)
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_file_written_twice_in_a_run_becomes_what_it_was_before_both(home, library):
    with Writer(home, "caption") as writer:
        (library / "link.xmp").symlink_to(library / "old.xmp")
        writer.write([*files(library, ("old.xmp", b"one")), *files(library, ("link.xmp", b"two"))])
        writer.write(files(library, ("old.xmp", b"three")))
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED}
    assert (library / "old.xmp").read_bytes() == b"old\r\n\xff"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner(home, library):
    os.chown(library / "old.xmp", 1234, 2345)
    write(home, library, ("old.xmp", b"new"))
    found = (library / "old.xmp").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)


def test_folders_that_cannot_be_synced_are_written_all_the_same(home, library, monkeypatch):
    import stat

    real = os.fsync

    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write(home, library, ("old.xmp", b"new"))
    assert (library / "old.xmp").read_bytes() == b"new"


def test_a_link_into_a_folder_that_is_not_there_makes_none(home, library, tmp_path):
    (library / "gone.xmp").symlink_to(tmp_path / "nas" / "gone.xmp")
    with Writer(home, "caption") as writer:
        outcome = writer.write(files(library, ("gone.xmp", b"x")))[0]
    assert isinstance(outcome.error, SidecarError)
    assert not (tmp_path / "nas").exists()


def test_a_killed_undo_leaves_its_temporary_files_to_the_next_run(home, library, monkeypatch):
    run = write(home, library, ("old.xmp", b"new"))

    def die(path, data, mode=None):
        (library / f"{TEMPORARY_MARK}999999999-aa").touch()
        raise KeyboardInterrupt  # as good as a kill: nothing after it runs but clean-up of this process

    monkeypatch.setattr("engine.sidecars.undo.write_atomically", die)
    with pytest.raises(KeyboardInterrupt):
        take_back(home, run)
    monkeypatch.undo()
    write(home, library, ("other.xmp", b"x"))
    assert not [p for p in library.iterdir() if TEMPORARY_MARK in p.name]


def test_a_run_with_relative_paths_is_undone_from_any_folder(home, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(home, Path("library"), ("old.xmp", b"new"))
    assert Journal(home).runs()[0].folder == library
    monkeypatch.chdir("/")
    assert take_back(home) == {"old.xmp": UndoOutcome.RESTORED}


def test_relative_paths_of_older_versions_are_never_taken_for_files_that_are_gone(home, library, tmp_path, monkeypatch):
    fresh = Path("library/fresh.xmp")
    monkeypatch.chdir(tmp_path)
    fresh.write_bytes(b"fresh")
    Journal(home).record("r1", "caption", NOW, [Write(fresh, Path("library/p.jpg"), None, sha256_of(b"fresh"))])
    monkeypatch.chdir("/")
    _, (done,) = undo(home, None)
    assert (done.outcome, "run myvlm undo there" in done.reason) == (UndoOutcome.FAILED, True)
    assert Journal(home).runs()[0].undone is None
    monkeypatch.chdir(tmp_path)
    assert take_back(home) == {"fresh.xmp": UndoOutcome.DELETED}


@pytest.mark.parametrize(
    ("photos", "folder"),
    [
        (("/a/b/x.jpg",), "/a/b"),
        (("/a/b/x.jpg", "/a/bc/y.jpg"), "/a"),
        (("/a/b/x.jpg", "/a/b/c/y.jpg", "/a/b/d/z.jpg"), "/a/b"),
        (("/x.jpg", "/y.jpg"), "/"),
        (("/a/b/x.jpg", "/a/b/x.jpg.jpg"), "/a/b"),
    ],
)
def test_a_run_knows_the_folder_of_its_photos(home, photos, folder):
    writes = [Write(Path(f"{p}.xmp"), Path(p), None, "hash") for p in photos]
    Journal(home).record("r1", "caption", NOW, writes)
    (run,) = Journal(home).runs()
    assert (run.folder, run.photos) == (Path(folder), len(photos))
