"""Scanning a library: what is cached is never looked at again, and nothing else is written."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import engine.captioning.photo_steps
import engine.recognition.scan
from engine.core.boxes import Box, iou
from engine.core.errors import UsageError
from engine.photos.discovery import find_files
from engine.recognition.scan import BATCH, ScanRequest, scan
from engine.session import Session, SessionOptions
from engine.storybook.world.individuals import draw_individual
from engine.vision.cache import FeatureCache
from engine.vision.extractor import FeatureExtractor
from engine.vision.regions import overlaps
from tests.kill import vary
from tests.learned import draw_album, draw_references
from tests.photo_files import make_dng


@pytest.fixture
def plain(home):
    """A session on an empty data folder."""
    return Session(SessionOptions("storybook"), home)


@pytest.fixture
def album(tmp_path):
    draw_album(tmp_path / "album")
    return tmp_path / "album"


@pytest.fixture
def decoded(monkeypatch):
    """The photos that a scan decoded, counted at the one place that decodes."""
    return count_calls(monkeypatch, engine.recognition.scan)


def count_calls(monkeypatch, module) -> Counter[str]:
    count: Counter[str] = Counter()
    decode = module.decode_photo

    def counting(file, **options):
        count[file.path.name] += 1
        return decode(file, **options)

    monkeypatch.setattr(module, "decode_photo", counting)
    return count


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*")}


def statuses(result) -> dict[str, str]:
    return {Path(p["file"]).name: p["status"] for p in result.json["photos"]}


def forbid(monkeypatch) -> None:
    """Let every look at pixels by the recogniser fail."""

    def refuse(*_):
        raise AssertionError("the recogniser was asked")

    for name in ("find_faces", "find_regions", "encode_views"):
        monkeypatch.setattr(FeatureExtractor, name, refuse)


def test_a_second_scan_decodes_nothing_and_writes_nothing(plain, album, decoded, home):
    before = tree(album)
    first = list(scan(plain, find_files([album])))
    assert [(r.path.name, r.status) for r in first] == [("both.jpg", "ok"), ("nobody.jpg", "ok"), ("rex.jpg", "ok")]
    assert [r.faces for r in first] == [1, 0, 0]
    assert all(r.regions for r in first)
    assert decoded == dict.fromkeys(("both.jpg", "nobody.jpg", "rex.jpg"), 1)
    rows = (home / "cache" / "features.db").stat().st_mtime_ns
    again = list(scan(Session(SessionOptions("storybook"), home), find_files([album])))
    assert {r.status for r in again} == {"unchanged"}
    assert decoded.total() == 3
    assert (home / "cache" / "features.db").stat().st_mtime_ns == rows
    assert tree(album) == before
    assert "vlm" not in vars(plain), "no VLM is loaded"
    assert not (home / "store.db").exists(), "no concept store is needed"
    private = {home: 0o700, home / "cache": 0o700, home / "cache" / "features.db": 0o600}
    assert {path: path.stat().st_mode & 0o777 for path in private} == private


def test_a_copy_elsewhere_is_known_by_its_picture(plain, album, decoded, tmp_path):
    list(scan(plain, find_files([album])))
    shutil.copytree(album, tmp_path / "copy")
    assert {r.status for r in scan(plain, find_files([tmp_path / "copy"]))} == {"unchanged"}
    assert decoded.total() == 3


def test_features_of_another_recogniser_are_computed_anew(plain, album, decoded, monkeypatch):
    list(scan(plain, find_files([album])))
    monkeypatch.setattr(type(plain.recogniser_config), "regions_id", property(lambda self: "regions:of another"))
    assert {r.status for r in scan(plain, find_files([album]))} == {"ok"}


def test_bad_files_are_told_and_the_rest_goes_on(myvlm, album):
    (album / "broken.jpg").write_bytes((album / "rex.jpg").read_bytes()[:5000])
    (album / "empty.jpg").write_bytes(b"")
    (album / "text.jpg").write_bytes(b"not a photo")
    result = myvlm("scan", album, album / "absent.jpg", "--json")
    assert result.code == 1, result.err
    assert statuses(result) == {
        "both.jpg": "ok",
        "nobody.jpg": "ok",
        "rex.jpg": "ok",
        **dict.fromkeys(("broken.jpg", "empty.jpg", "text.jpg", "absent.jpg"), "failed"),
    }
    assert result.json["summary"] == {"ok": 3, "failed": 4}
    reasons = [p["reason"] for p in result.json["photos"] if p["status"] == "failed"]
    assert all(f"failed: {reason}" in result.err for reason in reasons)
    again = myvlm("scan", album)
    assert (again.code, again.out) == (1, "")
    assert "3 failed, 3 unchanged" in again.err


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3000, 2)])
def test_photos_of_odd_shapes_are_scanned(plain, tmp_path, size):
    from PIL import Image

    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "odd.png")
    assert [r.status for r in scan(plain, [tmp_path / "odd.png"])] == ["ok"]


def test_limit_counts_photos_that_needed_work(myvlm, album):
    (album / "aaa.jpg").write_bytes(b"not a photo")
    assert statuses(myvlm("scan", album, "--limit", "1", "--json")) == {"aaa.jpg": "failed", "both.jpg": "ok"}
    assert statuses(myvlm("scan", album, "--limit", "1", "--json")) == {
        "aaa.jpg": "failed",
        "both.jpg": "unchanged",
        "nobody.jpg": "ok",
    }
    assert myvlm("scan", album, "--limit", "5", "--json").json["summary"] == {"failed": 1, "unchanged": 2, "ok": 1}


def test_companions_and_videos_as_in_caption(myvlm, album, decoded):
    shutil.copy(album / "rex.jpg", album / "IMG_1.JPG")
    (album / "IMG_1.DNG").write_bytes(make_dng((album / "rex.jpg").read_bytes()))
    shutil.copy(album / "rex.jpg", album / "IMG_2.JPG")
    (album / "IMG_2.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    (album / "film.mp4").write_bytes(b"\0\0\0\x14ftypmp42")
    (album / "IMG_3.JPG").write_bytes(b"broken")
    (album / "IMG_3.CR2").write_bytes(b"II*\0 a raw file")
    result = myvlm("scan", album, "--json")
    found = statuses(result)
    assert (found["IMG_1.JPG"], found["IMG_1.DNG"]) == ("ok", "ok")
    assert (found["IMG_3.JPG"], found["IMG_3.CR2"]) == ("failed", "skipped")
    assert {n for n, s in found.items() if s == "skipped"} == {"IMG_2.MOV", "IMG_3.CR2", "film.mp4"}
    assert "2 videos skipped" in result.err
    assert "IMG_1.DNG" not in decoded


def test_files_can_be_chosen_and_listed(myvlm, album, tmp_path):
    assert list(statuses(myvlm("scan", album, "--include", "r*.jpg", "--json"))) == ["rex.jpg"]
    assert list(statuses(myvlm("scan", album, "--exclude", "*o*.jpg", "--json"))) == ["rex.jpg"]
    assert myvlm("scan", album, "--since", "2300-01-01", "--json").json == {"photos": [], "summary": {}}
    (tmp_path / "list").write_bytes(b"\0".join(os.fsencode(p) for p in sorted(album.glob("*.jpg"))))
    lines = myvlm("scan", "--files-from", tmp_path / "list", "-0", "--jsonl").lines
    assert [(Path(p["file"]).name, p["status"]) for p in lines] == [
        ("both.jpg", "ok"),
        ("nobody.jpg", "ok"),
        ("rex.jpg", "unchanged"),
    ]
    quiet = myvlm("-q", "scan", album)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    talkative = myvlm("-v", "scan", album)
    assert "rex.jpg: scanned already" in talkative.err
    assert "Nothing to do: 3 photos indexed already." in talkative.err


def test_faces_alone_and_regions_alone_make_a_whole(myvlm, album, decoded):
    found = myvlm("scan", album, "--faces-only", "--json").json["photos"]
    assert [(p["faces"], p["regions"]) for p in found] == [(1, None), (0, None), (0, None)]
    assert set(statuses(myvlm("scan", album, "--faces-only", "--json")).values()) == {"unchanged"}
    found = myvlm("scan", album, "--regions-only", "--json").json["photos"]
    assert all(p["faces"] is None and p["regions"] for p in found)
    assert set(statuses(myvlm("scan", album, "--json")).values()) == {"unchanged"}
    assert decoded.total() == 6
    both = myvlm("scan", album, "--faces-only", "--regions-only")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_asking_for_nothing_is_refused(plain, album):
    with pytest.raises(UsageError):
        list(scan(plain, find_files([album]), ScanRequest(faces=False, regions=False)))


def test_caption_after_a_scan_computes_no_features(myvlm, album, session, monkeypatch):
    assert myvlm("concepts", "clear-cache").code == 0
    assert myvlm("scan", album).code == 0
    forbid(monkeypatch)
    result = myvlm("caption", album, "--json")
    assert result.code == 0, result.err
    names = {Path(p["file"]).name: [c["name"] for c in p["concepts"]] for p in result.json["photos"]}
    assert names == {"both.jpg": ["Anna", "Rex"], "nobody.jpg": [], "rex.jpg": ["Rex"]}


def test_a_new_concept_over_a_scanned_library_needs_no_pixel(myvlm, album, session, monkeypatch):
    """Captioned and scanned: enrolling somebody else decodes none of the photos again."""
    myvlm("caption", album)
    decoded = count_calls(monkeypatch, engine.captioning.photo_steps)
    draw_references(album.parent / "Bo", draw_individual(np.random.default_rng(5), "cat"), 5)
    assert myvlm("add-concept", "Bo", album.parent / "Bo").code == 0
    assert set(statuses(myvlm("caption", album, "--json")).values()) == {"unchanged"}
    assert not decoded


def test_a_cleared_cache_is_noticed(myvlm, album, decoded):
    myvlm("scan", album)
    assert "unchanged" in statuses(myvlm("scan", album, "--json")).values()
    myvlm("concepts", "clear-cache")
    assert set(statuses(myvlm("scan", album, "--json")).values()) == {"ok"}
    assert decoded.total() == 6


def test_an_interrupted_scan_goes_on_where_it_ended(album, home):
    """SIGINT as soon as the first batch is cached: what was told is cached, and only the rest is scanned again."""
    for k in range(8):
        draw_album(album / str(k))
    vary(album)
    total = len(list(album.rglob("*.jpg")))
    command = [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", "scan", str(album), "--jsonl"]
    pipe = 4096  # bytes: with some of the lines in it the scan waits, and cannot end before the signal
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pipesize=pipe)
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    rest, complaints = running.communicate(timeout=120)
    told = [first, *rest.splitlines()]
    assert running.returncode == 130, complaints
    assert "Traceback" not in complaints
    assert len(told) < total
    again = Counter(r.status for r in scan(Session(SessionOptions("storybook"), home), find_files([album])))
    assert again["unchanged"] >= len(told)
    assert again["ok"] >= 1
    assert again.total() == total


def test_a_kill_loses_at_most_the_batch_in_hand(album, home):
    for k in range(8):
        draw_album(album / str(k))
    vary(album)
    command = [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", "scan", str(album), "--jsonl"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    told = [running.stdout.readline() for _ in range(BATCH + 1)]
    running.kill()
    told += running.communicate(timeout=120)[0].splitlines()
    results = list(scan(Session(SessionOptions("storybook"), home), find_files([album])))
    assert all(r.status == "unchanged" for r in results[: len(told)])
    assert not any(r.status == "failed" for r in results)


def test_two_scans_at_once_do_not_disturb_each_other(album, home):
    command = [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", "scan", str(album), "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    assert [(len(b.communicate(timeout=120)[0]) > 0, b.returncode) for b in both] == [(True, 0), (True, 0)]


def test_the_index_says_what_the_cache_has(tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    assert not cache.has_any("a", ["m"])
    assert not (tmp_path / "cache").exists(), "looking creates nothing"
    cache.save("m", [("a", {"x": np.zeros(3, np.float32)}), ("b", {})])
    cache.save("n", [("a", {"x": np.zeros(3, np.float32)})])
    assert cache.has_any("a", ["m"])
    assert cache.has_any("a", ["m", "n"])
    assert cache.has_any("b", ["m"])
    assert cache.has_any("b", ["n", "m"])
    assert not cache.has_any("b", ["n"])
    assert not cache.has_any("c", ["m"])
    with sqlite3.connect(tmp_path / "cache" / "features.db") as db:
        plan = db.execute(
            "explain query plan select count(*) from features where content_hash = 'a' and model in ('m')"
        )
        assert "COVERING INDEX" in plan.fetchall()[0][3]
    db.close()


def test_a_damaged_cache_has_nothing(tmp_path):
    FeatureCache(tmp_path).save("m", [("a", {})])
    (tmp_path / "features.db").write_bytes(b"not a database, and longer than a header of one would be" * 100)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"features.db{suffix}").unlink(missing_ok=True)
    assert not FeatureCache(tmp_path).has_any("a", ["m"])


def test_overlaps_of_all_pairs_are_those_of_each():
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 100, (12, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    boxes[3] = boxes[3][[0, 1, 0, 1]]  # empty
    each = [[iou(Box(*a), Box(*b)) for b in boxes] for a in boxes]
    assert np.allclose(overlaps(boxes), each)


def test_the_benchmark_still_runs(tmp_path):
    from tests.bench_scan import measure

    began = time.monotonic()
    figures = measure(tmp_path, 3, 5, 1)
    assert figures["matched_photos"] == 5
    assert 0 < figures["match_rex_s"]["median"] < time.monotonic() - began
