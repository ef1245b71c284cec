"""What the chat adapter does beside the checks of every family."""

from dataclasses import replace

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image

from engine.core.boxes import Box
from engine.core.errors import ArtefactError, UsageError
from engine.vlms.generate import ask_plain
from engine.vlms.registry import load_vlm
from tests.vlms.chat.tiny import FAMILIES, config_of, save_family, skip_if_missing

CPU = torch.device("cpu")
BY_NAME = {family.name: family for family in FAMILIES}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Load a family's tiny checkpoint by its name, once."""
    kept = {}

    def load(name):
        skip_if_missing(BY_NAME[name])
        if name not in kept:
            folder = save_family(BY_NAME[name], tmp_path_factory.mktemp(name))
            kept[name] = load_vlm(config_of(BY_NAME[name], folder), CPU, torch.float32)
        return kept[name]

    return load


def image(width=64, height=96, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def one_row(vlm, picture=None, count=1):
    vectors = torch.randn(count, vlm.width, generator=torch.Generator().manual_seed(1))
    (row,) = vlm.inject(vlm.encode(vlm.preprocess([picture or image()])), [vectors])
    return row


def test_pixels_and_features_are_made_once_for_all_prompts(loaded, monkeypatch):
    vlm = loaded("qwen3_vl")
    processed, encoded = [], []
    inner, tower = vlm.inputs._images.inner, vlm.model.model.visual
    preprocess = type(inner).preprocess
    monkeypatch.setattr(type(inner), "preprocess", lambda *a, **k: processed.append(1) or preprocess(*a, **k))
    handle = tower.register_forward_hook(lambda *_: encoded.append(1))
    ask_plain(vlm, [image()], [["describe this.", "is it red?", "is it a dog?"]])
    handle.remove()
    assert (len(processed), len(encoded)) == (1, 1)


def test_photos_above_the_limit_are_made_smaller(loaded):
    vlm = loaded("qwen3_vl")
    (photo,) = vlm.preprocess([image(600, 300)])
    assert photo.image.size == (181, 90)
    assert vlm.image_edge == 128
    (photo,) = vlm.preprocess([image(100, 100)])
    assert photo.image.size == (100, 100)


def test_views_are_the_whole_photo_unless_it_is_cropped(loaded):
    assert loaded("qwen3_vl").view(image(40, 30)) == Box(0, 0, 40, 30)
    assert loaded("qwen3_vl").view(image(400, 20)) == Box(120, 0, 280, 20)
    assert loaded("llava").view(image(40, 30)) == Box(5, 0, 35, 30)


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (900, 3)])
@pytest.mark.parametrize("name", ["qwen3_vl", "smolvlm", "gemma3", "internvl", "lfm2_vl", "mistral3"])
def test_photos_of_any_shape_are_described(loaded, name, size):
    vlm = loaded(name)
    assert vlm.generate([one_row(vlm, image(*size))], ["describe."], 2)


@pytest.mark.parametrize(
    ("name", "grid"), [("qwen3_vl", (4, 3)), ("smolvlm", (2, 2)), ("internvl", (2, 2)), ("gemma3", (2, 2)),
                       ("llava", (4, 4)), ("mistral3", (4, 3))]
)  # fmt: skip
def test_maps_cover_the_photo_where_the_image_tokens_form_a_grid(loaded, name, grid):
    vlm = loaded(name)
    (maps,) = vlm.concept_attention([one_row(vlm, count=2)], [2], ["describe this."])
    assert maps.shape == (2, *grid)
    assert maps.min() >= 0
    assert 0 < maps[0].sum() <= 1
    (none,) = vlm.concept_attention([one_row(vlm, count=0)], [0], ["describe this."])
    assert none.shape == (0, *grid)


def test_a_family_without_a_grid_says_so(loaded):
    vlm = loaded("molmo2")
    with pytest.raises(UsageError, match="molmo2 shows no attention over the photo"):
        vlm.concept_attention([one_row(vlm)], [1], ["describe this."])


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5", "glm4v", "smolvlm", "gemma3", "llava", "mistral3"])
def test_a_training_example_is_the_conversation_of_the_template(loaded, name):
    """Reference: the ids that the processor makes of the finished conversation."""
    vlm = loaded(name)
    row = one_row(vlm, count=0)
    (line,) = vlm._example_lines([row], ["describe this."], ["a dog."])
    prompt = vlm.inputs.line(row.photo.photo, vlm.inputs.template("describe this."))
    assert line.ids[: len(prompt.ids)] == prompt.ids
    assert set(line.labels[: len(prompt.ids)]) == {-100}
    assert list(line.labels[len(prompt.ids) :]) == line.ids[len(prompt.ids) :]
    if name not in ("qwen3_5", "glm4v"):  # their templates write a finished turn without the empty thoughts
        whole = vlm.inputs.line(row.photo.photo, vlm.inputs.template("describe this.", "a dog."))
        assert whole.ids[: len(line.ids)] == line.ids
    text = vlm.tokenizer.decode([i for i in line.labels if i >= 0], skip_special_tokens=True)
    assert text.strip() == "a dog."
    assert line.ids[-1] in (*_ends(vlm), vlm.tokenizer.eos_token_id)
    assert set(map(len, [line.ids, line.labels, *line.types.values()])) == {len(line.ids)}


