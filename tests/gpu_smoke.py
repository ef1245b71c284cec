"""Seconds and memory of the CUDA path at full size: `python -m tests.gpu_smoke [--vlm NAME] [PHOTOS]`.

Builds a VLM of the paper from its published shapes with random bf16 weights (speed does not depend on their
values), captions a folder of real photos and trains one concept, and prints one JSON document. `--published N`
captions N of the photos as the published code does, too: one at a time, with eager attention. Its 4-bit weights are
left out, which are slower than bfloat16 (measured by others), and it stops after as many tokens as ours. With `--tiny`
the same code runs on a small model on any machine.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedModel,
    T5Config,
)

from engine.core.errors import PhotoError
from engine.photos.decode import load_photo
from engine.photos.discovery import iter_photos
from engine.storybook.build.minigpt import WORDS
from engine.storybook.build.tokenizer import make_tokenizer
from engine.training.augment import working_size
from engine.training.captions import vary
from engine.training.optimiser import EmbeddingTrainer, TrainingExample
from engine.vlms import captions
from engine.vlms.base import Vlm
from engine.vlms.blip2 import Blip2
from engine.vlms.decoding import Decoding
from engine.vlms.find import find_config
from engine.vlms.llava_next import LlavaNext
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel, MiniGptV2

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
NEW_TOKENS = 60


def llama(*, tiny: bool) -> LlamaConfig:
    """The published shape of a 7B Llama, or one of two layers."""
    layers, width, inner, heads = (2, 128, 256, 4) if tiny else (32, 4096, 11008, 32)
    return LlamaConfig(
        vocab_size=32064,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
    )


def vit_g(size: int, *, tiny: bool) -> dict:
    """EVA ViT-g/14 as BLIP-2 and MiniGPT-v2 use it."""
    return {"image_size": size, "patch_size": 14, **({"num_hidden_layers": 2} if tiny else {})}


def make_llava(*, tiny: bool) -> PreTrainedModel:
    """llava-v1.6-vicuna-7b."""
    layers = 3 if tiny else 24
    shape = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": layers}
    clip = CLIPVisionConfig(image_size=336, patch_size=14, **shape)
    text = llama(tiny=tiny)
    return LlavaNextForConditionalGeneration(
        LlavaNextConfig(vision_config=clip.to_dict(), text_config=text.to_dict(), image_token_index=4)
    )


def make_blip2(*, tiny: bool) -> PreTrainedModel:
    """blip2-flan-t5-xl."""
    shape = {"num_layers": 2, "d_model": 128, "d_ff": 256, "num_heads": 4} if tiny else {"num_layers": 24}
    full = {"d_model": 2048, "d_ff": 5120, "num_heads": 32, "d_kv": 64}
    text = T5Config(
        **{**full, **shape}, vocab_size=32128, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    former = {"num_hidden_layers": 2} if tiny else {}
    config = Blip2Config(vision_config=vit_g(224, tiny=tiny), qformer_config=former, text_config=text.to_dict())
    config.image_token_index = 4
    return Blip2ForConditionalGeneration(config)


def make_minigpt(*, tiny: bool) -> PreTrainedModel:
    """MiniGPT-v2 on Llama-2-7B-chat."""
    return MiniGptModel(MiniGptConfig(vision_config=vit_g(448, tiny=tiny), text_config=llama(tiny=tiny).to_dict()))


def squash(size: int) -> BlipImageProcessorPil:
    """The processor of VLMs that squash a photo to a square."""
    return BlipImageProcessorPil(size={"height": size, "width": size})


FAMILIES = {
    "llava-1.6": (
        LlavaNext,
        make_llava,
        lambda: CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
    ),
    "blip-2": (Blip2, make_blip2, lambda: squash(224)),
    "minigpt-v2": (MiniGptV2, make_minigpt, lambda: squash(448)),
}


def build(name: str, device: torch.device, *, tiny: bool) -> Vlm:
    """The adapter around a model with random weights."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    adapter, make, images = FAMILIES[name]
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with device:
        model = make(tiny=tiny)
    torch.set_default_dtype(torch.float32)
    config = replace(find_config(name), max_new_tokens=NEW_TOKENS)
    return adapter(model, images(), make_tokenizer(WORDS), config)


class Clock:
    """Seconds of a part, the GPU's queue emptied at both ends."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> "Clock":
        self._wait()
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.monotonic() - self.began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def load_images(folder: Path, limit: int) -> list:
    """Upright photos of a folder, scaled as training does."""
    found = []
    for path in iter_photos([folder]):
        try:
            found.append(working_size(load_photo(path).image, 672))
        except PhotoError:
            continue
        if len(found) == limit:
            break
    return found


def published(vlm: Vlm, images: list, device: torch.device) -> float:
    """Photos a second of the published loop."""
    model = vlm.model.language_model if hasattr(vlm.model, "language_model") else vlm.model
    model.set_attn_implementation("eager")
    with Clock(device) as clock:
        for image in images:
            rows = vlm.inject(vlm.encode(vlm.preprocess([image])), [torch.zeros(0, vlm.width)])
            vlm.generate(rows, [vlm.encode_prompt(vlm.config.request("caption"))])
    return len(images) / clock.seconds


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="?", type=Path, default=PHOTOS)
    parser.add_argument("--vlm", choices=sorted(FAMILIES), default="llava-1.6")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--published", type=int, default=0)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not args.tiny:
        parser.error("there is no CUDA GPU here; --tiny runs the same code on a small model")
    report: dict = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "vlm": args.vlm}
    report["tiny"] = args.tiny
    with Clock(device) as clock:
        vlm = build(args.vlm, device, tiny=args.tiny)
    report["load_seconds"] = round(clock.seconds, 2)
    with Clock(device) as clock:
        images = load_images(args.photos, args.limit)
    report |= {"photos": len(images), "decode_seconds": round(clock.seconds, 2)}
    vlm.decoding = Decoding(after=args.batch)  # as in a run of more than 300 photos
    for _ in range(2):  # the second one compiles
        captions.caption(vlm, images[: args.batch], [[]] * len(images[: args.batch]))
    with Clock(device) as clock:
        for i in range(0, len(images), args.batch):
            part = images[i : i + args.batch]
            captions.caption(vlm, part, [[]] * len(part))
    report |= {"batch": args.batch, "caption_seconds": round(clock.seconds, 2)}
    report["photos_per_second"] = round(len(images) / clock.seconds, 2)
    examples = [TrainingExample(i, vary("sks is on the sofa.", "sks", ("Here, ",))) for i in images[:4]]
    settings = replace(vlm.config.training, steps=args.steps)
    trainer = EmbeddingTrainer(vlm, examples, vlm.config.request("caption_of", ("sks",)), settings, seed=0)
    with Clock(device) as clock:
        losses = [s.cross_entropy for s in trainer.run()]
    report |= {
        "steps": args.steps,
        "train_seconds": round(clock.seconds, 2),
        "first_and_last_loss": [losses[0], losses[-1]],
    }
    report["no_fixed_shapes"] = vlm.decoding.why_not
    if args.published:
        vlm.decoding = Decoding(device_types=())
        report["published_photos_per_second"] = round(published(vlm, images[: args.published], device), 2)
    if device.type == "cuda":
        report["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
