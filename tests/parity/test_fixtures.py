"""Small numbers and strings of the implementation published with the paper, one fact each.

Where ours is meant to differ, the test says in what and why.
"""

import json
import re
from types import SimpleNamespace

import engine.core.device  # noqa: F401

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Blip2VisionConfig, Blip2VisionModel, LlamaConfig, LlamaForCausalLM

from engine.core.boxes import Box, parse_minigpt_box, parse_minigpt_boxes
from engine.training.captions import with_identifier
from engine.vlms.find import find_config
from engine.vlms.injection import append_rows
from engine.vlms.llava_next import LlavaNext
from engine.vlms.minigpt_convert import convert
from engine.vlms.minigpt_sources import LlamaFolder, Source
from engine.vlms.minigpt_v2 import FINAL_EPS, MiniGptV2
from engine.vlms.minigpt_weights import Upstream, interpolated, llama_pieces, vit_pieces, vit_shape
from engine.vlms.qformer_attention import rescale_concepts
from engine.vlms.wording import replace_names
from tests.parity.reference_numbers import relative

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def fixtures(parity):
    return parity("fixtures")


@pytest.fixture(scope="module")
def published(parity):
    return parity("minigpt_v2")


def read(fixtures, name):
    return json.loads((fixtures / f"{name}.json").read_text())


# Norm


@pytest.mark.parametrize(("vlm", "count"), [("llava", 1), ("llava", 2), ("minigpt_v2", 1), ("minigpt_v2", 2)])
def test_norm_of_concept_rows(fixtures, vlm, count):
    """MiniGPT-v2's default is the mean of the image rows; the reference has unit rows in it, too (`all-but-last`)."""
    tensors = load_file(fixtures / "norm_rescale.safetensors")
    given, expected = (tensors[f"{vlm}_k{count}.features_{way}"] for way in ("in", "out"))
    image, concepts = given[:, :-count], given[:, -count:]
    rows = image.norm(dim=-1)
    units = concepts[:, :-1].norm(dim=-1)
    norms = rows[:, 0] if vlm == "llava" else torch.cat([rows, units], 1).mean(1)
    ours = torch.stack([append_rows(f, e, n) for f, e, n in zip(image, concepts, norms, strict=True)])
    assert relative(ours, expected) < 1e-6
    if vlm == "minigpt_v2":
        assert torch.allclose(units, torch.ones_like(units), atol=1e-5)
        plain = torch.stack([append_rows(f, e, n) for f, e, n in zip(image, concepts, rows.mean(1), strict=True)])
        apart = float((rows.mean(1) / norms - 1).abs().max())  # by which the unit rows move the mean
        assert relative(plain, expected) < 1e-6 + apart
        assert (apart < 1e-6) == (count == 1)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("part", ["keys", "values"])
def test_norm_of_projected_keys_and_values(fixtures, part, count):
    tensors = load_file(fixtures / "norm_rescale.safetensors")
    given, expected = (tensors[f"blip2_k{count}.projected_{part}_{way}"] for way in ("in", "out"))
    width = given.shape[-1]
    heads = next(h for h in range(2, width + 1) if width % h == 0)
    heads = given.reshape(*given.shape[:2], heads, -1).transpose(1, 2)
    ours = rescale_concepts(heads, given.shape[1] - count).transpose(1, 2).reshape(given.shape)
    assert relative(ours, expected) < 1e-6


# Conversion


def test_the_upstream_files_give_the_native_weights(published, tmp_path):
    facts = json.loads((published / "config.json").read_text())
    torch.save(load_file(published / "upstream_eva_vit_g.safetensors"), tmp_path / "vit.pth")
    torch.save({"model": load_file(published / "upstream_minigptv2_checkpoint.safetensors")}, tmp_path / "model.pth")
    llama = tmp_path / "llama"
    llama.mkdir()
    (llama / "tokenizer.json").write_text("{}")
    (llama / "config.json").write_text(json.dumps(facts["text_config"]))
    (llama / "model.safetensors").write_bytes((published / "upstream_llama.safetensors").read_bytes())
    upstream = Upstream(
        blocks=facts["vision_config"]["num_hidden_layers"],
        heads=facts["vision_config"]["num_attention_heads"],
        image_size=facts["vision_config"]["image_size"],
        merge=facts["merge_factor"],
        lora_alpha=facts["lora"]["alpha"],
    )
    out = convert(tmp_path / "vit.pth", tmp_path / "model.pth", llama, tmp_path / "out", upstream=upstream)
    ours, expected = load_file(out / "model.safetensors"), load_file(published / "weights.safetensors")
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, rtol=0, atol=1e-7), name
    written = json.loads((out / "config.json").read_text())
    for part in ("vision_config", "text_config"):
        assert written[part] | facts[part] == written[part]


