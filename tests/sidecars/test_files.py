"""Sidecars as disks and other programs leave them: other spellings, pipes, devices, empty files, later versions."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.sidecars.rdf.forms import DC
from engine.sidecars.rdf.packet import Packet
from tests.learned import draw_album
from tests.photo_files import extended_xmp, guid_of, jpeg_with
from tests.sidecars.xmp_oracles import array, block, description, wrap

NFC, NFD = "caf\xe9", "cafe\u0301"
HUMAN = wrap(block(description("Human words")))


@pytest.fixture
def album(session, tmp_path):
    """Rex alone, Rex with Anna, nobody; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture
def one(album):
    """A folder with a photo of nobody, called `it.jpg`."""
    folder = album.parent / "one"
    folder.mkdir()
    shutil.copy(album / "nobody.jpg", folder / "it.jpg")
    return folder


@pytest.mark.parametrize(
    ("photo", "sidecar"),
    [
        ("IMG_1.JPG", "IMG_1.jpg.xmp"),
        ("IMG_1.JPG", "img_1.XMP"),
        (f"{NFC}.jpg", f"{NFD}.jpg.xmp"),
        (f"{NFC}.jpg", f"{NFD}.xmp"),
        (f"{NFD}.jpg", f"{NFC}.JPG.xmp"),
    ],
)
def test_a_humans_words_in_another_spelling_are_kept(myvlm, one, photo, sidecar):
    (one / "it.jpg").rename(one / photo)
    (one / sidecar).write_bytes(HUMAN)
    for _ in range(2):
        result = myvlm("caption", one, "--json")
        assert result.code == 0, result.err
        assert [p.name for p in one.iterdir() if p.suffix.lower() == ".xmp"] == [sidecar]
        assert Packet((one / sidecar).read_bytes()).default_text(DC, "description") == "Human words"
    assert result.json["summary"] == {"unchanged": 1}


def test_two_sidecars_of_one_photo_are_reported_and_left_alone(myvlm, album):
    for name in (f"{NFC}.jpg.xmp", f"{NFD}.jpg.xmp"):
        (album / name).write_bytes(HUMAN)
    (album / "rex.jpg").rename(album / f"{NFC}.jpg")
    for name in ("both.jpg.xmp", "BOTH.jpg.xmp"):
        (album / name).write_bytes(HUMAN)
    before = tree(album)
    result = myvlm("caption", album)
    assert result.code == 1
    assert "failed: " in result.err
    assert "differ in Unicode form only" in result.err
    assert "BOTH.jpg.xmp and both.jpg.xmp differ in letter case only" in result.err.replace(
        "both.jpg.xmp and BOTH.jpg.xmp", "BOTH.jpg.xmp and both.jpg.xmp"
    )
    after = tree(album)
    assert {n: after[n] for n in before} == before
    assert set(after) - set(before) == {"nobody.jpg.xmp", "nobody.jpg.myvlm.json"}
    status = myvlm("status", album, "--json")
    assert status.code == 1
    assert json.dumps(status.json).count('"failed"') >= 2


def test_scrubbing_looks_at_both_sidecars_of_a_photo(myvlm, album):
    myvlm("caption", album / "rex.jpg")
    ours = (album / "rex.jpg.xmp").read_bytes()
    assert b"Rex" in ours
    elsewhere = album.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(album / "rex.jpg", elsewhere / "rex.jpg")
    for name in ("rex.jpg.xmp", "REX.jpg.xmp"):
        (elsewhere / name).write_bytes(ours)
    result = myvlm("forget", "Rex", "--scrub-sidecars", elsewhere, "--yes")
    assert result.code == 0, result.err
    for path in elsewhere.glob("*.xmp"):
        assert b"Rex" not in path.read_bytes(), path


def make_irregular(folder: Path) -> dict[str, str]:
    """Photos with sidecars that no program should read; what is said of each."""
    for name in ("pipe", "bare", "json", "device", "folder", "huge", "loop", "empty", "nul", "fine"):
        shutil.copy(folder / "it.jpg", folder / f"{name}.jpg")
    (folder / "it.jpg").unlink()
    os.mkfifo(folder / "pipe.jpg.xmp")
    os.mkfifo(folder / "bare.xmp")
    os.mkfifo(folder / "json.jpg.myvlm.json")
    (folder / "device.jpg.xmp").symlink_to("/dev/zero")
    (folder / "folder.jpg.xmp").mkdir()
    with (folder / "huge.jpg.xmp").open("wb") as f:
        f.truncate(3 * 2**30)
    (folder / "loop.jpg.xmp").symlink_to("loop.jpg.xmp")
    (folder / "empty.jpg.xmp").touch()
    (folder / "nul.jpg.xmp").write_bytes(b"\0" * 512)
    (folder / "elsewhere").write_bytes(HUMAN)
    (folder / "fine.jpg.xmp").symlink_to("elsewhere")
    return {
        "pipe": "pipe.jpg.xmp: not a regular file (a named pipe)",
        "bare": "bare.xmp: not a regular file (a named pipe)",
        "json": "json.jpg.myvlm.json: not a regular file (a named pipe)",
        "device": "device.jpg.xmp: not a regular file (a device)",
        "folder": "folder.jpg.xmp: Is a directory",
        "huge": "huge.jpg.xmp: the file is larger than 32 MiB",
        "loop": "loop.jpg.xmp: Too many levels of symbolic links",
        "empty": "empty.jpg.xmp: the sidecar is empty; delete it",
        "nul": "nul.jpg.xmp: the sidecar is empty (it holds nothing but NUL bytes); delete it",
    }


