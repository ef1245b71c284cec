"""`myvlm caption --watch`, as a process of its own that is stopped by a signal."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.sidecars.lock import run_lock
from engine.sidecars.rdf.forms import DC
from tests.kill import HUMAN
from tests.learned import draw_album
from tests.library.sample import edit

QUICK = (
    "import faulthandler, signal\n"
    "faulthandler.register(signal.SIGUSR1)\n"
    "import engine.captioning.settling as s, engine.captioning.file_events as f, engine.captioning.watch as w\n"
    "s.SETTLE_SECONDS, f._STEP_MS, f._ALIVE_SECONDS, w._FIRST_RETRY = .5, 100, .2, 1.0\n"
    "from myvlm_cli.main import main; main()"
)


class Watching:
    """A running `myvlm caption --watch`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.log = folder, folder.parent / "watch.log"
        self.out = folder.parent / "watch.out"
        command = [sys.executable, "-W", "ignore", "-c", QUICK, "caption", str(folder), "--watch", *options]
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=log)

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def told(self) -> str:
        return self.log.read_text()

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.told
            assert time.monotonic() < end, self.told
            time.sleep(0.05)

    def until_told(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.told.count(text) >= times)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)  # the log says where it is
            time.sleep(1)
            raise AssertionError(self.told) from None


@pytest.fixture
def album(session, tmp_path) -> Path:
    """Rex, Rex with Anna, nobody, outside of the watched folder; a store that knows both is MYVLM_HOME."""
    session.store.close()
    draw_album(tmp_path / "source")
    (tmp_path / "album" / "2026").mkdir(parents=True)
    return tmp_path / "album"


def copy(album: Path, name: str, to: str) -> Path:
    target = album / to
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(album.parent / "source" / name, target)
    return target


def runs(myvlm) -> list[dict]:
    return myvlm("runs", "--json").json["runs"]


