"""Tiny checkpoints of Gemma 4, Molmo2, MiniCPM-V and Granite Vision."""

import transformers as t

from tests.vlms.chat.tiny_others import GEMMA_CHAT
from tests.vlms.chat.tiny_qwen import NOT_THINKING
from tests.vlms.chat.tiny_text import PIXELS, make_tokenizer, text_sizes

GEMMA4_CHAT = GEMMA_CHAT.replace("<start_of_image>", "<|image|>")
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4}


def _gemma4_tokenizer():
    return make_tokenizer(
        ["<start_of_turn>", "<end_of_turn>", "<|video|>"],
        bos="<bos>",
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )


def _gemma4_ids(tokenizer):
    return {
        "image_token_id": tokenizer.image_token_id,
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video|>"),
        "audio_token_id": tokenizer.audio_token_id,
        "boi_token_id": tokenizer.boi_token_id,
        "eoi_token_id": tokenizer.eoi_token_id,
    }


def _gemma4(folder, per_layer, bidirectional, shared):
    tokenizer = _gemma4_tokenizer()
    sizes = text_sizes(tokenizer, **SLIDING)
    text = sizes | {
        "hidden_size_per_layer_input": per_layer,
        "vocab_size_per_layer_input": sizes["vocab_size"],
        "num_kv_shared_layers": shared,
        "use_bidirectional_attention": bidirectional,
        "global_head_dim": 8,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": PIXELS,
        "pooling_kernel_size": 2,
        "position_embedding_size": 64,
    }
    config = t.Gemma4Config(text_config=text, vision_config=vision, audio_config=None, **_gemma4_ids(tokenizer))
    # The processor allows 70, 140 and more image tokens only; the tests' photos fill 70.
    images = t.Gemma4ImageProcessor(patch_size=PIXELS, max_soft_tokens=70, pooling_kernel_size=2)
    video = t.Gemma4VideoProcessor()
    processor = t.Gemma4Processor(t.Gemma4AudioFeatureExtractor(), images, tokenizer, video, GEMMA4_CHAT, 70)
    processor.save_pretrained(folder)
    return t.Gemma4ForConditionalGeneration(config)


def gemma4_e(folder):
    """E2B, E4B: embeddings of each layer, layers that share keys and values."""
    return _gemma4(folder, 8, None, 2)


def gemma4_dense(folder):
    """Image blocks that look both ways."""
    return _gemma4(folder, 0, "vision", 0)


def gemma4_unified(folder):
    """12B: no vision tower."""
    tokenizer = _gemma4_tokenizer()
    config = t.Gemma4UnifiedConfig(
        text_config=text_sizes(tokenizer, **SLIDING, global_head_dim=8),
        vision_config={
            "patch_size": PIXELS,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 32,
            "mm_posemb_size": 64,
            "output_proj_dims": 32,
        },
        audio_config=None,
        **_gemma4_ids(tokenizer),
    )
    images = t.Gemma4UnifiedImageProcessor(patch_size=PIXELS, max_soft_tokens=70, pooling_kernel_size=2)
    video = t.Gemma4UnifiedVideoProcessor()
    audio = t.Gemma4UnifiedAudioFeatureExtractor()
    t.Gemma4UnifiedProcessor(audio, images, tokenizer, video, GEMMA4_CHAT, 70).save_pretrained(folder)
    return t.Gemma4UnifiedForConditionalGeneration(config)


