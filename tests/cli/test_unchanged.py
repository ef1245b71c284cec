"""`myvlm caption` and `status` over an unchanged library: they print what they always print, and load nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.kill import HUMAN, WORDS
from tests.learned import draw_album

HEAVY = ("torch", "transformers", "open_clip", "onnxruntime", "insightface", "numpy", "PIL", "lxml", "sqlite_utils")


@pytest.fixture
def album(session, tmp_path) -> Path:
    """Rex alone, Rex with Anna, nobody, and two sidecars for one photo; a store that knows both is MYVLM_HOME."""
    folder = tmp_path / "album"
    draw_album(folder)
    for name in ("nobody.jpg.xmp", "nobody.xmp"):
        (folder / name).write_bytes(HUMAN % WORDS)
    return folder


def forget_results() -> None:
    for path in (Path(os.environ["MYVLM_HOME"]) / "cache").glob("files.db*"):
        path.unlink()


def printed(result) -> tuple[int, str, str]:
    return result.code, re.sub(r'"seconds": [\d.]+', "", result.out), result.err


def loaded(*arguments) -> list[str]:
    """The heavy modules that a command loads."""
    code = (
        "import sys\nfrom myvlm_cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return result.stderr.splitlines()[-1].split()


CAPTION = ("caption", "--vlm", "none")
FORMS = {
    "text": (),
    "all": ("--all",),
    "verbose": ("-v",),
    "json": ("--json",),
    "jsonl": ("--jsonl",),
    "limit": ("--limit", "1"),
    "dry run": ("--dry-run", "-v"),
}


def test_an_unchanged_run_prints_the_same_and_loads_nothing(myvlm, album):
    myvlm(*CAPTION, album)
    myvlm(*CAPTION, album, "--limit", "1")
    known = {name: printed(myvlm(*CAPTION, album, *options)) for name, options in FORMS.items()}
    assert "Nothing to do" in known["text"][2]
    assert loaded(*CAPTION, album, "--json") == []
    for name, options in FORMS.items():
        forget_results()
        assert printed(myvlm(*CAPTION, album, *options)) == known[name], name


def test_concepts_can_be_chosen_and_left_out(myvlm, album):
    for options in (("--concepts", "rex"), ("--no-concepts",), ("--concepts", "rex", "--only")):
        myvlm(*CAPTION, album, *options)
        known = printed(myvlm(*CAPTION, album, *options, "--json", "-v"))
        forget_results()
        assert printed(myvlm(*CAPTION, album, *options, "--json", "-v")) == known, options
    assert myvlm(*CAPTION, album, "--concepts", "nemo").code == 2


def test_a_new_photo_is_captioned_among_known_ones(myvlm, album):
    myvlm(*CAPTION, album)
    (album / "new.jpg").write_bytes((album / "rex.jpg").read_bytes())
    result = myvlm(*CAPTION, album)
    assert result.out.endswith("new.jpg: Rex\n") and result.out.count("\n") == 1
    assert "1 ok, 3 up to date" in result.err
    assert "Nothing to do: 4 photos up to date." in myvlm(*CAPTION, album).err


def test_a_library_that_grew_is_calibrated_although_its_photos_are_known(myvlm, album, monkeypatch):
    """The first runs have too few photos; with one more there are as many as are needed."""
    monkeypatch.setattr("engine.recognition.calibrate.FEWEST", 4)
    for _ in range(2):
        assert "Too few photos" in myvlm(*CAPTION, album, "-v").err
    (album / "new.jpg").write_bytes((album / "rex.jpg").read_bytes())
    with Image.open(album / "new.jpg") as photo:  # other pixels, and the mark of the storybook
        photo.rotate(180).save(album / "new.jpg", exif=photo.getexif())
    assert "Checked 4 photos" in myvlm(*CAPTION, album).err
    quiet = myvlm(*CAPTION, album, "-v").err
    assert "Checked" not in quiet and "Too few" not in quiet


def test_copies_of_a_few_photos_are_too_few_to_calibrate_on_and_known(myvlm, album, monkeypatch):
    monkeypatch.setattr("engine.recognition.calibrate.FEWEST", 4)
    for number in range(3):
        (album / f"copy {number}.jpg").write_bytes((album / "rex.jpg").read_bytes())
    myvlm(*CAPTION, album)
    monkeypatch.setattr("myvlm_cli.calibration.calibrate_library", None)  # which a known run does not call
    assert "Nothing to do: 6 photos up to date." in myvlm(*CAPTION, album).err
    (album / "copy 3.jpg").write_bytes((album / "rex.jpg").read_bytes())
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        myvlm(*CAPTION, album)


def test_a_lost_index_is_filled_again(myvlm, album):
    myvlm(*CAPTION, album)
    assert myvlm("search", "rex").code == 0
    for path in Path(os.environ["MYVLM_HOME"]).glob("library.db*"):
        path.unlink()
    assert "Nothing to do" in myvlm(*CAPTION, album).err
    assert len(myvlm("search", "rex").out.splitlines()) == 2


def test_photos_that_were_gone_are_found_again(myvlm, album, tmp_path):
    """As on a disk that was not mounted for a while."""
    myvlm(*CAPTION, album)
    album.rename(tmp_path / "away")
    album.mkdir()
    myvlm("search", "--reindex", album)
    assert myvlm("search", "rex").code == 1
    album.rmdir()
    (tmp_path / "away").rename(album)
    assert "Nothing to do" in myvlm(*CAPTION, album).err
    assert len(myvlm("search", "rex").out.splitlines()) == 2


def test_a_warning_about_an_option_is_given_each_time(myvlm, album):
    for command in (CAPTION, ("status", "--vlm", "none")):
        for _ in range(3):
            result = myvlm(*command, album, "--recogniser", "builtin", "--allow-body")
            assert "--allow-body has no effect" in result.err


def test_what_cannot_be_remembered_is_reported_all_the_same(myvlm, album, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr("engine.captioning.pipeline.remember", fail)
    assert myvlm(*CAPTION, album, "--json").json["summary"] == {"ok": 3}
    assert "reads 3 photos again: no memory left" in caplog.text
