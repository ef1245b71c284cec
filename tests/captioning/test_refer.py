"""Locating by the VLM's own words: boxes in photo pixels, one more try, and never a made-up box."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.captioning.locate import locate_concept
from engine.core.boxes import Box, iou
from engine.core.errors import UsageError
from engine.photos.decode import load_photo
from engine.vlms import generate
from engine.vlms.base import Generation
from engine.vlms.find import find_config
from engine.vlms.personalised import PersonalisedConcept
from tests.learned import draw_album


@pytest.fixture
def album(tmp_path):
    return draw_album(tmp_path / "album")


def answers(session, monkeypatch, *texts):
    """Let the VLM answer with these texts in turn, to a batch of one; returns what it is asked."""
    asked, waiting, encode = [], list(texts), session.vlm.encode_prompt

    def encode_prompt(request):
        asked.append(request)
        return encode(request)

    monkeypatch.setattr(session.vlm, "encode_prompt", encode_prompt)
    monkeypatch.setattr(
        session.vlm, "generate", lambda rows, ids, limit=None: [Generation(waiting.pop(0), False) for _ in ids]
    )
    return asked


def known(session, name="Rex"):
    concept = session.store.get(name)
    vector = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    return PersonalisedConcept(concept, vector)


def test_the_vlm_locates_whom_it_recognised(myvlm, session, album, tmp_path):
    folder = tmp_path / "album"
    result = myvlm("locate", "rex", folder, "--method", "refer", "--draw", tmp_path / "drawn", "--json")
    assert result.code == 0, result.err
    found = {Path(p["file"]).stem: p for p in result.json["photos"]}
    assert {p["method"] for p in found.values()} == {"refer"}
    assert found["nobody"]["box"] is None
    assert found["nobody"]["reason"] == "not recognised in this photo"
    for name in ("rex", "both"):
        x0, y0, x1, y1 = found[name]["box"]
        assert 0 <= x0 < x1 <= found[name]["width"]
        assert 0 <= y0 < y1 <= found[name]["height"]
        assert iou(Box(x0, y0, x1, y1), album[name].boxes[0]) > 0.3
        assert Path(found[name]["drawing"]).is_file()
    plain = {Path(p["file"]).stem: p for p in myvlm("locate", "rex", folder, "--json").json["photos"]}
    assert {p["method"] for p in plain.values()} == {"regions"}
    assert plain["rex"]["box"] != found["rex"]["box"]
    assert plain["rex"]["score"] == found["rex"]["score"]


@pytest.mark.parametrize("size", [(700, 512), (300, 512), (512, 512)])
def test_boxes_are_in_pixels_of_the_upright_photo(session, album, monkeypatch, size):
    """The storybook sees the middle square: the box of all it sees is that square, in the photo's pixels."""
    image = load_photo(album["rex"].path).image.resize(size)
    answers(session, monkeypatch, "{<0><0><100><100>}", "there {<25><50><75><100>}")
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    own = known(session)
    assert generate.refer(session.vlm, [image], [own]) == [Box(left, top, left + side, top + side)]
    assert generate.refer(session.vlm, [image], [own]) == [
        Box(left + 0.25 * side, top + 0.5 * side, left + 0.75 * side, top + side)
    ]


def test_a_box_of_the_whole_photo_when_that_is_what_the_vlm_sees(session, album, monkeypatch):
    image = load_photo(album["rex"].path).image
    monkeypatch.setattr(session.vlm, "view", lambda i: Box(0, 0, *i.size))
    answers(session, monkeypatch, "{<10><20><30><40>}")
    w, h = image.size
    (box,) = generate.refer(session.vlm, [image], [known(session)])
    assert box.rounded() == Box(0.1 * w, 0.2 * h, 0.3 * w, 0.4 * h).rounded()


def test_prose_is_asked_again_in_other_words(session, album, monkeypatch):
    asked = answers(session, monkeypatch, "sks is in the snow.", "{<10><20><30><40>}")
    (location,) = locate_concept(session, "rex", [album["rex"].path], method="refer")
    assert location.box is not None
    assert location.status == "ok"
    assert asked == ["[refer] sks in the image", "[refer] where is sks?"]


@pytest.mark.parametrize(
    "prose", ["sks is in the snow.", "{<30><30><20><40>}", "{<10><20><30>}", "{<10><20><30><400>}"]
)
def test_twice_without_a_box_is_not_located(session, album, monkeypatch, prose):
    asked = answers(session, monkeypatch, prose, prose)
    (location,) = locate_concept(
        session, "rex", [album["rex"].path], method="refer", draw=album["rex"].path.parent / "drawn"
    )
    assert len(asked) == 2
    assert (location.box, location.status, location.drawing) == (None, "skipped", None)
    assert location.reason == "recognised, but not located by the VLM"
    assert location.match is not None


def test_a_vlm_may_have_its_own_second_wording(session, album, monkeypatch):
    config = session.vlm.config
    session.vlm.config = replace(config, requests=config.requests | {"refer_retry": "[refer] the {names}"})
    asked = answers(session, monkeypatch, "?", "?")
    assert generate.refer(session.vlm, [load_photo(album["rex"].path).image], [known(session)]) == [None]
    assert asked == ["[refer] sks in the image", "[refer] the sks"]


def test_vlms_that_do_not_answer_with_boxes_say_which_do():
    with pytest.raises(UsageError) as caught:
        generate.check_refers(find_config("llava-1.6"))
    assert "storybook" in caught.value.hint


def test_an_untrained_concept_is_not_located_by_the_vlm(myvlm, session, album):
    session.store._db.conn.execute("delete from embeddings where task = 'caption'")
    result = myvlm("locate", "rex", album["rex"].path, "--method", "refer", "--speak", "embedding")
    assert (result.code, "myvlm train Rex" in result.err) == (2, True)
    assert myvlm("locate", "rex", album["rex"].path).code == 0
