"""The speed benchmark of training: both ways learn the same, and the arithmetic of a full-sized step is right."""

import engine.core.device  # noqa: F401

import numpy as np
import pytest

from engine.benchmarks.speed.measurement import SpeedSettings
from engine.benchmarks.speed.training import LLAVA_7B, Sizes, measure_training, with_many_rows, work_of


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measure_training(SpeedSettings(tmp_path_factory.mktemp("speed"), rounds=1), steps=2, views=1)


def test_each_family_is_timed_both_ways(measured):
    assert [m.task.split(",")[0] for m in measured] == [
        "LLaVA", "LLaVA", "MiniGPT-v2", "BLIP-2: one concept", "LLaVA by chat"
    ]  # fmt: skip
    assert all(len(m.seconds) == len(m.baseline_seconds) == 1 for m in measured)
    assert [m.target for m in measured] == ["≥ 4", "≥ 4", "", "", ""]


def test_both_ways_have_the_same_gradient(measured):
    assert all(m.extra["gradient_difference"] <= 1e-5 for m in measured)
    assert sum(m.extra["gradient_difference"] > 0 for m in measured) >= 4  # the ways do differ by their rounding


def test_the_share_of_rows_behind_the_photo_is_counted(measured):
    shares = [m.extra.get("share_of_rows_behind") for m in measured]
    assert shares[1] < 0.05 < 0.2 < shares[0] < 0.4
    assert shares[3:] == [None, None]


def test_the_large_pictures_have_as_many_rows_as_llava():
    vlm = with_many_rows(0)
    pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    from PIL import Image

    assert vlm.encode(vlm.preprocess([Image.fromarray(pixels)])).features.shape[1] == LLAVA_7B.rows


def test_a_layers_work_is_counted_by_hand():
    """One layer, width 1, no vision: linear parts 2 · (4 + 3) = 14 a row, output 2 a target, attention 4 a pair."""
    sizes = Sizes(layers=1, width=1, inner=1, vocabulary=1, vision_layers=0, vision_width=0, vision_inner=0, rows=2,
                  head=1, behind=1, targets=1)  # fmt: skip
    work = work_of(sizes)
    projector = 2 * 2 * (0 * 1 + 1)
    assert work.plain * 1e12 == pytest.approx(projector + 2 * (4 * 14 + 2) + 3 * 4 * 16 / 2)
    assert work.behind * 1e12 == pytest.approx(2 * (14 + 2) + 3 * 4 * 1 * 4)
    assert work.view * 1e12 == pytest.approx(projector + 3 * 14 + 4 * 9 / 2)


def test_a_plain_step_of_llava_costs_two_of_its_prefills():
    """The prefill of 632 rows costs 8.3 TFLOP: that figure is the config's own."""
    work = work_of(LLAVA_7B)
    assert work.view == pytest.approx(8.3, rel=0.1)
    assert work.plain == pytest.approx(2 * 8.3, rel=0.15)
    assert work.speedup(100, 8) > 4
    assert work.speedup(100, 1000) < work.speedup(100, 8)