def test_the_real_models_facts():
    """Of the published model, not of a tiny one: 39 of 40 blocks, alpha 16, 448 pixels, merged in fours."""
    assert Upstream() == Upstream(blocks=39, heads=16, image_size=448, merge=4, lora_alpha=16)


def test_eva_at_448_pixels(fixtures):
    facts, tensors = read(fixtures, "eva_vit_448"), load_file(fixtures / "eva_vit_448.safetensors")
    vit = Source(fixtures, {k.removeprefix("upstream."): v for k, v in tensors.items() if k.startswith("upstream.")})
    upstream = Upstream(facts["depth"], facts["num_heads"], facts["img_size"], facts["merge_factor"])
    table = interpolated(vit.get("pos_embed"), facts["img_size"] // facts["patch_size"])
    assert relative(table, tensors["position_embedding_448"]) < 1e-6
    shape = vit_shape(vit, upstream)
    config = shape.config(upstream)
    assert config.intermediate_size == facts["intermediate_size"]
    assert config.layer_norm_eps == facts["layer_norm_eps"]
    assert facts["final_layer_norm_eps"] == FINAL_EPS
    vision = Blip2VisionModel(Blip2VisionConfig(**config.to_dict()))
    vision.post_layernorm.eps = FINAL_EPS
    pieces = vit_pieces(vit, shape, upstream)
    vision.load_state_dict({p.name.removeprefix("vision_model."): p.make() for p in pieces})
    with torch.no_grad():
        pixels = tensors["pixel_values"]
        hidden = vision.encoder(inputs_embeds=vision.embeddings(pixels)).last_hidden_state
        after = vision(pixels).last_hidden_state
    assert relative(hidden, tensors["hidden_states"]) < 1e-5
    assert relative(after, tensors["after_layer_norm"]) < 1e-5
    assert relative(after[:, 1:].reshape(tensors["merged_tokens"].shape), tensors["merged_tokens"]) < 1e-5


def test_lora_is_merged(fixtures, tmp_path):
    facts, tensors = read(fixtures, "lora_merge"), load_file(fixtures / "lora_merge.safetensors")
    base, adapter, merged = (
        {k.removeprefix(p): v.clone() for k, v in tensors.items() if k.startswith(p)}
        for p in ("base.", "adapter.", "merged.")
    )
    assert facts["alpha"] / facts["r"] == pytest.approx(facts["scale"])
    save_file(base, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    config = LlamaConfig(**facts["text_config"])
    source = Source(tmp_path, adapter)
    upstream = Upstream(lora_alpha=facts["alpha"])
    pieces = llama_pieces(LlamaFolder(tmp_path), source, upstream, config.num_hidden_layers)
    ours = {p.name.removeprefix("language_model."): p.make() for p in pieces}
    for name, tensor in merged.items():
        assert relative(ours[name], tensor) < 1e-6
    model = LlamaForCausalLM(config).eval()
    for state, name in ((base, "logits_without_adapter"), (ours, "logits_with_adapter")):
        model.load_state_dict(state)
        with torch.no_grad():
            assert relative(model(tensors["input_ids"]).logits, tensors[name]) < 1e-5


# Text


def prompts_of(name):
    """A MiniGPT-v2 that only writes prompts."""
    model = SimpleNamespace(eval=lambda: model, requires_grad_=lambda on: model, language_model=SimpleNamespace())
    model.language_model.set_attn_implementation = lambda name: None
    return MiniGptV2(model, None, None, find_config(name))


def test_minigpt_prompts(fixtures):
    facts = read(fixtures, "minigpt_v2_prompts")
    ours, theirs = prompts_of("minigpt-v2"), prompts_of("minigpt-v2+reference")
    for task in facts["tasks"]:
        assert ours.prompt(task["text"]) == task["upstream_generation_prompt"]
        assert theirs.prompt(task["text"]) == task["reference_generation_prompt"]
    names, texts = (facts["identifier"],), [task["text"] for task in facts["tasks"]]
    assert ours.config.request("caption_of", names) in texts
    assert theirs.config.request("caption_of", names) in texts
    assert ours.config.request("refer", names) in texts
    question = ours.config.requests["question"]
    asked = [text for text in texts if text.startswith(question.partition("{")[0])]
    assert asked == [question.format(question=text.partition(" ")[2]) for text in asked] != []
    training = theirs.config.training_template.format(request=theirs.config.request("caption_of", names))
    assert training == facts["train_instruction"]


def test_minigpt_boxes(fixtures):
    """The reference draws any four integers, whatever stands around them; ours wants the published form."""
    for case in read(fixtures, "minigpt_v2_boxes")["cases"]:
        expected = tuple(Box(*map(float, b)) for b in case["usable_boxes_0_100"])
        assert parse_minigpt_boxes(case["text"], 100, 100) == expected, case["text"]
        assert parse_minigpt_box(case["text"], 100, 100) == (expected[0] if expected else None)
        for image in case["boxes_on_image"]:
            found = parse_minigpt_boxes(case["text"], image["width"], image["height"])
            for box, wanted in zip(found, image["boxes_xyxy"], strict=True):
                assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(wanted, abs=1e-9)


def replaced_by_words(text, name, identifier):
    """Our rule, word by word: a name is a whole word of any case."""
    words = re.split(r"(\W+)", text)
    return "".join(identifier if w.lower() == name.lower() else w for w in words)


def holds_only(text, written, name):
    """Whether every place where a text holds a name, in whatever case, is a word of its own, written that way."""
    words = [w for w in re.split(r"\W+", text) if name.lower() in w.lower()]
    return set(words) <= {written}


def test_identifiers_in_captions_and_questions(fixtures):
    """The reference replaces parts of words, too, and one way of writing only; where no such place is, we agree."""
    agreed = 0
    for case in read(fixtures, "identifiers")["cases"]:
        name, identifier = case["concept_name"], case["identifier"]
        in_captions = name.title() if case["concept_type"] == "person" else name
        pairs = [(c["before"], c["reference_after"], in_captions) for c in case["captions"]]
        for pair in case["vqa"]:
            pairs += [(b, a, name) for b, a in zip(pair["before"], pair["reference_after"], strict=True)]
        for before, after, written in pairs:
            assert before.replace(written, identifier) == after
            ours = replace_names(before, {name: identifier})
            assert ours == replaced_by_words(before, name, identifier)
            assert with_identifier(before, (name,), identifier) == (ours if ours != before else None)
            if holds_only(before, written, name):
                assert ours == after
                agreed += 1
    assert agreed


class ToyTokenizer:
    """The tokenizer that the fixture defines; text around `<image>` is tokenised on its own."""

    def __init__(self, facts):
        first = facts["cases"][0]
        self.bos_token_id, self.image = first["ids"][0], first["ids"][first["image_index"]]
        self.pattern, self.table = re.compile(facts["toy_tokenizer"]["pattern"]), facts["toy_tokenizer"]["table"]
        self.pad_token_id, self.eos_token_id = (max(self.table.values()) + k for k in (1, 2))

    def __call__(self, text, **kwargs):
        ids = [self.bos_token_id]
        for i, part in enumerate(text.split("<image>")):
            pieces = self.pattern.findall("▁" + part.replace(" ", "▁")) if part else []
            ids += [self.image] * (i > 0) + [self.table[p] for p in pieces]
        return SimpleNamespace(input_ids=ids)


@pytest.mark.parametrize("variant", ["llava-1.6+reference", "llava-1.6"])
def test_llava_ids_labels_and_positions(fixtures, variant):
    """Ours adds the end of the answer; the `reference` variant leaves it out as the reference does."""
    facts = read(fixtures, "llava_prompt")
    vlm = object.__new__(LlavaNext)
    vlm.config, vlm.tokenizer = find_config(variant), ToyTokenizer(facts)
    image = vlm.tokenizer.image
    vlm.model = SimpleNamespace(config=SimpleNamespace(image_token_id=image))
    end = [] if variant.endswith("reference") else [vlm.tokenizer.eos_token_id]
    for case in facts["cases"]:
        assert vlm.prompt(case["question"]) == case["generation_prompt"]
        ids, labels = vlm.encode_example(case["question"], case["answer"])
        assert ids == case["ids"] + end
        assert labels == case["labels"] + end
        assert ids.index(image) == case["image_index"]
        rows = case["expanded_length_with_concept"] - (len(case["ids"]) - 1)
        layout = vlm._layout([torch.zeros(rows, 1)], [1], [ids])
        recorder = layout.penalty("row")
        assert recorder.positions == [(0, case["concept_index_in_expanded_sequence"])]
        assert recorder.lengths == [case["expanded_length_with_concept"] + len(end)]
        expanded = vlm._expand(ids, rows, labels)
        first = next(i for i, label in enumerate(expanded) if label != -100)
        assert first == case["first_supervised_index_with_concept"]
