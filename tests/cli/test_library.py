"""A photo library with other programs in it: what a run leaves, how it stands, how it is taken back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.sidecars.lock import run_lock
from engine.sidecars.rdf.forms import DC
from engine.sidecars.rdf.packet import Packet
from engine.storybook.world.individuals import draw_individual
from tests.kill import HUMAN, WORDS
from tests.learned import draw_album, draw_references
from tests.photo_files import make_dng


@pytest.fixture
def album(session, tmp_path):
    """Rex alone, Rex with Anna, nobody; a store that knows both is MYVLM_HOME."""
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def statuses(result) -> dict[str, str]:
    return {Path(p["file"]).name: p["status"] for p in result.json["photos"]}


def make_mixed(album: Path) -> None:
    """What twenty years leave: sidecars of both kinds of names, a RAW pair, a Live Photo, a video, foreign files."""
    (album / "rex.jpg.xmp").write_bytes(HUMAN % WORDS)
    (album / "both.xmp").write_bytes(HUMAN % b"")
    shutil.copy(album / "rex.jpg", album / "IMG_1.JPG")
    (album / "IMG_1.CR2").write_bytes(b"II*\0 a raw file")
    shutil.copy(album / "nobody.jpg", album / "IMG_2.jpg")
    (album / "IMG_2.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    (album / "film.mp4").write_bytes(b"\0\0\0\x14ftypmp42")
    shutil.copy(album / "both.jpg", album / "foreign.jpg")
    (album / "foreign.jpg.xmp").write_bytes("<x>\u00fc</x>".encode("utf-16"))


def test_undo_restores_every_byte_of_a_mixed_library(myvlm, album):
    make_mixed(album)
    before = tree(album)
    result = myvlm("caption", album, "--regions", "all", "--hierarchy", "--json")
    assert result.code == 1, result.err
    assert statuses(result) == {
        "IMG_1.JPG": "ok",
        "IMG_1.CR2": "ok",
        "IMG_2.MOV": "skipped",
        "IMG_2.jpg": "ok",
        "both.jpg": "ok",
        "film.mp4": "skipped",
        "foreign.jpg": "failed",
        "nobody.jpg": "ok",
        "rex.jpg": "ok",
    }
    assert "2 videos skipped, 1 of them parts of Live Photos" in result.err
    after = tree(album)
    assert {n: after[n] for n in before if n not in ("rex.jpg.xmp", "both.xmp")} == {
        n: d for n, d in before.items() if n not in ("rex.jpg.xmp", "both.xmp")
    }
    assert b"Our summer" in after["rex.jpg.xmp"]
    assert "both.jpg.xmp" not in after
    assert b"Rex" in after["IMG_1.CR2.xmp"]
    assert json.loads(after["IMG_1.CR2.myvlm.json"])["same_as"] == "IMG_1.JPG"
    runs = myvlm("runs", "--json").json["runs"]
    assert [r["command"] for r in runs] == ["caption"]
    result = myvlm("undo", "--json")
    assert result.code == 0, result.err
    assert set(result.json["summary"]) == {"restored", "deleted"}
    assert tree(album) == before
    assert myvlm("undo").code == 2


def test_undo_of_a_file_that_a_human_changed_keeps_the_change(myvlm, album):
    myvlm("caption", album / "rex.jpg")
    sidecar = album / "rex.jpg.xmp"
    packet = Packet(sidecar.read_bytes())
    packet.set_text("http://ns.adobe.com/xap/1.0/", "Rating", "5")
    sidecar.write_bytes(packet.serialise())
    result = myvlm("undo", "--json")
    assert result.code == 0
    assert {Path(f["file"]).name: f["status"] for f in result.json["files"]} == {
        "rex.jpg.xmp": "cleaned",
        "rex.jpg.myvlm.json": "deleted",
    }
    left = Packet(sidecar.read_bytes())
    assert left.text("http://ns.adobe.com/xap/1.0/", "Rating") == "5"
    assert left.default_text(DC, "description") is None
    assert b"Rex" not in sidecar.read_bytes()


def darktable(path: Path) -> None:
    """What darktable's next write leaves of a sidecar, when its database knows no description and no tags."""
    packet = Packet(path.read_bytes())
    packet.remove(DC, "description")
    packet.remove(DC, "subject")
    packet.remove("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject")
    path.write_bytes(packet.serialise())