def molmo2(folder):
    """Image features are added to the tokens' embeddings; image tokens look both ways; ids beyond the vocabulary."""
    tokenizer = make_tokenizer(["<|im_start|>", "<|im_end|>"], eos="<|im_end|>")
    size = len(tokenizer)
    marks = ["<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<frame_start>", "<frame_end>",
             "<im_low>", "<|image|>", "<|video|>"]  # fmt: skip
    tokenizer.add_tokens(marks, special_tokens=True)
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(marks), strict=True))
    heads = {"num_attention_heads": 4, "head_dim": 8, "hidden_size": 32, "intermediate_size": 48}
    config = t.Molmo2Config(
        text_config=heads
        | {
            "num_key_value_heads": 2,
            "vocab_size": size,
            "additional_vocab_size": len(marks),
            "num_hidden_layers": 3,
            "max_position_embeddings": 2048,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config=heads
        | {
            "num_hidden_layers": 3,
            "num_key_value_heads": 4,
            "image_size": [16, 16],
            "patch_size": PIXELS,
            "num_position_embeddings": 16,
        },
        adapter_config=heads | {"vision_feature_layer": [0, 1], "num_key_value_heads": 4, "text_hidden_size": 32},
        image_start_token_id=ids["<im_start>"],
        image_end_token_id=ids["<im_end>"],
        image_patch_id=ids["<im_patch>"],
        image_col_id=ids["<im_col>"],
        low_res_image_start_token_id=ids["<low_res_im_start>"],
        frame_start_token_id=ids["<frame_start>"],
        frame_end_token_id=ids["<frame_end>"],
    )
    images = t.Molmo2ImageProcessor(
        size={"height": 16, "width": 16}, patch_size=PIXELS, max_crops=2, overlap_margins=[1, 1], pooling_size=[2, 2]
    )
    video = t.Molmo2VideoProcessor(size={"height": 16, "width": 16}, patch_size=PIXELS)
    template = (
        "{% for m in messages %}{% for c in m.content if c.type == 'image' %}<|image|>{% endfor %}<|im_start|>"
        "{{ m.role }}\n{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    t.Molmo2Processor(images, video, tokenizer, chat_template=template).save_pretrained(folder)
    return t.Molmo2ForConditionalGeneration(config)


def minicpmv4_6(folder):
    """Qwen3.5's language model; slices of a photo."""
    tokenizer = make_tokenizer(
        ["<|im_start|>", "<|im_end|>", "<think>", "</think>"],
        eos="<|im_end|>",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        image_start_token="<image>",
        image_end_token="</image>",
        slice_start_token="<slice>",
        slice_end_token="</slice>",
        image_id_start_token="<image_id>",
        image_id_end_token="</image_id>",
    )
    text = text_sizes(
        tokenizer,
        model_type="qwen3_5_text",
        num_hidden_layers=2,
        layer_types=["full_attention", "linear_attention"],
        linear_conv_kernel_dim=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [2, 1, 1],
            "partial_rotary_factor": 1.0,
        },
    )
    vision = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": PIXELS,
    }
    config = t.MiniCPMV4_6Config(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        image_size=32,
        insert_layer_id=0,
    )
    images = t.MiniCPMV4_6ImageProcessor(patch_size=PIXELS, scale_resolution=32, max_slice_nums=2)
    video = t.MiniCPMV4_6VideoProcessor(patch_size=PIXELS, scale_resolution=32)
    template = NOT_THINKING.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>")
    t.MiniCPMV4_6Processor(images, video, tokenizer, chat_template=template).save_pretrained(folder)
    return t.MiniCPMV4_6ForConditionalGeneration(config)


def granite4_vision(folder):
    """Image features enter at layers of the language model (DeepStack), and not at the tokens."""
    tokenizer = make_tokenizer(["<|start_of_role|>", "<|end_of_role|>"], image_token="<image>")
    text = text_sizes(tokenizer, head_dim=False, model_type="granite4_vision_text", hidden_size=64)
    pinpoints = [[8, 8], [8, 16], [16, 8]]
    config = t.Granite4VisionConfig(
        text_config=text,
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 2,
            "projection_dim": 64,
        },
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=pinpoints,
        downsample_rate="1/2",
        deepstack_layer_map=[[1, 0], [0, 2]],
        projector_dropout=0.0,
    )
    template = (
        "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{% for c in m.content %}"
        "{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }}{% endif %}{% endfor %}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
    )
    images = t.LlavaNextImageProcessor(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}, image_grid_pinpoints=pinpoints
    )
    t.Granite4VisionProcessor(
        images,
        tokenizer,
        patch_size=2,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1 if config.vision_feature_select_strategy == "default" else 0,
        downsample_rate="1/2",
        chat_template=template,
    ).save_pretrained(folder)
    return t.Granite4VisionForConditionalGeneration(config)
