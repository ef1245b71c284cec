"""The facts about each VLM: one JSON file for each model under `configs/`, read into `VlmConfig`."""

import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from engine.core.errors import UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, read_text
from engine.vlms.prompt_config import Chat, Naming
from engine.vlms.server.address import PREFIX, ServerAddress

Norm = Literal["first-patch", "cls", "mean", "all-but-last", "unit", "text"]
Penalty = Literal["row", "column", "column-sum", "none"]
OWN_LICENSE = "see the model's own card"
"""The licence of weights that myvlm has no config for."""


@dataclass(frozen=True)
class Injection:
    """How a concept row enters the VLM, and its penalty (docs/method.md, sections 2 to 4: paper and reference differ).

    norm: the L2 norm that the row is given. "first-patch": that of the first projected patch (reference); "cls": that
        of the vision encoder's class token (paper); "mean": the mean over the image rows (MiniGPT-v2); "all-but-last":
        that mean with all unit concept rows but the last, as in the reference; "unit": 1 (BLIP-2); "text": the mean
        over the language model's input embeddings of text (chat).
    penalty: the mean of the squared attention from the concept row ("row", reference) or to it ("column", paper);
        "column-sum" (BLIP-2 only) is the sum of eq. 4.
    penalty_weight: λ of the penalty.
    vqa_penalty_weight: λ where questions are trained; None for the same.
    end_token: whether the end of an answer is learned too.
    """

    norm: Norm = "first-patch"
    penalty: Penalty = "row"
    penalty_weight: float = 0.0075
    vqa_penalty_weight: float | None = None
    end_token: bool = True


@dataclass(frozen=True)
class Training:
    """Optimiser settings for one concept embedding: AdamW at a constant rate (docs/method.md, section 1).

    steps: optimisation steps; person_steps: those for people, where they differ.
    clip: largest L2 norm of the gradient.
    augment: whether photos are flipped, brightened and rotated; off for ablations only (the paper's Table 5).
    """

    steps: int = 100
    person_steps: int | None = None
    learning_rate: float = 1.0
    weight_decay: float = 1e-4
    clip: float = 0.05
    augment: bool = True


@dataclass(frozen=True)
class Work:
    """What one caption costs, for estimates of speed; half precision.

    prefill_tflop: TFLOP for the photo and the prompt; step_tflop: TFLOP for each new token.
    step_gb: GB of weights that are read for each new token, once for a batch; cache_gb: GB of keys and values that are
        read for each new token and photo.
    """

    prefill_tflop: float
    step_tflop: float
    step_gb: float
    cache_gb: float