def test_status_tells_how_sidecars_stand(myvlm, album):
    assert set(statuses(myvlm("status", album, "--json")).values()) == {"new"}
    myvlm("caption", album)
    assert statuses(myvlm("status", album, "--json")) == dict.fromkeys(("both.jpg", "nobody.jpg", "rex.jpg"), "current")
    before = tree(album)
    darktable(album / "rex.jpg.xmp")
    edited = album / "both.jpg.xmp"
    words = json.loads((album / "both.jpg.myvlm.json").read_text())["caption"]
    edited.write_bytes(edited.read_bytes().replace(words.encode(), b"The two in 2026"))
    result = myvlm("status", album, "--json")
    assert statuses(result) == {"both.jpg": "edited", "nobody.jpg": "current", "rex.jpg": "dropped"}
    assert "description" in next(p["reason"] for p in result.json["photos"] if p["status"] == "dropped")
    human = edited.read_bytes()
    result = myvlm("caption", album, "--json")
    assert statuses(result) == {"both.jpg": "unchanged", "nobody.jpg": "unchanged", "rex.jpg": "ok"}
    assert edited.read_bytes() == human
    again = Packet((album / "rex.jpg.xmp").read_bytes())
    first = Packet(before["rex.jpg.xmp"])
    assert again.default_text(DC, "description") == first.default_text(DC, "description")
    assert again.items(DC, "subject") == ["Rex"]
    assert statuses(myvlm("status", album, "--json")) == {
        "both.jpg": "edited",
        "nobody.jpg": "current",
        "rex.jpg": "current",
    }
    myvlm("concepts", "rename", "Rex", "Max")
    assert statuses(myvlm("status", album, "--json")) == {
        "both.jpg": "stale",
        "nobody.jpg": "current",
        "rex.jpg": "stale",
    }
    (album / "nobody.jpg.xmp").unlink()
    assert statuses(myvlm("status", album / "nobody.jpg", "--json")) == {"nobody.jpg": "dropped"}


def test_metadata_in_the_photo_makes_no_caption_stale(myvlm, album):
    from PIL import Image

    myvlm("caption", album / "both.jpg")
    data = (album / "both.jpg").read_bytes()
    comment = b"rated five stars in another program"
    (album / "both.jpg").write_bytes(
        data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
    )
    with Image.open(album / "both.jpg") as opened:
        opened.load()
    assert statuses(myvlm("caption", album / "both.jpg", "--json")) == {"both.jpg": "unchanged"}


def test_a_new_concept_leaves_photos_without_it_alone(myvlm, album):
    """Only photos in which somebody else is recognised now are captioned again; no VLM is needed for the rest."""
    from engine.captioning.caption import caption_photos
    from engine.captioning.caption_run import CaptionRequest
    from engine.session import Session, SessionOptions

    myvlm("caption", album, "--concepts", "Anna")
    before = tree(album)
    session = Session(SessionOptions("storybook"), Path(os.environ["MYVLM_HOME"]))
    asked = []
    vlm = session.vlm

    class Listening:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(vlm, name)

    session.__dict__["vlm"] = Listening()
    results = {r.path.name: r for r in caption_photos(session, [album / "nobody.jpg"], CaptionRequest())}
    assert not asked, "nobody was recognised before and nobody is now"
    assert results["nobody.jpg"].caption == json.loads(before["nobody.jpg.myvlm.json"])["caption"]
    results = {r.path.name: r for r in caption_photos(session, [album / "rex.jpg"], CaptionRequest())}
    assert asked
    assert "Rex" in results["rex.jpg"].caption


