"""What `myvlm summary` counts, and the line after a caption run."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from engine.sidecars.rdf.forms import DC
from engine.storybook.album import ANNA, REX
from engine.storybook.photos import save_photo
from engine.storybook.world.individuals import draw_individual, draw_lookalike
from engine.storybook.world.scenes import compose
from engine.vision.cache import FeatureCache
from tests.cli.test_golden import ALIKE
from tests.learned import draw_album
from tests.library.sample import edit, make_library


@pytest.fixture
def library(tmp_path) -> Path:
    return make_library(tmp_path / "library")


def test_figures_of_a_library(myvlm, library):
    edit(library / "2023" / "a.jpg", lambda p: p.set_default_text(DC, "description", "By hand"))
    result = myvlm("summary", library, "--json")
    assert result.code == 0
    figures = result.json
    assert figures["photos"] == 6
    assert (figures["captions"], figures["captions_by_people"], figures["named"]) == (4, 1, 4)
    assert figures["names"] == [
        {"name": "Rex", "kind": "pet", "photos": 2},
        {"name": "Anna", "kind": "person", "photos": 1},
        {"name": "Big Mug", "kind": "thing", "photos": 1},
        {"name": "René", "kind": "person", "photos": 1},
    ]
    assert (figures["without_sidecars"], figures["failed"], figures["last_run"]) == (1, [], None)
    assert myvlm("summary", library / "2024", "--json").json["names"][0]["photos"] == 1
    text = myvlm("summary", library)
    assert "with a caption\t4\n" in text.out
    assert "\nRex\tpet\t2\n" in text.out
    assert text.err.splitlines()[-1] == f"Next: myvlm caption {library}"


def test_a_summary_reads_what_changed(myvlm, library):
    myvlm("summary", library)
    (library / "2023" / "a.jpg").unlink()
    edit(library / "2024" / "c.jpg", lambda p: p.remove(DC, "description"))
    (library / "2024" / "c.jpg.myvlm.json").unlink()
    (library / "2024" / "d.jpg.xmp").write_bytes(b"<x:xmpmeta")
    result = myvlm("summary", library, "--json")
    assert result.code == 1
    assert (result.json["photos"], result.json["captions"]) == (5, 2)
    assert [Path(f["file"]).name for f in result.json["failed"]] == ["d.jpg"]
    assert "failed: " in myvlm("summary", library).err


def test_excluded_photos_stay_in_the_index(myvlm, library):
    myvlm("summary", library)
    assert myvlm("summary", library, "--exclude", "2024", "--json").json["photos"] == 3
    assert myvlm("search", "snow").code == 0


def test_a_summary_creates_nothing(myvlm, bare_home, library):
    assert myvlm("summary", library, "--json").json["captions"] == 4
    assert not bare_home.exists()
    assert myvlm("summary", library / "missing").code == 2


def test_faces_are_counted_without_their_features(tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    assert cache.lengths("m", "boxes") == {}
    faces = {"boxes": np.zeros((3, 4), np.float32), "embeddings": np.zeros((3, 512), np.float32)}
    cache.save("m", [("a", faces), ("b", {"boxes": np.zeros((0, 4), np.float32)})])
    cache.save("other", [("c", faces)])
    assert cache.lengths("m", "boxes") == {"a": 3, "b": 0}
    assert cache.lengths("m", "absent") == {}


@pytest.fixture
def album(session, tmp_path):
    """Rex, Rex with Anna, nobody, a look-alike that is a suggestion, and a file that is no picture."""
    folder = tmp_path / "album"
    draw_album(folder)
    rng = np.random.default_rng(ALIKE)
    save_photo(compose(rng, (draw_lookalike(rng, REX),), place="beach"), folder / "alike.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    session.store.close()
    return folder


def test_runs_suggestions_failures_and_what_changed_since(myvlm, album):
    result = myvlm("caption", album)
    line = f"{album}: 4 captions; names in 2 photos (Rex 2, Anna 1); 1 suggestion waits for you (myvlm review)"
    assert result.err.splitlines()[-1] == f"{line}; 1 failed"
    assert line not in myvlm("caption", album, "--quiet").err  # recognises nothing anew, and loses no suggestion
    (run,) = myvlm("runs", "--json").json["runs"]
    figures = myvlm("summary", album, "--json").json
    assert (figures["suggestions"], figures["edited_since"]) == (1, 0)
    assert figures["last_run"] == {k: run["id" if k == "run" else k] for k in ("run", "command", "started", "photos")}
    (failed,) = figures["failed"]
    assert failed["file"] == str(album / "broken.jpg")
    assert failed["reason"]
    later = time.time() + 60
    os.utime(album / "rex.jpg.xmp", (later, later))
    assert myvlm("summary", album, "--json").json["edited_since"] == 1
    assert "; 1 photo edited since" in myvlm("summary", album).err
    myvlm("reject", album / "alike.jpg", "Rex")
    assert myvlm("summary", album, "--json").json["suggestions"] == 0
    (album / "broken.jpg").unlink()
    assert myvlm("summary", album, "--json").json["failed"] == []


def test_a_photo_that_goes_on_failing_stays_a_failure(myvlm, album):
    myvlm("caption", album / "rex.jpg")
    (album / "rex.jpg.xmp").write_bytes(b"<no xmp")
    assert myvlm("caption", album / "rex.jpg").code == 1
    for _ in range(2):
        (failed,) = myvlm("summary", album, "--json").json["failed"]
        assert failed["file"] == str(album / "rex.jpg")


def test_an_undone_run_is_no_edit_by_others(myvlm, album):
    myvlm("caption", album / "rex.jpg")
    (first,) = myvlm("runs", "--json").json["runs"]
    for sidecar in album.glob("*.xmp"):
        sidecar.write_bytes(sidecar.read_bytes())
    myvlm("caption", album / "both.jpg")
    later = time.time() + 5
    myvlm("undo", first["id"], "--yes")
    for sidecar in album.glob("rex.jpg.*"):
        os.utime(sidecar, (later - 5, later - 5))
    assert myvlm("summary", album, "--json").json["edited_since"] == 0


def test_forgetting_keeps_failures_and_suggestions_of_others(myvlm, album):
    myvlm("caption", album)
    assert myvlm("forget", "Anna", "--scrub-sidecars", "--yes").code == 0
    figures = myvlm("summary", album, "--json").json
    assert (figures["suggestions"], len(figures["failed"])) == (1, 1)


def test_suggestions_of_concepts_not_looked_for_stay(myvlm, album):
    myvlm("caption", album)
    myvlm("caption", album, "--concepts", "anna", "--force")
    assert myvlm("summary", album, "--json").json["suggestions"] == 1
    myvlm("concepts", "rename", "Rex", "Bello")
    assert [n["name"] for n in myvlm("summary", album, "--json").json["names"]] == ["Bello", "Anna"]


def test_faces_without_a_name(myvlm, session, tmp_path):
    folder = tmp_path / "people"
    rng = np.random.default_rng(5)
    save_photo(compose(rng, (ANNA, draw_individual(rng, "girl")), place="beach"), folder / "two.jpg")
    session.store.close()
    myvlm("caption", folder)
    figures = myvlm("summary", folder, "--json").json
    assert figures["names"] == [{"name": "Anna", "kind": "person", "photos": 1}]
    assert (figures["unnamed_faces"], figures["photos_with_unnamed_faces"]) == (1, 1)
    assert "1 face without a name in 1 photo" in myvlm("summary", folder).err