def test_what_arrives_is_captioned_until_it_is_stopped(myvlm, album):
    copy(album, "nobody.jpg", "2026/before.jpg")
    with Watching(album, "--jsonl") as watching:
        watching.until_told("Ctrl-C ends it")
        assert len(runs(myvlm)) == 1  # of the normal run
        slow = album / "2026" / "slow.jpg"
        data = (album.parent / "source" / "rex.jpg").read_bytes()
        with slow.open("wb") as f:  # a camera writes it bit by bit
            for start in range(0, len(data), len(data) // 8):
                f.write(data[start : start + len(data) // 8])
                f.flush()
                time.sleep(0.2)
        watching.until_told("1 ok", 2)
        sidecar = slow.with_name("slow.jpg.xmp")
        assert b"Rex" in sidecar.read_bytes()
        edit(slow, lambda packet: packet.add_items(DC, "subject", ["seaside"]))
        watching.until(lambda: myvlm("search", "seaside").code == 0)
        (album.parent / "new" / "deep").mkdir(parents=True)
        copy(album, "both.jpg", "../new/deep/both.jpg")
        (album.parent / "new").rename(album / "new")
        watching.until((album / "new" / "deep" / "both.jpg.xmp").exists)
        slow.unlink()
        (album / "broken.jpg").write_bytes(data[:2000])
        watching.until_told("1 failed")
        time.sleep(1.5)  # what it wrote itself makes no further batch
        assert watching.stop() == 128 + signal.SIGTERM
        lines = [json.loads(line) for line in watching.out.read_text().splitlines()]
    assert [(Path(line["file"]).name, line["status"]) for line in lines] == [
        ("before.jpg", "ok"),
        ("slow.jpg", "ok"),
        ("slow.jpg", "ok"),
        ("both.jpg", "ok"),
        ("broken.jpg", "failed"),
    ]
    assert len(runs(myvlm)) == 4
    assert "Traceback" not in watching.told
    assert myvlm("undo", "--yes").code == 0
    assert not (album / "new" / "deep" / "both.jpg.xmp").exists()


def test_a_rename_a_changed_store_and_undo_are_taken_into_account(myvlm, album):
    photo = copy(album, "rex.jpg", "2026/a.jpg")
    sidecar = photo.with_name("a.jpg.xmp")
    sidecar.write_bytes(HUMAN % b"")
    with Watching(album) as watching:
        watching.until_told("Ctrl-C ends it")
        assert b"Rex" in sidecar.read_bytes()
        time.sleep(1.5)  # what the run wrote has settled, and is known
        other = copy(album, "both.jpg", "2026/c.jpg")
        watching.until_told("1 ok", 2)
        watching.until(lambda: myvlm("caption", other, "--no-concepts", "--vlm", "none").code == 0)
        watching.until_told("1 photo left as another run of myvlm wrote them")
        assert myvlm("concepts", "rename", "Rex", "Bello").code == 0
        copy(album, "rex.jpg", "2026/b.jpg")
        watching.until_told("Concepts, decisions or settings changed")
        watching.until(photo.with_name("b.jpg.xmp").exists)
        assert b"Bello" in photo.with_name("b.jpg.xmp").read_bytes()
        photo.with_name("b.jpg").rename(photo.with_name("renamed.jpg"))
        watching.until_told("1 ok", 4)
        assert photo.with_name("renamed.jpg.xmp").exists()
        first = runs(myvlm)[-1]["id"]
        watching.until(lambda: myvlm("undo", first, "--yes").code == 0)  # when the last batch is written
        watching.until_told("left as `myvlm undo` made them")
        assert sidecar.read_bytes() == HUMAN % b""
        assert watching.stop(signal.SIGINT) == 130
    assert watching.told.count("Concepts, decisions or settings changed") == 1


def test_a_batch_that_fails_as_a_whole_is_tried_again(myvlm, album, tmp_path):
    copy(album, "nobody.jpg", "before.jpg")
    with Watching(album, "--quiet", "--jsonl") as watching:
        watching.until(lambda: [r for r in runs(myvlm) if r["finished"]])
        with run_lock(Path(os.environ["MYVLM_HOME"]), "caption"):
            photo = copy(album, "rex.jpg", "2026/a.jpg")
            watching.until_told("error: another run is writing sidecars")
        watching.until(photo.with_name("a.jpg.xmp").exists)
        assert watching.stop() == 128 + signal.SIGTERM
    _, *errors, last = [json.loads(line) for line in watching.out.read_text().splitlines()]
    assert {error["error"]["code"] for error in errors} == {4}
    assert (Path(last["file"]).name, last["status"]) == ("a.jpg", "ok")
    assert "ok" not in watching.told.replace("lock", "")  # with --quiet only what went wrong is said


LOSING = """
import os, signal, time
from myvlm_cli.watch import Watcher

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(.1)

def caption(self, batch, do=Watcher._caption):
    do(self, batch)
    last = Last()
    del last

Watcher._caption = caption
"""


def test_a_signal_that_python_drops_ends_it_all_the_same(album, monkeypatch):
    monkeypatch.setattr("tests.cli.test_watch.QUICK", LOSING + QUICK)
    with Watching(album, "--vlm", "none") as watching:
        watching.until_told("Ctrl-C ends it")
        copy(album, "rex.jpg", "2026/a.jpg")
        assert watching.process.wait(timeout=60) == 128 + signal.SIGTERM
        assert "Exception ignored in" in watching.told


def test_a_folder_that_goes_away_ends_nothing(myvlm, album):
    with Watching(album, "--vlm", "none") as watching:
        watching.until_told("Ctrl-C ends it")
        album.rename(album.parent / "away")
        watching.until_told("is not there now")
        shutil.copy(album.parent / "source" / "rex.jpg", album.parent / "away" / "2026" / "a.jpg")
        (album.parent / "away").rename(album)
        watching.until_told("is back")
        watching.until((album / "2026" / "a.jpg.xmp").exists)
        assert watching.stop() == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--limit", "3"], "--watch excludes --limit, --dry-run, --force, --verify and --explain"),
        (["--dry-run"], "--watch excludes"),
        (["--force"], "--watch excludes"),
        (["--verify"], "--watch excludes"),
        (["--explain", "pictures"], "--watch excludes"),
        (["--workers", "2"], "--watch works in one process"),
        (["--json"], "Use --jsonl"),
        (["--files-from", "list"], "--watch watches folders, not lists of photos"),
        (["-"], "--watch watches folders, not lists of photos"),
        (["{album}/2026/a.jpg"], "a.jpg is a file"),
    ],
)
def test_options_that_make_no_sense_are_refused(myvlm, album, options, told):
    copy(album, "rex.jpg", "2026/a.jpg")
    result = myvlm("caption", album, "--watch", *(o.format(album=album) for o in options))
    assert result.code == 2
    assert told in result.err


def test_poll_needs_watch_and_a_missing_folder_is_an_error(myvlm, album):
    assert "--poll needs --watch" in myvlm("caption", album, "--poll", "5").err
    assert myvlm("caption", album / "missing", "--watch").code == 2


def test_models_stay_loaded_where_the_same_are_chosen(session, home):
    session.store.all()
    recogniser = session.recogniser
    same = session.renewed()
    assert same.recogniser is recogniser
    assert "store" not in session.__dict__
    assert same.store.all()
    (same.folder / "config.toml").write_text('vlm = "none"\nrecogniser = "builtin"\n')
    other = same.renewed()
    assert "recogniser" not in other.__dict__
    assert other.recogniser_config.name == "builtin"
    (same.folder / "config.toml").write_text('vlm = "none"\nrecogniser = "builtin"\ndtype = "float32"\n')
    assert other.recogniser
    assert "recogniser" not in other.renewed().__dict__


RELEASING = (
    "import gc, sys, torch, myvlm_cli.watch as w\n"
    "w._IDLE_SECONDS, release = 1.0, w.Watcher._release\n"
    "def loaded(): return sum(isinstance(o, torch.nn.Module) and hasattr(o, 'generate') for o in gc.get_objects())\n"
    "def released(self):\n"
    "    before = loaded(); release(self); print('VLMs', before, loaded(), file=sys.stderr, flush=True)\n"
    "w.Watcher._release = released\n"
)


def test_models_are_released_after_a_while(album, monkeypatch):
    monkeypatch.setattr("tests.cli.test_watch.QUICK", RELEASING + QUICK)
    copy(album, "rex.jpg", "2026/a.jpg")
    with Watching(album) as watching:
        watching.until_told("VLMs 1 0")
        copy(album, "rex.jpg", "2026/b.jpg")
        watching.until_told("VLMs 1 0", 2)
        assert (album / "2026" / "b.jpg.xmp").exists()
        watching.stop()