def test_a_dry_run_shows_every_property_that_would_change(myvlm, album):
    (album / "rex.jpg.xmp").write_bytes(HUMAN % b"")
    before, home = tree(album), tree(Path(os.environ["MYVLM_HOME"]))
    result = myvlm("caption", album / "rex.jpg", "--dry-run", "--json")
    photo = result.json["photos"][0]
    changes = {c["property"]: c for c in photo["changes"]}
    assert changes["dc:description"]["after"] == photo["caption"]
    assert "Rex" in changes["dc:subject"]["after"]
    assert "holiday" in changes["dc:subject"]["before"]
    assert tree(album) == before
    now = tree(Path(os.environ["MYVLM_HOME"]))
    assert {n: d for n, d in now.items() if "-shm" not in n and "-wal" not in n} == {
        n: d for n, d in home.items() if "-shm" not in n and "-wal" not in n
    }
    text = myvlm("caption", album / "rex.jpg", "--dry-run")
    assert "dc:description: '' -> " in text.out
    myvlm("caption", album / "rex.jpg")
    assert statuses(myvlm("caption", album / "rex.jpg", "--dry-run", "--json")) == {"rex.jpg": "unchanged"}


def test_replace_all_replaces_a_humans_words_and_undo_brings_them_back(myvlm, album):
    sidecar = album / "rex.jpg.xmp"
    sidecar.write_bytes(HUMAN % WORDS)
    myvlm("caption", album / "rex.jpg", "--force")
    assert Packet(sidecar.read_bytes()).default_text(DC, "description") == "Our summer"
    myvlm("caption", album / "rex.jpg", "--on-existing", "replace-all")
    assert "Rex" in Packet(sidecar.read_bytes()).default_text(DC, "description")
    myvlm("undo")
    assert Packet(sidecar.read_bytes()).default_text(DC, "description") == "Our summer"
    assert myvlm("undo", "--yes").code == 0
    assert sidecar.read_bytes() == HUMAN % WORDS


def test_sidecars_go_elsewhere_for_a_library_that_cannot_be_written(myvlm, album, tmp_path):
    (album / "rex.jpg.xmp").write_bytes(HUMAN % WORDS)
    before = tree(album)
    result = myvlm("caption", album, "--sidecar-dir", tmp_path / "side", "--json")
    assert result.code == 0, result.err
    assert tree(album) == before
    written = [Path(p["sidecar"]) for p in result.json["photos"]]
    assert all(p.is_relative_to(tmp_path / "side") and p.is_file() for p in written)
    copied = next(p for p in written if p.name == "rex.jpg.xmp")
    assert b"Our summer" in copied.read_bytes(), "it starts from the sidecar beside the photo"
    again = myvlm("caption", album, "--sidecar-dir", tmp_path / "side", "--json")
    assert again.json["summary"] == {"unchanged": 3}
    assert set(statuses(myvlm("status", album, "--sidecar-dir", tmp_path / "side", "--json")).values()) <= {
        "current",
        "edited",
    }


def exif_description(path: Path, text: str) -> None:
    from PIL import Image

    with Image.open(path) as opened:
        exif = opened.getexif()
        exif[0x010E] = text
        opened.save(path, quality=92, exif=exif)


def test_words_inside_the_photo_stay_the_description_in_every_run(myvlm, album):
    exif_description(album / "rex.jpg", "Grandma Berta 1998, Oslo")
    (album / "rex.jpg.xmp").write_bytes(HUMAN % b"")
    result = myvlm("-v", "caption", album / "rex.jpg")
    assert "kept the description in the photo file" in result.err
    before = (album / "rex.jpg.xmp").read_bytes()
    assert statuses(myvlm("caption", album / "rex.jpg", "--json")) == {"rex.jpg": "unchanged"}
    assert (album / "rex.jpg.xmp").read_bytes() == before
    assert Packet(before).default_text(DC, "description") is None


def test_a_raw_companion_keeps_its_own_words(myvlm, album):
    shutil.copy(album / "rex.jpg", album / "IMG_1.JPG")
    raw = make_dng((album / "rex.jpg").read_bytes(), more=((0x010E, 2, b"Grandma in Oslo\0"),))
    (album / "IMG_1.DNG").write_bytes(raw)
    myvlm("caption", album / "IMG_1.JPG", album / "IMG_1.DNG")
    assert Packet((album / "IMG_1.DNG.xmp").read_bytes()).default_text(DC, "description") == "Grandma in Oslo"


