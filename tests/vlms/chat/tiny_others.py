"""Tiny checkpoints of Gemma, LLaVA-1.5, Mistral, Molmo, MiniCPM and Granite."""

import transformers as t

from tests.vlms.chat.tiny_text import PIXELS, SIGLIP, make_tokenizer, text_sizes

GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}<start_of_image>{% else %}{{ c.text | trim }}{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def gemma3(folder):
    """Sliding windows, and image blocks that look both ways; two tokens end a text."""
    tokenizer = make_tokenizer(
        ["<start_of_turn>", "<end_of_turn>"],
        bos="<bos>",
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    config = t.Gemma3Config(
        text_config=text_sizes(tokenizer, query_pre_attn_scalar=8, sliding_window=8, layer_types=layers),
        vision_config=SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    images = t.Gemma3ImageProcessor(size={"height": 16, "width": 16}, image_seq_length=4)
    t.Gemma3Processor(images, tokenizer, GEMMA_CHAT, image_seq_length=4).save_pretrained(folder)
    model = t.Gemma3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [
        tokenizer.eos_token_id,
        tokenizer.convert_tokens_to_ids("<end_of_turn>"),
    ]
    return model


def llava(folder):
    """CLIP's preprocessing with a centre crop."""
    tokenizer = make_tokenizer([], bos="<bos>", image_token="<image>")
    config = t.LlavaConfig(
        text_config=text_sizes(tokenizer, model_type="llama"),
        vision_config=SIGLIP,
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}USER: {% for c in m.content %}{% if c.type == 'image' %}"
        "<image>\n{% else %}{{ c.text }}{% endif %}{% endfor %}{% else %} ASSISTANT: {{ m.content[0].text }}"
        "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    )
    images = t.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    t.LlavaProcessor(
        images, tokenizer, patch_size=PIXELS, vision_feature_select_strategy="full", chat_template=template
    ).save_pretrained(folder)
    return t.LlavaForConditionalGeneration(config)


def mistral3(folder):
    """A Pixtral tower; a token ends each line of image tokens."""
    tokenizer = make_tokenizer(["[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"], bos="<bos>")
    config = t.Mistral3Config(
        text_config=text_sizes(tokenizer, model_type="mistral"),
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "head_dim": 8,
            "image_size": 32,
            "patch_size": PIXELS,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{% for c in m.content %}"
        "{% if c.type == 'image' %}[IMG]{% else %}{{ c.text }}{% endif %}{% endfor %}[/INST]{% else %}"
        "{{ m.content[0].text }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    images = t.PixtralImageProcessor(size={"longest_edge": 32}, patch_size={"height": PIXELS, "width": PIXELS})
    t.PixtralProcessor(
        images, tokenizer, patch_size=PIXELS, spatial_merge_size=2, chat_template=template
    ).save_pretrained(folder)
    return t.Mistral3ForConditionalGeneration(config)
