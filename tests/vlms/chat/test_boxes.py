from dataclasses import replace

import engine.core.device  # noqa: F401

import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from engine.core.boxes import Box
from engine.vlms.chat.boxes import parse_boxes, sent_size
from engine.vlms.chat.pixels import limit_pixels
from engine.vlms.config import VlmConfig
from engine.vlms.find import find_config
from engine.vlms.generate import _read_box, _refer_wordings
from engine.vlms.prompt_config import Chat

PHOTO = (2000, 1000)
HALF = Box(200, 300, 1000, 900)


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [100, 300, 500, 900], "label": "Rex"}]',
        '```json\n[\n  {"bbox_2d": [100, 300, 500, 900], "label": "Rex"}\n]\n```',
        '{"bbox_2d": [100.0, 300.0, 500.0, 900.0]}',
        "<ref>Rex</ref><box>[[100, 300, 500, 900]]</box>",
        "The dog is at (100,300),(500,900).",
        "[[100, 300], [500, 900]]",
        '[{"bbox_2d": [100, 300, 500, 900], "label": "R',
    ],
)
def test_boxes_in_thousandths(text):
    assert parse_boxes(text, "xyxy-1000", (1, 1), PHOTO) == (HALF,)


def test_boxes_of_gemma_start_with_y():
    assert parse_boxes('[{"box_2d": [300, 100, 900, 500]}]', "yxyx-1000", (1, 1), PHOTO) == (HALF,)


def test_boxes_in_pixels_of_the_sent_image():
    assert parse_boxes('[{"bbox_2d": [50, 75, 250, 225]}]', "xyxy-pixels", (500, 250), PHOTO) == (HALF,)


def test_boxes_of_minigpt():
    assert parse_boxes("{<10><30><50><90>}", "minigpt", (1, 1), PHOTO) == (HALF,)


def test_several_boxes_keep_their_order():
    text = '[{"bbox_2d": [100, 300, 500, 900]}, {"bbox_2d": [0, 0, 1000, 1000]}]'
    assert parse_boxes(text, "xyxy-1000", (1, 1), PHOTO) == (HALF, Box(0, 0, 2000, 1000))


@pytest.mark.parametrize(
    "corners",
    ["500, 300, 100, 900", "100, 900, 500, 300", "100, 300, 1001, 900", "-5, 300, 500, 900", "100, 300, 100, 900",
     "0.1, 0.3, 0.5, 0.9", "1, 2, 3", "1, 2, 3, 4, 5", "a, b, c, d"],
)  # fmt: skip
def test_a_box_is_never_made_up(corners):
    assert parse_boxes(f"[{corners}]", "xyxy-1000", (1, 1), PHOTO) == ()
    assert parse_boxes(f"[{corners}]", "none", (1, 1), PHOTO) == ()


@pytest.mark.parametrize("size", [(4000, 3000), (640, 480), (1000, 37), (30, 30)])
def test_the_sent_size_is_what_the_processor_makes(size):
    """Reference: `smart_resize` of transformers on the photo after our limit."""
    image = limit_pixels(Image.new("RGB", size), 1_048_576)
    height, width = smart_resize(image.height, image.width, factor=28, min_pixels=1, max_pixels=12_845_056)
    assert sent_size(*size, 1_048_576) == (width, height)


def test_a_box_in_the_view_is_placed_in_the_photo():
    config = VlmConfig("a", "chat", "a", requests={"refer": "where is {names}?"}, chat=Chat(boxes="xyxy-1000"))
    view = Box(100, 0, 300, 200)
    assert _read_box(config, "[0, 0, 500, 500]", view, (400, 200)) == Box(100, 0, 200, 100)
    assert _read_box(config, "nowhere", view, (400, 200)) is None
    assert _refer_wordings(config) == ["where is {names}?"]
    minigpt = find_config("minigpt-v2")
    assert _read_box(minigpt, "{<0><0><50><50>}", view, (400, 200)) == Box(100, 0, 200, 100)
    assert len(_refer_wordings(minigpt)) == 2
    assert len(_refer_wordings(replace(config, requests=config.requests | {"refer_retry": "{names}?"}))) == 2
