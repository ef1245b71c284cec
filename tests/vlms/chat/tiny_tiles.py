"""Tiny checkpoints of families that cut photos into tiles: SmolVLM, Idefics3, InternVL, LFM2-VL, LLaVA-OneVision."""

import transformers as t

from tests.vlms.chat.tiny_text import PIXELS, SIGLIP, make_tokenizer, text_sizes

SMOL = [
    "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>",
    *(f"<row_{r + 1}_col_{c + 1}>" for r in range(6) for c in range(6)),
]  # fmt: skip
SMOL_CHAT = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}{% if m.content[0].type == 'image' %}:{% else %}: "
    "{% endif %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _smol(folder, config_class, model_class, make_processor):
    tokenizer = make_tokenizer(["<|im_start|>", *SMOL], bos="<|im_start|>", eos="<end_of_utterance>")
    vision = {k: v for k, v in SIGLIP.items() if k not in ("model_type", "vision_use_head")}
    config = config_class(
        text_config=text_sizes(tokenizer, model_type="llama"),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    make_processor(tokenizer).save_pretrained(folder)
    return model_class(config)


def smolvlm(folder):
    """SigLIP and pixel shuffle; four tokens a tile."""

    def processor(tokenizer):
        images = t.SmolVLMImageProcessor(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=True
        )
        video = t.SmolVLMVideoProcessor()
        return t.SmolVLMProcessor(images, tokenizer, video, image_seq_len=4, chat_template=SMOL_CHAT)

    return _smol(folder, t.SmolVLMConfig, t.SmolVLMForConditionalGeneration, processor)


def idefics3(folder):
    """As SmolVLM."""

    def processor(tokenizer):
        images = t.Idefics3ImageProcessor(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 16}, do_image_splitting=True
        )
        return t.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=SMOL_CHAT)

    return _smol(folder, t.Idefics3Config, t.Idefics3ForConditionalGeneration, processor)


def internvl(folder):
    """Tiles and a thumbnail, one after the other."""
    tokenizer = make_tokenizer(
        ["<|im_start|>", "<|im_end|>"],
        eos="<|im_end|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = t.InternVLConfig(
        text_config=text_sizes(tokenizer, model_type="qwen3"),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [16, 16],
            "patch_size": [PIXELS, PIXELS],
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
    )
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
        "<IMG_CONTEXT>\n{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    square = {"height": 16, "width": 16}
    images = t.GotOcr2ImageProcessor(size=square, crop_to_patches=True, min_patches=1, max_patches=4)
    video = t.InternVLVideoProcessor(size=square)
    t.InternVLProcessor(images, tokenizer, video, image_seq_length=4, chat_template=template).save_pretrained(folder)
    return t.InternVLForConditionalGeneration(config)


def lfm2_vl(folder):
    """Short convolutions; tiles of the photo's own ratio."""
    tokenizer = make_tokenizer(
        [
            "<|startoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            *(f"<|img_row_{r}_col_{c}|>" for r in (1, 2) for c in (1, 2)),
        ],
        bos="<|startoftext|>",
        eos="<|im_end|>",
        image_token="<image>",
        image_start_token="<|image_start|>",
        image_end_token="<|image_end|>",
        image_thumbnail="<|img_thumbnail|>",
    )
    text = text_sizes(
        tokenizer,
        head_dim=False,
        model_type="lfm2",
        conv_L_cache=3,
        block_multiple_of=2,
        layer_types=["conv", "full_attention", "conv"],
    )
    vision = SIGLIP | {"model_type": "siglip2_vision_model", "num_patches": 16}
    del vision["image_size"]
    config = t.Lfm2VlConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.image_token_id,
        downsample_factor=2,
        projector_hidden_size=32,
    )
    template = (
        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
        "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    images = t.Lfm2VlImageProcessor(
        encoder_patch_size=PIXELS,
        tile_size=16,
        size={"height": 16, "width": 16},
        min_tiles=2,
        max_tiles=4,
        min_image_tokens=4,
        max_image_tokens=8,
        downsample_factor=2,
    )
    t.Lfm2VlProcessor(images, tokenizer, chat_template=template).save_pretrained(folder)
    return t.Lfm2VlForConditionalGeneration(config)


def llava_onevision(folder):
    """A base tile and tiles with newline rows."""
    tokenizer = make_tokenizer(
        ["<|im_start|>", "<|im_end|>"], eos="<|im_end|>", image_token="<image>", video_token="<video>"
    )
    pinpoints = [[16, 16], [16, 32], [32, 16]]
    config = t.LlavaOnevisionConfig(
        text_config=text_sizes(tokenizer, head_dim=False, model_type="qwen2"),
        vision_config=SIGLIP,
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=pinpoints,
        vision_aspect_ratio="anyres_max_9",
    )
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
        "<image>\n{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    images = t.LlavaOnevisionImageProcessor(size={"height": 16, "width": 16}, image_grid_pinpoints=pinpoints)
    video = t.LlavaOnevisionVideoProcessor(size={"height": 16, "width": 16})
    t.LlavaOnevisionProcessor(
        images, tokenizer, video, num_image_tokens=16, vision_feature_select_strategy="full", chat_template=template
    ).save_pretrained(folder)
    return t.LlavaOnevisionForConditionalGeneration(config)
