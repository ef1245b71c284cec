import pytest

from engine.core.boxes import Box, iou, parse_minigpt_box


def test_iou_of_equal_apart_and_half():
    a = Box(0, 0, 10, 10)
    assert iou(a, a) == 1.0
    assert iou(a, Box(20, 20, 30, 30)) == 0.0
    assert iou(a, Box(0, 5, 10, 15)) == pytest.approx(1 / 3)


def test_grown_box_stays_inside_the_photo():
    assert Box(0, 0, 10, 10).grown(2.0, 12, 100) == Box(0, 0, 12, 15)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("{<0><10><50><100>}", Box(0, 20, 100, 200)),
        ("a dog {<1><2><3><4>} and more", Box(2, 4, 6, 8)),
        ("{ <0> <10> <50> <100> }", Box(0, 20, 100, 200)),
        ("{<50><10><50><100>}", None),
        ("{<0><0><101><100>}", None),
        ("the dog is on the left", None),
        ("{<1><2><3>}", None),
    ],
)
def test_parse_minigpt_box(text, box):
    assert parse_minigpt_box(text, 200, 200) == box
