"""What myvlm knows about each VLM: one JSON file a model under `configs/`, read into `VlmConfig`."""

import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from engine.core.errors import UsageError, first_line
from engine.core.files import LARGEST_DOCUMENT, read_text

Norm = Literal["first-patch", "cls", "mean", "all-but-last", "unit"]
Penalty = Literal["row", "column", "column-sum", "none"]


@dataclass(frozen=True)
class Injection:
    """How a concept row enters the VLM (method.md §3, where paper and reference differ).

    `norm`: whose L2 norm the row takes: the first projected patch (reference), the vision encoder's class
    token (paper), the mean over the image rows (MiniGPT-v2; with `all-but-last` also over all unit concept rows
    but the last, as in the reference), or none: it has unit length (BLIP-2).
    `penalty`: attention from the concept row (reference) or to it (paper), as a mean of squares;
    `column-sum` (BLIP-2 only) is the sum that the paper writes (eq. 4). `vqa_penalty_weight` applies when
    questions are trained; None: the same. `end_token`: whether the end of an answer is learned, too.
    """

    norm: Norm = "first-patch"
    penalty: Penalty = "row"
    penalty_weight: float = 0.0075
    vqa_penalty_weight: float | None = None
    end_token: bool = True


@dataclass(frozen=True)
class Training:
    """Optimiser settings for one concept embedding: AdamW at a constant rate (method.md §1).

    `person_steps`: steps for people where they differ from things'. `augment`: whether photos are flipped,
    brightened and turned; off for ablations only (the paper's Table 5).
    """

    steps: int = 100
    person_steps: int | None = None
    learning_rate: float = 1.0
    weight_decay: float = 1e-4
    clip: float = 0.05
    augment: bool = True


@dataclass(frozen=True)
class VlmConfig:
    """One VLM: where its weights are, how it is asked, how concepts are injected and trained.

    `template` makes prompts, and training examples, too, unless those have a `training_template` of their own.
    `openings` make the variations of a training caption; the VLM must find them natural, or the embedding
    learns to say them; with `variations` "lm" the VLM rephrases its captions itself. `questions` ("thing",
    "person") take the place of the paper's where a VLM does not know those; `{x}` is who is asked about.
    `recogniser` names the recogniser used with it unless the user says otherwise;
    `world` is set when the VLM knows nothing but a drawn world. `variants` are named changes to the rest
    (`paper`, `reference`, `anyres`): `llava-1.6+paper` is the config with that change. `batch` photos at most are
    spoken of at a time, which `memory_gb` counts with; `answers` is false for a VLM that only captions.
    """

    name: str
    backend: str
    repo_id: str
    revision: str = "main"
    license: str = "see the model's own card"
    memory_gb: dict[str, float] = field(default_factory=dict)
    disk_gb: float = 0.0
    template: str | None = None
    training_template: str | None = None
    requests: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, list[str]] = field(default_factory=dict)
    questions: dict[str, list[str]] = field(default_factory=dict)
    variations: str = "templates"
    openings: tuple[str, ...] = ("In this picture, ", "Here, ", "In this image, ", "In this photo, ")
    max_new_tokens: int = 96
    batch: int = 16
    answers: bool = True
    injection: Injection = Injection()
    training: Training = Training()
    recogniser: str = "dfn5b"
    world: str | None = None
    anyres: bool = False
    variant: str = ""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    def request(self, kind: str, names: tuple[str, ...] = ()) -> str:
        """The request text of a kind (`caption`, `caption_of`, `refer`), with identifiers filled in."""
        return self.requests[kind].format(names=join_names(names))


def join_names(names: tuple[str, ...]) -> str:
    """`a`, `a and b`, `a and b and c`: no commas, which a small VLM would take for the end of the names."""
    return " and ".join(names)


@cache
def _identifiers() -> dict[str, dict[str, list[str]]]:
    """Lists of identifiers that several VLMs share, by name."""
    return json.loads(resources.files("engine.vlms").joinpath("identifiers.json").read_text("utf-8"))