def test_irregular_sidecars_are_refused_at_once_and_lists_come_from_pipes(myvlm, one):
    said = make_irregular(one)
    command = f"{sys.executable} -W ignore -m myvlm_cli.main"
    listed = f"printf '%s\\n' '{one}'/*.jpg"
    line = f"exec timeout -s KILL 120 {command} caption --jsonl --files-from <({listed})"
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    status = myvlm("status", one, "--jsonl")
    assert status.code == 1
    for printed in (status.out, result.stdout):
        documents = {Path(d["file"]).stem: d for d in map(json.loads, printed.splitlines())}
        assert set(documents) == {*said, "fine"}
        for name, reason in said.items():
            assert reason in documents[name]["reason"], name
    assert documents["fine"]["status"] == "ok"
    assert b"Human words" in (one / "elsewhere").read_bytes()
    assert (one / "fine.jpg.xmp").is_symlink()
    assert (one / "empty.jpg.xmp").read_bytes() == b""
    assert (one / "nul.jpg.xmp").read_bytes() == b"\0" * 512


@pytest.mark.parametrize("options", [(), ("--force",), ("--dry-run",)])
def test_what_a_newer_version_wrote_is_left_alone(myvlm, one, options):
    myvlm("caption", one)
    path = one / "it.jpg.myvlm.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 2', b'"schema": 3'))
    (one / "it.jpg.xmp").write_bytes(HUMAN)
    before = tree(one)
    result = myvlm("caption", one, *options)
    assert result.code == 1
    assert f"failed: {path}: a newer version of myvlm wrote this sidecar" in result.err.replace("\n", " ")
    assert tree(one) == before
    status = myvlm("status", one)
    assert status.code == 1
    assert "a newer version of myvlm" in status.out + status.err


EXTENDED = wrap(block(description("Our own words") + array("dc:subject", "family")))


def test_extended_xmp_is_kept_or_the_photo_left_alone(myvlm, one):
    note = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
    main = wrap(block(f"<xmpNote:HasExtendedXMP>{guid_of(EXTENDED).decode()}</xmpNote:HasExtendedXMP>", note))
    head = b"http://ns.adobe.com/xap/1.0/\0" + main
    parts, plain = extended_xmp(EXTENDED, 200), (one / "it.jpg").read_bytes()
    (one / "it.jpg").write_bytes(jpeg_with(plain, (0xE1, head), *((0xE1, c) for c in parts)))
    (one / "cut.jpg").write_bytes(jpeg_with(plain, (0xE1, head), *((0xE1, c) for c in parts[:-1])))
    result = myvlm("caption", one)
    assert result.code == 1
    assert "cut.jpg.xmp: the photo's embedded metadata is damaged (the photo's Extended XMP is damaged" in result.err
    packet = Packet((one / "it.jpg.xmp").read_bytes())
    assert packet.default_text(DC, "description") == "Our own words"
    assert packet.items(DC, "subject") == ["family"]
    assert not (one / "cut.jpg.xmp").exists()
    assert not (one / "cut.jpg.myvlm.json").exists()


@pytest.mark.parametrize("case", ["sidecar_nfd", "sidecar_case", "extended_xmp", "empty_sidecar"])
def test_shared_cases(myvlm, session, no_vlm, shared, tmp_path, case):
    if not (shared / "cases" / case).is_dir():
        pytest.skip(f"../shared/cases/{case} is not here")
    folder = tmp_path / case
    folder.mkdir()
    for path in (shared / "cases" / case).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    before = tree(folder)
    result = myvlm("caption", folder)
    after = tree(folder)
    assert {n: d for n, d in after.items() if n.lower().endswith((".jpg", "readme"))} == {
        n: d for n, d in before.items() if n.lower().endswith((".jpg", "readme"))
    }
    if case == "empty_sidecar":
        assert result.code == 1
        assert result.err.count("the sidecar is empty") == 2
        assert after == before
        return
    assert result.code == 0, result.err
    (sidecar,) = folder.glob("*.xmp")
    told = Packet(sidecar.read_bytes()).default_text(DC, "description")
    assert told == ("Our own words, kept in the extended part" if case == "extended_xmp" else "Human words")