@dataclass(frozen=True)
class VlmConfig:
    """One VLM: where its weights are, how it is prompted, and how concepts are injected and trained.

    memory_gb: GB of memory that it needs with one batch, by number format ("float16", "bfloat16", "float32", "int8",
        "nf4").
    disk_gb: GB of its weights on disk.
    work: what one caption costs; None where that was not computed.
    sources: where such figures come from, by the name of the fact.
    template: the prompt around a request; training_template: the same for training examples, where it differs.
    requests: request texts by kind: "caption", "caption_of", "question", "refer", "refer_retry".
    identifiers: words under which concepts are learned, for "person" and "thing", the first choice first.
    questions: the questions to train on, for "person" and "thing", in place of the paper's; `{x}` is the concept.
    naming: the wording that tells the VLM by text who is in a photo; None for a VLM that cannot be told so.
    chat: how the `chat` and `openai` backends use the checkpoint; None for other backends.
    server: the server in which the VLM runs; None for a VLM whose weights are loaded here.
    variations: "lm" where the VLM rephrases training captions itself, else "templates".
    openings: the templates of variations. The VLM must find them natural, or the embedding learns to say them.
    batch: the largest number of photos that are processed at a time.
    answers: False for a VLM that only captions.
    recogniser: the recogniser that belongs to a VLM of a drawn world; None for VLMs of real photos.
    world: set where the VLM knows a drawn world only.
    anyres: whether the VLM receives all tiles of a photo (LLaVA-NeXT).
    variants: named changes to the config ("paper", "reference", "anyres"); `llava-1.6+paper` is the config with one.
    variant: the changes that were made to this config, in the form "+paper".
    """

    name: str
    backend: str
    repo_id: str
    revision: str = "main"
    license: str = OWN_LICENSE
    memory_gb: dict[str, float] = field(default_factory=dict)
    disk_gb: float = 0.0
    work: Work | None = None
    sources: dict[str, str] = field(default_factory=dict)
    template: str | None = None
    training_template: str | None = None
    requests: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, list[str]] = field(default_factory=dict)
    questions: dict[str, list[str]] = field(default_factory=dict)
    naming: Naming | None = None
    chat: Chat | None = None
    server: ServerAddress | None = None
    variations: str = "templates"
    openings: tuple[str, ...] = ("In this picture, ", "Here, ", "In this image, ", "In this photo, ")
    max_new_tokens: int = 96
    batch: int = 16
    answers: bool = True
    injection: Injection = Injection()
    training: Training = Training()
    recogniser: str | None = None
    world: str | None = None
    anyres: bool = False
    variant: str = ""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def request(self, kind: str, names: tuple[str, ...] = ()) -> str:
        """Return the request text of a kind ("caption", "caption_of", "refer"), with identifiers filled in."""
        return self.requests[kind].format(names=join_names(names))


def join_names(names: tuple[str, ...]) -> str:
    """Join names as in "a and b and c"; a small VLM would take a comma for the end of the names."""
    return " and ".join(names)


@cache
def identifier_lists() -> dict[str, dict[str, list[str]]]:
    """Read the lists of identifiers that several VLMs share, by name."""
    return json.loads(resources.files("engine.vlms").joinpath("identifiers.json").read_text("utf-8"))


def _parse(text: str) -> VlmConfig:
    """Read a config from its JSON text."""
    facts = json.loads(text)
    if isinstance(facts.get("identifiers"), str):
        facts["identifiers"] = identifier_lists()[facts["identifiers"]]
    facts["injection"] = Injection(**facts.get("injection", {}))
    if "openings" in facts:
        facts["openings"] = tuple(facts["openings"])
    facts["training"] = Training(**facts.get("training", {}))
    facts["naming"] = Naming(**facts["naming"]) if "naming" in facts else None
    facts["chat"] = Chat(**facts["chat"]) if "chat" in facts else None
    facts["work"] = Work(**facts["work"]) if "work" in facts else None
    return VlmConfig(**facts)


def list_configs() -> tuple[VlmConfig, ...]:
    """Read the config of every VLM that myvlm knows, sorted by file name."""
    files = resources.files("engine.vlms").joinpath("configs").iterdir()
    return tuple(_parse(f.read_text("utf-8")) for f in sorted(files, key=lambda f: f.name) if f.name.endswith(".json"))


def find_config(vlm: str) -> VlmConfig:
    """Find the config of a name, a hub id, a folder with a `config.json`, or `openai:URL#MODEL`; `NAME+VARIANT` is one
    of its variants.

    Raises:
        UsageError: no VLM has that name, or the folder holds a model of an unknown family.
    """
    if vlm.startswith(PREFIX):
        from engine.vlms.server.config import server_config

        return server_config(vlm)
    name, plus, variant = vlm.rpartition("+")
    if plus and not Path(vlm).expanduser().exists():
        return _variant_of(find_config(name), variant)
    configs = list_configs()
    for config in configs:
        if vlm in (config.name, config.repo_id):
            return config
    folder = Path(vlm).expanduser()
    if (folder / "config.json").is_file():
        return _config_of(folder, str(folder.resolve()), configs)
    if vlm.count("/") == 1 and not folder.exists() and not vlm.startswith((".", "~", "/")):
        return _like(_family(_type_on_hub(vlm), configs), vlm, vlm)
    names = ", ".join(c.name for c in configs)
    raise UsageError(f"no VLM called {vlm!r}", hint=f"Known: {names}; or give a hub id or a folder with a config.json.")