def _parse(text: str) -> VlmConfig:
    facts = json.loads(text)
    if isinstance(facts.get("identifiers"), str):
        facts["identifiers"] = _identifiers()[facts["identifiers"]]
    facts["injection"] = Injection(**facts.get("injection", {}))
    if "openings" in facts:
        facts["openings"] = tuple(facts["openings"])
    facts["training"] = Training(**facts.get("training", {}))
    return VlmConfig(**facts)


def list_configs() -> tuple[VlmConfig, ...]:
    """Every VLM known by name, sorted."""
    files = resources.files("engine.vlms").joinpath("configs").iterdir()
    return tuple(_parse(f.read_text("utf-8")) for f in sorted(files, key=lambda f: f.name) if f.name.endswith(".json"))


def find_config(vlm: str) -> VlmConfig:
    """The config of a name, a hub id, or a folder with a `config.json`; `NAME+VARIANT` for one of its variants.

    Raises:
        UsageError: nothing of that name is known, or the folder holds a model of an unknown family.
    """
    name, plus, variant = vlm.rpartition("+")
    if plus and not Path(vlm).expanduser().exists():
        return _variant_of(find_config(name), variant)
    known = list_configs()
    for config in known:
        if vlm in (config.name, config.repo_id):
            return config
    folder = Path(vlm).expanduser()
    if (folder / "config.json").is_file():
        return _config_of(folder, str(folder.resolve()), known)
    if vlm.count("/") == 1 and not folder.exists() and not vlm.startswith((".", "~", "/")):
        return _like(_family(_type_on_hub(vlm), known), vlm, vlm)
    names = ", ".join(c.name for c in known)
    raise UsageError(f"no VLM called {vlm!r}", hint=f"Known: {names}; or give a hub id or a folder with a config.json.")


def _variant_of(config: VlmConfig, variant: str) -> VlmConfig:
    if variant not in config.variants:
        names = ", ".join(config.variants) or "none"
        raise UsageError(f"{config.name} has no variant {variant!r}", hint=f"Variants of {config.name}: {names}.")
    changes = dict(config.variants[variant])
    changes["requests"] = config.requests | changes.get("requests", {})
    for part in ("injection", "training"):
        changes[part] = replace(getattr(config, part), **changes.get(part, {}))
    combined = f"{config.variant}+{variant}"
    return replace(config, **changes, name=f"{config.name}+{variant}", variant=combined)


def _config_of(folder: Path, repo_id: str, known: tuple[VlmConfig, ...]) -> VlmConfig:
    own = folder / "myvlm.json"
    if own.is_file():
        return replace(_parse(read_text(own, LARGEST_DOCUMENT)), repo_id=repo_id)
    return _like(_family(model_type_of(folder / "config.json"), known), folder.name, repo_id)


def _like(base: VlmConfig, name: str, repo_id: str) -> VlmConfig:
    """The config of another checkpoint of a family; LLaVA's checkpoints bring a chat template of their own."""
    template = None if base.backend == "llava-next" else base.template
    return replace(base, name=name, repo_id=repo_id, template=template, memory_gb={}, disk_gb=0.0)


def model_type_of(path: Path) -> str:
    """What transformers calls the family of a `config.json`; "" where it does not say.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        facts = json.loads(read_text(path, LARGEST_DOCUMENT))
    except (OSError, ValueError) as err:
        raise UsageError(f"{path} cannot be read: {first_line(err)}", hint="The files may be incomplete.") from err
    return str(facts.get("model_type", "")) if isinstance(facts, dict) else ""


def _type_on_hub(repo_id: str) -> str:
    """The family of a hub repository: as its `config.json` says where that is on this disk, else by its name."""
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
    """The config that a family's checkpoints share, or None for an unknown family."""
    return _family(model_type, list_configs()) if model_type in _FAMILIES else None


def _family(model_type: str, known: tuple[VlmConfig, ...]) -> VlmConfig:
    if model_type not in _FAMILIES:
        raise UsageError(
            f"models of type {model_type!r} are not supported", hint=f"Supported types: {', '.join(_FAMILIES)}."
        )
    return next(c for c in known if c.name == _FAMILIES[model_type])
