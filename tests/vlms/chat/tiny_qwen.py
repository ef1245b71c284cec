"""Tiny checkpoints of families whose processors state a grid of patches: Qwen, GLM-4V, LFM3."""

import transformers as t

from tests.vlms.chat.tiny_text import PIXELS, make_tokenizer, text_sizes

SPECIALS = [
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<think>",
    "</think>",
]  # fmt: skip
TURNS = (
    "{%% for m in messages %%}<|im_start|>{{ m.role }}\n{%% if m.content is string %%}{{ m.content }}{%% else %%}"
    "{%% for c in m.content %%}{%% if c.type == 'image' %%}%s{%% else %%}{{ c.text }}{%% endif %%}{%% endfor %%}"
    "{%% endif %%}<|im_end|>\n{%% endfor %%}{%% if add_generation_prompt %%}<|im_start|>assistant\n%s{%% endif %%}"
)
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
CHAT = TURNS % (IMAGE, "")
NOT_THINKING = TURNS % (
    IMAGE,
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}",
)
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "in_channels": 3,
    "patch_size": PIXELS,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 32,
}
PATCHES = {"patch_size": PIXELS, "merge_size": 2, "temporal_patch_size": 2}


def _tokens(tokenizer):
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _images():
    return t.Qwen2VLImageProcessor(**PATCHES, size={"shortest_edge": 256, "longest_edge": 1024})


def _qwen(folder, config_class, model_class, processor_class, text, vision, template=CHAT, **more):
    tokenizer = make_tokenizer(SPECIALS, eos="<|im_end|>")
    config = config_class(text_config=text(tokenizer), vision_config=VISION | vision, **_tokens(tokenizer), **more)
    model = model_class(config)
    video = t.Qwen3VLVideoProcessor(**PATCHES)
    processor_class(_images(), tokenizer, video, chat_template=template).save_pretrained(folder)
    return model


def qwen3_vl(folder):
    """DeepStack, interleaved M-RoPE."""
    return _qwen(
        folder,
        t.Qwen3VLConfig,
        t.Qwen3VLForConditionalGeneration,
        t.Qwen3VLProcessor,
        lambda tokenizer: text_sizes(tokenizer, rope_parameters=MROPE | {"mrope_interleaved": True}),
        {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
    )


def qwen2_5_vl(folder):
    """M-RoPE, windows in the vision tower, a repetition penalty."""
    model = _qwen(
        folder,
        t.Qwen2_5_VLConfig,
        t.Qwen2_5_VLForConditionalGeneration,
        t.Qwen2_5_VLProcessor,
        lambda tokenizer: text_sizes(tokenizer, head_dim=False, rope_parameters=MROPE),
        {"window_size": 16, "fullatt_block_indexes": [1]},
    )
    model.generation_config.update(repetition_penalty=1.05, do_sample=True, temperature=0.1, top_p=0.001, top_k=1)
    return model


def qwen3_5(folder):
    """Three of four layers with linear attention; a template with thoughts."""
    layers = ["linear_attention"] * 3 + ["full_attention"]
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    rope = MROPE | {"mrope_interleaved": True, "partial_rotary_factor": 1.0}
    return _qwen(
        folder,
        t.Qwen3_5Config,
        t.Qwen3_5ForConditionalGeneration,
        t.Qwen3VLProcessor,
        lambda tokenizer: text_sizes(
            tokenizer, num_hidden_layers=4, layer_types=layers, linear_num_value_heads=4, rope_parameters=rope, **linear
        ),
        {"num_position_embeddings": 64},
        template=NOT_THINKING,
    )


def glm4v(folder):
    """M-RoPE; a template with thoughts."""
    specials = [
        "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|image|>", "<|end_of_image|>",
        "<|begin_of_video|>", "<|video|>", "<|end_of_video|>", "<|endoftext|>",
    ]  # fmt: skip
    tokenizer = make_tokenizer(specials, eos="<|endoftext|>")
    ids = dict(zip(specials, tokenizer.convert_tokens_to_ids(specials), strict=True))
    config = t.Glm4vConfig(
        text_config=text_sizes(tokenizer, head_dim=False, rope_parameters=MROPE | {"partial_rotary_factor": 1.0}),
        vision_config=VISION | {"image_size": 32, "attention_bias": False},
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )
    template = (
        "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% for c in m.content %}{% if c.type == 'image' %}"
        "<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% if enable_thinking is defined and not enable_thinking %}"
        "<think></think>\n{% endif %}{% endif %}"
    )
    model = t.Glm4vForConditionalGeneration(config)
    model.generation_config.eos_token_id = [ids["<|endoftext|>"], ids["<|user|>"]]
    images = t.Glm4vImageProcessor(**PATCHES, size={"shortest_edge": 256, "longest_edge": 2048})
    video = t.Glm4vVideoProcessor(**PATCHES)
    t.Glm4vProcessor(images, tokenizer, video, chat_template=template).save_pretrained(folder)
    return model


def lfm3_vl(folder):
    """Short convolutions."""
    vision = {k: v for k, v in VISION.items() if k not in ("depth", "num_heads", "in_channels", "out_hidden_size")}
    vision |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    tokenizer = make_tokenizer(SPECIALS, eos="<|im_end|>")
    text = text_sizes(tokenizer, head_dim=False, model_type="lfm3", layer_types=["conv", "full_attention", "conv"])
    config = t.Lfm3VlConfig(text_config=text, vision_config=vision, projector_hidden_size=32, **_tokens(tokenizer))
    video = t.Qwen3VLVideoProcessor(**PATCHES)
    t.Lfm3VlProcessor(_images(), tokenizer, video, chat_template=CHAT).save_pretrained(folder)
    return t.Lfm3VlForConditionalGeneration(config)