def _variant_of(config: VlmConfig, variant: str) -> VlmConfig:
    """Return a config with one of its named changes.

    Raises:
        UsageError: it has no variant of that name.
    """
    if variant not in config.variants:
        names = ", ".join(config.variants) or "none"
        raise UsageError(f"{config.name} has no variant {variant!r}", hint=f"Variants of {config.name}: {names}.")
    changes = dict(config.variants[variant])
    changes["requests"] = config.requests | changes.get("requests", {})
    for part in ("injection", "training"):
        changes[part] = replace(getattr(config, part), **changes.get(part, {}))
    if "chat" in changes:
        changes["chat"] = replace(config.chat or Chat(), **changes["chat"])
    combined = f"{config.variant}+{variant}"
    return replace(config, **changes, name=f"{config.name}+{variant}", variant=combined)


def _config_of(folder: Path, repo_id: str, configs: tuple[VlmConfig, ...]) -> VlmConfig:
    """Read the config of a folder: its `myvlm.json`, or else its family's config."""
    document = folder / "myvlm.json"
    if document.is_file():
        return replace(_parse(read_text(document, LARGEST_DOCUMENT)), repo_id=repo_id)
    return _like(_family(model_type_of(folder / "config.json"), configs), folder.name, repo_id)


def _like(base: VlmConfig, name: str, repo_id: str) -> VlmConfig:
    """Make the config of another checkpoint of a family; LLaVA's checkpoints have a chat template of their own."""
    template = None if base.backend == "llava-next" else base.template
    return replace(
        base,
        name=name,
        repo_id=repo_id,
        template=template,
        license=OWN_LICENSE,
        memory_gb={},
        disk_gb=0.0,
        work=None,
        sources={},
    )


def model_type_of(path: Path) -> str:
    """Read the name that transformers gives to the family of a `config.json`; "" where the file has none.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        facts = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read: {first_line(err)}", hint="The files may be incomplete.") from err
    return str(facts.get("model_type", "")) if isinstance(facts, dict) else ""


def language_model_of(path: Path) -> str:
    """Read the name that transformers gives to the language model of a VLM's `config.json`; "" where it has none.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = json.loads(read_text(path, LARGEST_DOCUMENT)).get("text_config", {})
    except (OSError, ValueError, AttributeError) as err:
        raise UsageError(f"{path} cannot be read: {first_line(err)}", hint="The files may be incomplete.") from err
    return str(text.get("model_type", "")) if isinstance(text, dict) else ""


def _type_on_hub(repo_id: str) -> str:
    """Find the family of a hub repository: from its `config.json` where that is on this disk, else from its name."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(repo_id, "config.json")
    except HFValidationError as err:
        raise UsageError(f"{repo_id!r} is no hub id: {first_line(err)}") from err
    if isinstance(cached, str):
        return model_type_of(Path(cached))
    return "blip-2" if "blip2" in re.sub(r"[^a-z0-9]", "", repo_id.lower()) else "llava_next"


_FAMILIES = {"llava_next": "llava-1.6", "llava": "llava-1.6", "blip-2": "blip-2", "minigpt_v2": "minigpt-v2"}


def family_of(model_type: str) -> VlmConfig | None:
    """Return the config that the checkpoints of a family share; None for an unknown family."""
    return _family(model_type, list_configs()) if model_type in _FAMILIES else None


def _family(model_type: str, configs: tuple[VlmConfig, ...]) -> VlmConfig:
    if model_type not in _FAMILIES:
        raise UsageError(
            f"models of type {model_type!r} are not supported", hint=f"Supported types: {', '.join(_FAMILIES)}."
        )
    return next(c for c in configs if c.name == _FAMILIES[model_type])