def test_a_date_written_into_the_photo_later_reaches_the_json_sidecar(myvlm, album):
    from PIL import Image

    myvlm("caption", album / "rex.jpg")
    taken = json.loads((album / "rex.jpg.myvlm.json").read_text())["photo"]["taken"]
    caption = json.loads((album / "rex.jpg.myvlm.json").read_text())["caption"]
    with Image.open(album / "rex.jpg") as opened:
        exif = opened.getexif()
        exif.get_ifd(0x8769)[0x9003] = "1999:01:02 03:04:05"
        data = exif.tobytes()
    jpeg = (album / "rex.jpg").read_bytes()
    at = jpeg.index(b"\xff\xe1")
    size = int.from_bytes(jpeg[at + 2 : at + 4], "big")
    segment = b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data
    (album / "rex.jpg").write_bytes(jpeg[:at] + segment + jpeg[at + 2 + size :])
    assert statuses(myvlm("caption", album / "rex.jpg", "--json")) == {"rex.jpg": "ok"}
    document = json.loads((album / "rex.jpg.myvlm.json").read_text())
    assert (document["photo"]["taken"], document["caption"]) == ("1999-01-02T03:04:05", caption)
    assert taken != "1999-01-02T03:04:05"


def test_concepts_that_nobody_asked_for_keep_their_keywords(myvlm, album):
    myvlm("caption", album / "both.jpg")
    assert Packet((album / "both.jpg.xmp").read_bytes()).items(DC, "subject") == ["Anna", "Rex"]
    myvlm("caption", album / "both.jpg", "--concepts", "rex")
    assert Packet((album / "both.jpg.xmp").read_bytes()).items(DC, "subject") == ["Anna", "Rex"]
    assert b"PersonInImage" in (album / "both.jpg.xmp").read_bytes()


def test_a_name_that_a_human_took_out_is_not_in_the_caption_either(myvlm, album):
    photo, sidecar = album / "both.jpg", album / "both.jpg.xmp"
    myvlm("caption", photo)
    packet = Packet(sidecar.read_bytes())
    packet.remove_items(DC, "subject", {"Rex"})
    sidecar.write_bytes(packet.serialise())
    assert statuses(myvlm("status", photo, "--json")) == {"both.jpg": "stale"}
    result = myvlm("caption", photo, "--json")
    assert statuses(result) == {"both.jpg": "ok"}
    assert "Rex" not in result.json["photos"][0]["caption"]
    assert "Anna" in result.json["photos"][0]["caption"]
    assert "Rex" not in Packet(sidecar.read_bytes()).default_text(DC, "description")
    before = tree(album)
    assert statuses(myvlm("caption", photo, "--json")) == {"both.jpg": "unchanged"}
    assert tree(album) == before
    packet = Packet(before["both.jpg.xmp"])
    packet.add_items(DC, "subject", ["Rex"])
    sidecar.write_bytes(packet.serialise())
    result = myvlm("caption", photo, "--json")
    assert "Rex" in result.json["photos"][0]["caption"], "he put the name in again"


def test_somebody_new_who_is_in_no_photo_changes_no_file(myvlm, album, session):
    myvlm("caption", album)
    before = tree(album)
    draw_references(album.parent / "zoe", draw_individual(np.random.default_rng(5), "woman"), 5)
    myvlm("add-concept", "Zoe", album.parent / "zoe")
    assert set(statuses(myvlm("status", album, "--json")).values()) <= {"current"}
    result = myvlm("caption", album, "--json")
    assert set(statuses(result).values()) == {"unchanged"}
    assert tree(album) == before


def test_a_run_after_the_last_leaves_the_words_of_the_last_but_one(myvlm, album):
    """Undo of the second run, in a sidecar that a human rated since: the first run's words come back."""
    myvlm("caption", album / "both.jpg", "--concepts", "anna")
    myvlm("caption", album / "both.jpg")
    sidecar = album / "both.jpg.xmp"
    packet = Packet(sidecar.read_bytes())
    packet.set_text("http://ns.adobe.com/xap/1.0/", "Rating", "5")
    sidecar.write_bytes(packet.serialise())
    assert myvlm("undo").code == 0
    left = Packet(sidecar.read_bytes())
    assert left.items(DC, "subject") == ["Anna"]
    assert left.text("http://ns.adobe.com/xap/1.0/", "Rating") == "5"
    assert "Rex" not in left.default_text(DC, "description")


