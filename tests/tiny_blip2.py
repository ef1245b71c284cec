"""A tiny random BLIP-2 with a T5, saved in exactly the hub's layout."""

import json

import engine.core.device  # noqa: F401

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessorPil,
    OPTConfig,
    T5Config,
    T5Tokenizer,
)

SIDE, WIDTH = 56, 32
WORDS = "a the is red blue green dog cat ball sks Bob What Question Answer color on sofa here in this".split()


def make_tokenizer():
    """T5's ids (pad 0, end 1, unknown 2), pieces for a few words and all letters, `<image>` at the end."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0)]
    pieces += [(f"▁{w}", -2.0) for w in WORDS]
    pieces += [(c, -6.0) for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:?!"]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return tokenizer


def make_config(tokenizer, *, text=None, decoder_layers=2):
    """39 blocks become 3; the Q-Former looks at the image in every second of 4 layers, as the published one."""
    vision = Blip2VisionConfig(
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=14,
    )
    qformer = Blip2QFormerConfig(
        vocab_size=40,
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=48,
        cross_attention_frequency=2,
        encoder_hidden_size=WIDTH,
    )
    text = text or T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=decoder_layers,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    return Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=8,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def make_model(config, seed=0):
    """Random weights large enough that photos and concepts change what is said."""
    torch.manual_seed(seed)
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():
        model.query_tokens.normal_()
        for name, p in model.named_parameters():
            if p.dim() > 1 and not name.startswith("language_model") and name != "query_tokens":
                p.normal_(std=p.shape[-1] ** -0.5)
    return model


def save_tiny_blip2(folder, seed=0, *, decoder_layers=2):
    """What `Salesforce/blip2-flan-t5-*` repositories hold: config, weights, tokenizer, processors."""
    tokenizer = make_tokenizer()
    make_model(make_config(tokenizer, decoder_layers=decoder_layers), seed).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    preprocessor = folder / "preprocessor_config.json"
    facts = json.loads(preprocessor.read_text())
    facts |= {"image_processor_type": "BlipImageProcessor", "processor_class": "Blip2Processor"}
    preprocessor.write_text(json.dumps(facts))
    facts = {"num_query_tokens": 8, "processor_class": "Blip2Processor"}
    (folder / "processor_config.json").write_text(json.dumps(facts))
    return folder


def save_opt_config(folder):
    """The config of a BLIP-2 whose language model is an OPT."""
    text = OPTConfig(vocab_size=80, hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=4)
    folder.mkdir()
    make_config(make_tokenizer(), text=text).save_pretrained(folder)
    return folder