def _ends(vlm):
    ends = vlm.model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


def test_any_of_several_end_tokens_ends_a_text(loaded):
    vlm = loaded("gemma3")
    text = vlm.tokenizer("a dog", add_special_tokens=False).input_ids
    lines = [[*text, end] for end in _ends(vlm)] + [[*text, text[0]]]
    assert len(_ends(vlm)) == 2
    assert [g.capped for g in vlm._decode(torch.tensor(lines))] == [False, False, True]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("<think>a cat?</think> a dog.", "a dog."),
        ("a dog.", "a dog."),
        ("<think>a cat? no", ""),
        ("a cat? no</think>\n\na dog.", "a dog."),
    ],
)
def test_thoughts_are_no_part_of_a_text(loaded, said, kept):
    vlm = loaded("gemma3")
    (generation,) = vlm._decode(torch.tensor([vlm.tokenizer(said, add_special_tokens=False).input_ids]))
    assert generation.text == kept


@pytest.mark.parametrize(("said", "kept"), [("a cat? let me see", ""), ("a cat? no</think> a dog.", "a dog.")])
def test_thoughts_that_the_prompt_opens_are_no_part_of_a_text(loaded, monkeypatch, said, kept):
    vlm = loaded("gemma3")
    monkeypatch.setattr(vlm.inputs, "template", lambda request: f"{request}<|assistant|><think>\n")
    (generation,) = vlm._decode(torch.tensor([vlm.tokenizer(said, add_special_tokens=False).input_ids]))
    assert generation.text == kept


def test_special_tokens_in_a_request_are_left_out(loaded):
    vlm = loaded("qwen3_vl")
    row = one_row(vlm)
    said = [vlm.generate([row], [r], 4) for r in ("what <|image_pad|>is this<|im_end|>?", "what is this?")]
    assert said[0] == said[1]


def test_an_embedding_of_another_width_is_refused(loaded):
    vlm = loaded("qwen3_vl")
    with pytest.raises(ArtefactError, match="width 8 does not fit qwen3_vl"):
        vlm.inject(vlm.encode(vlm.preprocess([image()])), [torch.zeros(1, 8)])


def test_beams_see_each_photos_rows(loaded):
    """With two beams, each photo's line stands there twice; one photo alone gives the same."""
    from engine.vlms.chat.batching import make_batch

    vlm = loaded("internvl")
    rows = [one_row(vlm, count=2), one_row(vlm, image(seed=5), count=1)]
    said = []
    for chosen in (rows, rows[:1]):
        batch = make_batch(chosen, vlm._prompt_lines(chosen, ["describe."] * len(chosen)), vlm.pad_id, left=True)
        with torch.no_grad(), vlm._slots.filled(batch.slots, batch.concepts):
            said.append(vlm.model.generate(**batch.inputs(), max_new_tokens=4, num_beams=2)[0, -4:])
    assert torch.equal(*said)


def test_the_rows_have_the_norm_of_text(loaded):
    vlm = loaded("gemma3")  # scales its embeddings by the root of their width
    table = vlm.model.get_input_embeddings()
    expected = table(torch.arange(len(vlm.tokenizer))[None]).norm(dim=-1).mean()
    assert one_row(vlm, count=3).concepts.norm(dim=-1) == pytest.approx(expected.expand(3), rel=1e-4)
    assert expected > 2 * table.weight.norm(dim=-1).mean()


def test_a_penalty_that_has_no_meaning_is_refused(loaded):
    config = loaded("qwen3_vl").config
    for changes in ({"norm": "cls"}, {"penalty": "column-sum"}):
        with pytest.raises(UsageError, match="has no"):
            load_vlm(replace(config, injection=replace(config.injection, **changes)), CPU, torch.float32)


def test_generation_halves_where_memory_runs_out(loaded, monkeypatch):
    vlm = loaded("qwen3_vl")
    rows, requests = [one_row(vlm, image(seed=i)) for i in range(3)], ["describe."] * 3
    expected = vlm.generate(rows, requests, 3)
    whole = vlm.generate_ids

    def narrow(pairs, most):
        if len(pairs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(pairs, most)

    monkeypatch.setattr(vlm, "generate_ids", narrow)
    assert vlm.generate(rows, requests, 3) == expected
