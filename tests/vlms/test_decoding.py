"""Fixed shapes in long runs: the same texts, and a way back where they do not work."""

from types import SimpleNamespace

import engine.core.device  # noqa: F401

import pytest
import torch
from PIL import Image

from engine.vlms.decoding import Decoding
from engine.vlms.find import find_config
from engine.vlms.halving import BatchLimit
from engine.vlms.registry import load_vlm


@pytest.mark.parametrize("name", ["storybook", "storybook-minigpt"])
def test_texts_are_the_same(name):
    vlm = load_vlm(find_config(name), torch.device("cpu"), torch.float32)
    images = [Image.new("RGB", (256, 256), color) for color in ("red", "green", "blue")]
    none = [torch.zeros(0, vlm.width)] * 3
    rows = vlm.inject(vlm.encode(vlm.preprocess(images)), none)
    ids = [vlm.encode_prompt(vlm.config.request("caption"))] * 3
    dynamic = vlm.generate(rows, ids)
    vlm.decoding = Decoding(after=3, device_types=("cpu",))
    assert vlm.generate(rows, ids) == dynamic
    assert vlm.generate(rows[:2], ids[:2]) == dynamic[:2]
    assert len(vlm.decoding.fill(rows[:2])) == 3 and not vlm.decoding.why_not


class Model:
    """Keeps the options of each call, and fails with a static cache, if it is told to."""

    def __init__(self, error=None):
        self.calls, self.error = [], error

    def generate(self, **options):
        self.calls.append(SimpleNamespace(**options))
        if self.error and "cache_implementation" in options:
            raise self.error
        return torch.zeros(len(options["attention_mask"]), 1)


def ask(decoding, model, size, prompt=10):
    return decoding.generate(model, prompt=prompt, max_new_tokens=4, attention_mask=torch.ones(size, prompt))


def test_shapes_are_fixed_after_a_while_and_only_for_large_batches():
    decoding, model = Decoding(after=9, device_types=("cpu",)), Model()
    for size, prompt in ((4, 10), (4, 10), (4, 300), (1, 10), (4, 10)):
        ask(decoding, model, size, prompt)
    assert [getattr(c, "max_cache_len", None) for c in model.calls] == [None, None, 512, None, 512]
    assert [len(decoding.fill([0] * n)) for n in (1, 2, 3, 4)] == [1, 4, 4, 4]


def test_nothing_is_fixed_on_a_cpu():
    decoding, model = Decoding(after=0), Model()
    ask(decoding, model, 4)
    assert not hasattr(model.calls[0], "max_cache_len") and decoding.fill([0]) == [0]


def test_a_model_that_cannot_goes_on_without():
    decoding, model = Decoding(after=0, device_types=("cpu",)), Model(RuntimeError("no compiler here"))
    assert len(ask(decoding, model, 4)) == 4 and decoding.why_not == "no compiler here"
    assert len(decoding.fill([0, 0])) == 2
    ask(decoding, model, 4)
    assert len(model.calls) == 3  # one that failed, one in its place, and one that did not try again


def test_memory_that_runs_out_is_not_swallowed():
    decoding, model = Decoding(after=0, device_types=("cpu",)), Model(RuntimeError("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        ask(decoding, model, 4)
    assert len(decoding.fill([0, 0])) == 2


def test_after_memory_ran_out_batches_are_not_filled_up_to_the_size_that_did_not_fit():
    decoding = Decoding(after=8, device_types=("cpu",))

    class Small(Model):
        def generate(self, **options):
            found = super().generate(**options)
            if len(found) > 4:
                raise RuntimeError("CUDA out of memory")
            return found

    model, limit = Small(), BatchLimit()

    def run(items):
        return list(ask(decoding, model, len(decoding.fill(items))))[: len(items)]

    for _ in range(3):
        assert len(limit.run(run, [0] * 8)) == 8
    assert [len(c.attention_mask) for c in model.calls] == [8, 4, 4, 4, 4, 4, 4]
    assert hasattr(model.calls[-1], "max_cache_len") and not decoding.why_not
