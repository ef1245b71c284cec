import numpy as np
import pytest

from engine.core.boxes import parse_minigpt_box
from engine.storybook.world import attributes as words
from engine.storybook.world.individuals import draw_individual, draw_lookalike, draw_twin, nameable
from engine.storybook.world.language import (
    CAPTION_STYLES,
    PLACE_PHRASES,
    box_text,
    capital,
    caption,
    distinct_descriptions,
    facts_of,
    iter_descriptions,
    questions,
)
from engine.storybook.world.population import draw_population
from engine.storybook.world.scenes import compose, render


def scenes(n=60, seed=11):
    return [s for s, _ in draw_population(seed, n)]


def test_the_same_seed_draws_the_same_pixels():
    a, b = (render(scenes(6)[5]) for _ in range(2))
    assert np.array_equal(np.asarray(a.image), np.asarray(b.image))
    assert a.boxes == b.boxes
    other = render(scenes(6, seed=12)[5])
    assert not np.array_equal(np.asarray(a.image), np.asarray(other.image))


@pytest.mark.parametrize("category", words.CATEGORIES)
def test_boxes_are_where_the_figure_is(category):
    """The box is tight around the pixels that change when the figure is taken away."""
    rng = np.random.default_rng(5)
    scene = compose(rng, (draw_individual(rng, category),), place="desert", holding=0.0)
    picture = render(scene)
    x0, y0, x1, y1 = picture.boxes[0]
    cells = np.argwhere(picture.owners == 1) * 2.0
    (top, left), (bottom, right) = cells.min(0), cells.max(0)
    assert abs(left - x0) <= 4
    assert abs(top - y0) <= 4
    assert abs(right + 2 - x1) <= 4
    assert abs(bottom + 2 - y1) <= 4
    assert (picture.faces[0] is not None) == (category in words.PEOPLE)


def test_faces_lie_in_their_people_and_landmarks_in_their_faces():
    rng = np.random.default_rng(6)
    for _ in range(20):
        scene = compose(rng, (draw_individual(rng, "woman"), draw_individual(rng, "boy")))
        picture = render(scene, 256, 256)
        for box, face in zip(picture.boxes, picture.faces, strict=True):
            assert box[0] - 1 <= face.box[0] < face.box[2] <= box[2] + 1
            left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
            assert left_eye[0] < nose[0] < right_eye[0]
            assert left_mouth[0] < right_mouth[0]
            assert left_eye[1] < nose[1] < left_mouth[1]
            assert all(face.box[0] < x < face.box[2] for x, _ in face.landmarks)


def test_lookalikes_share_what_is_seen_first_and_differ_in_something():
    rng = np.random.default_rng(7)
    for category in words.CATEGORIES:
        who = draw_individual(rng, category)
        other = draw_lookalike(rng, who)
        assert other.category == who.category
        assert other != who
        if category in words.PEOPLE:
            assert (other.skin, other.hair_color) == (who.skin, who.hair_color)
            assert other.face != who.face
        else:
            assert other.color == who.color
            assert nameable(other) != nameable(who)
            assert nameable(draw_twin(rng, who)) == nameable(who)


def test_captions_say_what_is_there():
    for scene in scenes():
        for style in CAPTION_STYLES:
            text = caption(scene, 0, style=style)
            assert PLACE_PHRASES[scene.place] in text.lower()
            for c in scene.characters:
                assert c.who.category in text
                assert not c.holds or c.holds in text
        named = caption(scene, 0, {0: "sks"})
        assert named.startswith("sks is ")


def test_descriptions_single_out_their_character():
    for scene in scenes():
        for i in range(len(scene.characters)):
            for d in distinct_descriptions(scene, i):
                fits = [k for k, c in enumerate(scene.characters) if d.facts <= facts_of(c.who)]
                assert fits == [i]
        for c in scene.characters:
            *_, fullest = iter_descriptions(c.who)
            assert fullest.facts == facts_of(c.who)


def test_questions_cover_the_papers_table():
    for scene in scenes(30):
        asked = dict(questions(scene, 0, "sks"))
        assert len(asked) >= 13
        assert all("sks" in q for q in asked)
        if scene.characters[0].who.category in words.PEOPLE:
            assert "What is the expression on sks face?" in asked
        else:
            assert asked["What color is sks?"].startswith(f"sks is {scene.characters[0].who.color}")
        fewer = dict(questions(scene, 0, "sks", mirrored=True))
        assert not any("positioned" in q for q in fewer)


def test_boxes_survive_being_written_and_read():
    text = box_text((12.8, 0.0, 64.0, 128.0), 128, 128)
    assert text == "{<10><0><50><100>}"
    box = parse_minigpt_box(text, 128, 128)
    assert (box.x0, box.y0, box.x1, box.y1) == (12.8, 0.0, 64.0, 128.0)


def test_sentences_start_with_a_capital_but_sks_stays():
    assert capital("a dog") == "A dog"
    assert capital("sks is here") == "sks is here"
    assert capital("Bob") == "Bob"
