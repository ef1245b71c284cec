"""A tiny random MiniGPT-v2: in the converted layout, and as the three upstream files it is converted from."""

import json

import engine.core.device  # noqa: F401

import torch
from safetensors.torch import save_file
from transformers import Blip2VisionConfig, BlipImageProcessorPil, LlamaConfig, LlamaForCausalLM

from engine.storybook.build.tokenizer import make_tokenizer
from engine.vlms.minigpt_v2 import MiniGptConfig, MiniGptModel

EXTRA = ("INST", "Img", "vqa", "<", ">")


def text_config(tokenizer):
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def save_tiny_minigpt(folder, seed=0):
    """Config, safetensors, tokenizer, image processor: what the converter writes."""
    tokenizer = make_tokenizer(EXTRA)
    vision = Blip2VisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=64,
        patch_size=16,
        layer_norm_eps=1e-6,
        initializer_range=0.02,
    )
    torch.manual_seed(seed)
    config = MiniGptConfig(vision_config=vision.to_dict(), text_config=text_config(tokenizer).to_dict(), merge=4)
    model = MiniGptModel(config)
    with torch.no_grad():
        model.llama_proj.weight.normal_(0, 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half() for k, v in model.state_dict().items()}, folder / "model.safetensors", {"format": "pt"})
    facts = {"model_type": "minigpt_v2", "merge": 4}
    document = facts | {"vision_config": vision.to_dict(), "text_config": text_config(tokenizer).to_dict()}
    (folder / "config.json").write_text(json.dumps(document))
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def upstream_tensors(blocks=40, width=16, seed=0):
    """EVA's ViT and the checkpoint in their upstream layouts; the ViT has one block more than is used."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g) * 0.1

    vit = {
        "cls_token": draw(1, 1, width),
        "pos_embed": draw(1, 257, width),
        "patch_embed.proj.weight": draw(width, 3, 14, 14),
        "patch_embed.proj.bias": draw(width),
        "norm.weight": draw(width),
        "head.weight": draw(7, width),
    }
    for i in range(blocks):
        own = {
            "norm1.weight": 1 + draw(width),
            "norm1.bias": draw(width),
            "norm2.weight": 1 + draw(width),
            "norm2.bias": draw(width),
            "attn.qkv.weight": draw(3 * width, width),
            "attn.q_bias": draw(width),
            "attn.v_bias": draw(width),
            "attn.proj.weight": draw(width, width),
            "attn.proj.bias": draw(width),
            "mlp.fc1.weight": draw(2 * width, width),
            "mlp.fc1.bias": draw(2 * width),
            "mlp.fc2.weight": draw(width, 2 * width),
            "mlp.fc2.bias": draw(width),
        }
        vit |= {f"blocks.{i}.{k}": v for k, v in own.items()}
    adapter = {"llama_proj.weight": draw(32, 4 * width), "llama_proj.bias": draw(32)}
    for i in range(2):
        for name, out in (("q_proj", 32), ("v_proj", 16)):
            at = f"llama_model.base_model.model.model.layers.{i}.self_attn.{name}"
            adapter |= {f"{at}.lora_A.weight": draw(8, 32), f"{at}.lora_B.weight": draw(out, 8)}
    return vit, adapter


def save_upstream(folder, vit, adapter):
    """The files that people download: two pickles of tensors and a Llama folder in shards."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(vit, folder / "eva_vit_g.pth")
    torch.save({"model": adapter}, folder / "minigptv2_checkpoint.pth")
    tokenizer = make_tokenizer(EXTRA)
    torch.manual_seed(1)
    LlamaForCausalLM(text_config(tokenizer)).half().save_pretrained(folder / "llama", max_shard_size="60KB")
    tokenizer.save_pretrained(folder / "llama")
    return folder / "eva_vit_g.pth", folder / "minigptv2_checkpoint.pth", folder / "llama"
