"""Pictures of what a concept attends to: where they go, what they show, and what is never touched."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import UsageError
from engine.photos.drawing import draw_heat, ramp_colors
from engine.vlms import generate
from engine.vlms.personalised import PersonalisedConcept
from tests.learned import draw_album


@pytest.fixture
def album(session, tmp_path):
    draw_album(tmp_path / "album")
    return tmp_path / "album"


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def maps(folder):
    """The pictures of what concepts attend to, without those of why they were recognised."""
    return {n: data for n, data in contents(folder).items() if "-why" not in n}


def test_colours_rise_evenly_in_lightness():
    colors = ramp_colors(np.linspace(0, 1, 101)) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722])) - 16
    assert np.all(np.diff(lightness) > 0)
    assert np.abs(np.diff(lightness, n=10)).max() < 200
    assert lightness[0] < 20
    assert lightness[-1] > 85


@pytest.mark.parametrize("heat", [np.eye(4), np.zeros((4, 4)), np.ones((2, 3))])
def test_heat_lies_over_the_view_only(heat):
    image = Image.new("RGB", (90, 60), (10, 200, 30))
    page = draw_heat(image, heat, Box(15, 0, 75, 60))
    assert page.size == image.size
    pixels = np.asarray(page)
    assert np.array_equal(pixels[:, :15], np.asarray(image)[:, :15])
    assert np.array_equal(pixels[:, 75:], np.asarray(image)[:, 75:])
    assert (pixels[:, 15:75] != np.asarray(image)[:, 15:75]).any(axis=-1).all()
    assert np.asarray(image)[0, 0].tolist() == [10, 200, 30]


def test_heat_is_brightest_where_the_map_is():
    page = np.asarray(draw_heat(Image.new("RGB", (80, 80)), np.eye(4)[:, ::-1] * 5, Box(0, 0, 80, 80)).convert("L"))
    assert page[0, 79] > page[0, 0] + 50
    assert page[79, 0] > page[79, 79] + 50


def test_a_picture_for_each_recognised_concept(myvlm, album, tmp_path):
    photos = contents(album)
    result = myvlm("caption", album, "--explain", tmp_path / "why", "--json")
    assert result.code == 0, result.err
    found = maps(tmp_path / "why")
    assert set(found) == {"rex-Rex.png", "both-Rex.png", "both-Anna.png"}
    assert found["both-Rex.png"] != found["both-Anna.png"]
    for name in found:
        with Image.open(tmp_path / "why" / name) as picture, Image.open(album / f"{name.split('-')[0]}.jpg") as photo:
            upright = photo.size[::-1] if photo.getexif().get(0x0112) in (6, 8) else photo.size
            assert picture.size == upright
            assert picture.info["Title"] == name.split("-")[1].removesuffix(".png")
    told = {
        Path(p["file"]).stem: [Path(q).name for q in p["pictures"] if "-why" not in q] for p in result.json["photos"]
    }
    assert told == {"both": ["both-Anna.png", "both-Rex.png"], "nobody": [], "rex": ["rex-Rex.png"]}
    assert {n: contents(album)[n] for n in photos} == photos


def test_the_same_again_gives_the_same_bytes_and_names(myvlm, album, tmp_path):
    myvlm("caption", album, "--explain", tmp_path / "why")
    before, sidecars = contents(tmp_path / "why"), contents(album)
    assert myvlm("caption", album, "--explain", tmp_path / "why").code == 0
    assert contents(tmp_path / "why") == before
    assert contents(album).keys() == sidecars.keys()
    result = myvlm("locate", "rex", album, "--explain", tmp_path / "other", "--jsonl")
    assert result.code == 0, result.err
    assert set(contents(tmp_path / "other")) == {f"{p}-Rex{w}.png" for p in ("rex", "both") for w in ("", "-why")}
    assert contents(tmp_path / "other")["rex-Rex.png"] == before["rex-Rex.png"]


def test_nothing_is_written_where_nobody_is_recognised(myvlm, album, tmp_path):
    assert myvlm("locate", "rex", album / "nobody.jpg", "--explain", tmp_path / "why").code == 0
    assert myvlm("caption", album / "nobody.jpg", "--explain", tmp_path / "why").code == 0
    assert not (tmp_path / "why").exists()


def test_no_file_of_another_origin_is_replaced(myvlm, album, tmp_path):
    (tmp_path / "why").mkdir()
    for mine in ("rex-Rex.png", "rex-Rex-why.png"):
        (tmp_path / "why" / mine).write_bytes(b"mine")
    (album / "more").mkdir()
    Image.open(album / "rex.jpg").rotate(2).save(album / "more" / "rex.png")
    myvlm("locate", "rex", album / "rex.jpg", album / "more" / "rex.png", "--explain", tmp_path / "why")
    found = contents(tmp_path / "why")
    assert found["rex-Rex.png"] == found["rex-Rex-why.png"] == b"mine"
    assert set(found) <= {f"rex-Rex{w}{n}.png" for w in ("", "-why") for n in ("", "-2", "-3")}
    assert {"rex-Rex-2.png", "rex-Rex-why-2.png"} <= set(found)


def test_names_that_are_no_file_names(myvlm, session, album, tmp_path):
    session.store.rename("Rex", "Rex/the: ½?")
    myvlm("locate", "Rex/the: ½?", album / "rex.jpg", "--explain", tmp_path / "why")
    why, name = contents(tmp_path / "why")
    assert (why, name) == ("rex-Rex_the_ ½_-why.png", "rex-Rex_the_ ½_.png")
    with Image.open(tmp_path / "why" / name) as picture:
        assert picture.info["Title"] == "Rex/the: ½?"


def test_heat_over_a_picture_of_four_pixels():
    image = Image.new("RGB", (4, 1), (10, 200, 30))
    assert draw_heat(image, np.eye(4), Box(1.5, 0, 2.5, 1)).size == (4, 1)


def test_long_file_names_and_names_are_shortened(myvlm, session, album, tmp_path):
    """Of two photos whose names differ only at their ends, too."""
    session.store.rename("Rex", "ł" * 100)
    stems = [f"{'é' * 120}{k}" for k in "ab"]
    for stem in stems:
        shutil.copyfile(album / "rex.jpg", tmp_path / f"{stem}.jpg")
    photos = [tmp_path / f"{s}.jpg" for s in stems]
    result = myvlm("locate", "ł" * 100, *photos, "--explain", tmp_path / "why", "--json")
    assert result.code == 0, result.err
    found = contents(tmp_path / "why")
    assert len(found) == 4
    assert all(len(name.encode()) < 255 for name in found)


@pytest.mark.parametrize("command", [("caption",), ("locate", "rex")])
def test_a_picture_that_cannot_be_written_is_a_note(myvlm, album, tmp_path, monkeypatch, command):
    def refuse(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.captioning.explain_pictures.write_atomically", refuse)
    result = myvlm(*command, album / "rex.jpg", album / "both.jpg", "--explain", tmp_path / "why", "--jsonl")
    assert result.code == 0, result.err
    assert len(result.lines) == 2
    assert all("No space left on device" in p["notes"][0] and not p["pictures"] for p in result.lines)


def test_a_vlm_without_maps_leaves_only_those_out(myvlm, album, tmp_path, monkeypatch):
    """Not every chat family's image tokens form a grid over the photo."""

    def refuse(*arguments):
        raise UsageError("molmo2 shows no attention over the photo")

    monkeypatch.setattr(generate, "attention", refuse)
    result = myvlm("caption", album / "rex.jpg", "--explain", tmp_path / "why", "--jsonl")
    assert result.code == 0, result.err
    assert result.lines[0]["notes"] == ["no picture of attention: molmo2 shows no attention over the photo"]
    assert set(contents(tmp_path / "why")) == {"rex-Rex-why.png"}


def test_of_those_who_share_an_identifier_the_first_is_explained(session):
    """As many rows as the caption was made with."""
    rex = session.store.get("Rex")
    vector = session.store.load_embedding(rex, session.vlm_id, session.vlm_revision).vector
    image = Image.new("RGB", (128, 128), (10, 200, 30))
    one, two = (
        PersonalisedConcept(rex, vector),
        PersonalisedConcept(replace(rex, id="other", name="Other"), -vector),
    )
    ((alone,), (both,)) = (generate.attention(session.vlm, [image], [own])[0] for own in ([one], [one, two]))
    assert np.array_equal(alone, both)


def test_a_dry_run_writes_no_pictures(myvlm, album, tmp_path):
    result = myvlm("caption", album, "--dry-run", "--explain", tmp_path / "why")
    assert (result.code, "--dry-run writes nothing" in result.err) == (2, True)
    assert not (tmp_path / "why").exists()