def test_interrupting_tells_what_was_written(album):
    """SIGINT while a batch is written: every sidecar that was written has its line."""
    for k in range(6):
        draw_album(album / str(k))
    command = [*CAPTION.split(), str(album), "--jsonl"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while not list(album.rglob("*.xmp")) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    told = [json.loads(line)["file"] for line in running.communicate(timeout=120)[0].splitlines()]
    assert running.returncode in (0, 130)
    assert {str(p)[: -len(".xmp")] for p in album.rglob("*.xmp")} == set(told)


def test_json_stays_json_where_the_terminal_knows_no_utf8(album):
    shutil.copy(album / "nobody.jpg", album / "café😀.jpg")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run(
        [*CAPTION.split(), str(album / "café😀.jpg"), "--jsonl", "--dry-run"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert Path(json.loads(result.stdout)["file"]).name == "café😀.jpg"


def test_a_dry_run_on_a_new_machine_makes_no_data_folder(myvlm, album, tmp_path, monkeypatch):
    monkeypatch.setenv("MYVLM_HOME", str(tmp_path / "nothing"))
    for arguments in (("caption", album / "rex.jpg", "--dry-run"), ("status", album)):
        result = myvlm(*arguments)
        assert result.code == 0, result.err
    assert not (tmp_path / "nothing").exists()


def test_both_names_are_said_once(myvlm, album):
    for name in ("rex", "both"):
        (album / f"{name}.jpg.xmp").write_bytes(HUMAN % b"")
        (album / f"{name}.xmp").write_bytes(HUMAN % b"")
    result = myvlm("caption", album)
    assert result.err.count("is there, too") == 1
    assert (album / "rex.xmp").read_bytes() == HUMAN % b""
    assert b"myvlm" in (album / "rex.jpg.xmp").read_bytes()


def test_adobe_names_on_request(myvlm, album):
    myvlm("caption", album / "rex.jpg", "--sidecar-naming", "stem")
    assert (album / "rex.xmp").is_file()
    assert not (album / "rex.jpg.xmp").exists()
    assert statuses(myvlm("caption", album / "rex.jpg", "--json")) == {"rex.jpg": "unchanged"}


def test_regions_are_written_when_asked_for(myvlm, album):
    myvlm("caption", album / "both.jpg")
    assert b"mwg-rs" not in (album / "both.jpg.xmp").read_bytes()
    result = myvlm("caption", album / "both.jpg", "--regions", "people", "--json")
    assert statuses(result) == {"both.jpg": "ok"}
    data = (album / "both.jpg.xmp").read_bytes()
    assert b"mwg-rs" in data
    from engine.sidecars.regions.named import read_regions

    found = read_regions(Packet(data))
    assert [(r.name, r.type) for r in found] == [("Anna", "Face")]
    box = next(c["box"] for c in result.json["photos"][0]["concepts"] if c["name"] == "Anna")
    assert abs(found[0].x * 512 - (box[0] + box[2]) / 2) < 1
    myvlm("caption", album / "both.jpg", "--regions", "all")
    assert [(r.name, r.type) for r in read_regions(Packet((album / "both.jpg.xmp").read_bytes()))] == [
        ("Anna", "Face"),
        ("Rex", "Pet"),
    ]
    assert statuses(myvlm("caption", album / "both.jpg", "--json")) == {"both.jpg": "unchanged"}


def test_limit_counts_what_is_captioned_not_what_is_up_to_date(myvlm, album):
    assert statuses(myvlm("caption", album, "--limit", "1", "--json")) == {"both.jpg": "ok"}
    assert statuses(myvlm("caption", album, "--limit", "1", "--json")) == {"both.jpg": "unchanged", "nobody.jpg": "ok"}
    result = myvlm("caption", album, "--limit", "5", "--json")
    assert result.json["summary"] == {"unchanged": 2, "ok": 1}


def test_files_can_be_chosen(myvlm, album):
    result = myvlm("caption", album, "--include", "r*.jpg", "--dry-run", "--json")
    assert list(statuses(result)) == ["rex.jpg"]
    result = myvlm("caption", album, "--exclude", "*b*.jpg", "--dry-run", "--json")
    assert list(statuses(result)) == ["rex.jpg"]
    os.utime(album / "rex.jpg", (0, 0))
    taken = {
        p["file"]: p["taken"] for p in myvlm("caption", album, "--no-concepts", "--dry-run", "--json").json["photos"]
    }
    assert myvlm("caption", album, "--since", "2300-01-01", "--json").json["photos"] == []
    kept = myvlm("caption", album, "--until", "2300-01-01", "--dry-run", "--json").json["photos"]
    assert {p["file"] for p in kept} == set(taken)
    result = myvlm("caption", album, "--since", "yesterday")
    assert (result.code, "--since: 'yesterday' is not a date" in result.err) == (2, True)


def test_a_second_run_at_once_is_told_who_is_writing(myvlm, album):
    with run_lock(Path(os.environ["MYVLM_HOME"]), "caption"):
        code = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "myvlm_cli.main", "caption", str(album), "--no-concepts"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert code.returncode == 4, code.stderr
        assert f"process {os.getpid()}" in code.stderr
        dry = myvlm("caption", album, "--no-concepts", "--dry-run", "--json")
        assert dry.code == 0, "a dry run writes nothing and needs no lock"
    assert not list(album.glob("*.xmp"))


def unshared(script: str, *, timeout: int = 300) -> subprocess.CompletedProcess:
    """Run a shell script in mount and user namespaces of its own."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces are not allowed here")
    return subprocess.run(["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, timeout=timeout)


CAPTION = f"{sys.executable} -W ignore -m myvlm_cli.main caption"


def test_a_full_disk_loses_nothing(album, tmp_path):
    """A tmpfs with room for one photo's sidecars and no more: exit code 3, and only whole files."""
    mounted, kept = tmp_path / "small", tmp_path / "kept"
    mounted.mkdir()
    size = sum(p.stat().st_size + 4095 for p in album.iterdir()) // 4096 * 4 + 4 * 4
    script = (
        f"mount -t tmpfs -o size={size}k none {mounted} && cp {album}/* {mounted} && {CAPTION} {mounted};"
        f" code=$?; cp -a {mounted} {kept}; exit $code"
    )
    result = unshared(script)
    assert result.returncode == 3, result.stderr
    assert "No space left" in result.stderr
    found = tree(kept)
    assert {n: d for n, d in found.items() if n.endswith(".jpg")} == tree(album)
    for name, data in found.items():
        assert "tmp" not in name
        if name.endswith(".xmp"):
            Packet(data)
        if name.endswith(".json"):
            json.loads(data)


def test_a_full_data_folder_writes_no_sidecar_it_could_not_undo(album, tmp_path):
    home = tmp_path / "small-home"
    home.mkdir(exist_ok=True)
    script = (
        f"mount -t tmpfs -o size=20m none {home} && cp -a $MYVLM_HOME/. {home} && export MYVLM_HOME={home} &&"
        f" head -c 30M /dev/zero > {home}/filler; {CAPTION} {album}"
    )
    result = unshared(script)
    assert result.returncode == 3, result.stderr
    assert not list(album.glob("*.xmp"))


def test_a_read_only_library_says_what_to_do(album, tmp_path):
    mounted = tmp_path / "read-only"
    mounted.mkdir()
    script = f"mount --bind {album} {mounted} && mount -o remount,bind,ro {mounted} && {CAPTION} -- {mounted}"
    result = unshared(script)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("failed:") == 3
    assert "Read-only file system" in result.stderr
    assert not list(album.glob("*.xmp"))


@pytest.mark.slow
def test_kills_leave_old_or_new_sidecars(tmp_path, learned_folder):
    """The short form of `python -m tests.kill --kills 200 --photos 200`."""
    report = kill(tmp_path / "run", learned_folder, kills=6, photos=24)
    assert report["kills"] == 6
    assert report["completed_runs"] >= 1


@pytest.mark.fuzz
def test_two_hundred_kills(tmp_path, learned_folder):
    report = kill(tmp_path / "run", learned_folder, kills=200, photos=200)
    assert report["kills"] == 200
    print(report)


def kill(folder: Path, learned_folder: Path, *, kills: int, photos: int) -> dict:
    command = [sys.executable, "-W", "ignore", "-m", "tests.kill", "--kills", str(kills), "--photos", str(photos)]
    command += ["--home", str(learned_folder / "home"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout)
