"""The facts about each VLM: one JSON file for each model under `configs/`, read into `VlmConfig`."""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from engine.vlms.prompt_config import Chat, Naming
from engine.vlms.server.address import ServerAddress
from engine.vlms.size import Size

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
    views: how many augmented views of each photo are drawn, once, and then used in turn; 0 draws a new one at each step
        (paper, reference, and BLIP-2, which learns worse from views).
    """

    steps: int = 100
    person_steps: int | None = None
    learning_rate: float = 1.0
    weight_decay: float = 1e-4
    clip: float = 0.05
    augment: bool = True
    views: int = 0


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
    size: what its memory is computed from, for number formats that `memory_gb` does not have; None where unknown.
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
    family: the name that transformers gives to the family of a chat checkpoint; "" for other backends.
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
    size: Size | None = None
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
    family: str = ""
    injection: Injection = Injection()
    training: Training = Training()
    recogniser: str | None = None
    world: str | None = None
    anyres: bool = False
    variant: str = ""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def photo_edge(self) -> int | None:
        """The longer side in pixels of the largest input of the VLM; None where it is not known: it needs all pixels.

        The image processors of BLIP-2 (224 or 364), LLaVA-1.6's base tile (336) and MiniGPT-v2 (448); the drawn world's
        take 128.
        """
        if self.world is not None:
            return 128
        if self.backend == "none":
            return 0
        return 448 if self.backend in ("blip-2", "llava-next", "minigpt-v2") and not self.anyres else None

    @property
    def follows_instructions(self) -> bool:
        """Whether the VLM writes what a request describes, such as another style or language."""
        return self.world is None and self.backend in ("chat", "openai", "llava-next")

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


@cache
def chat_families() -> dict[str, dict[str, Any]]:
    """Read what is known of the families of chat checkpoints: "supported" and "refused", by transformers' name."""
    return json.loads(resources.files("engine.vlms").joinpath("chat_families.json").read_text("utf-8"))


def chat_facts(family: str) -> dict[str, Any]:
    """Return the facts that the chat checkpoints of a family share, as a config's JSON file would hold them.

    family: the name that transformers gives to it; one that is not known gets the defaults of all.
    """
    facts = json.loads(resources.files("engine.vlms").joinpath("chat_defaults.json").read_text("utf-8"))
    known = chat_families()["supported"]
    chat = {k: v for k, v in known.get(family.removesuffix("_moe"), {}).items() if k != "name"}
    refer = facts.pop("refer").get(chat.get("boxes", "none"))
    return facts | {"family": family, "chat": chat, "requests": facts["requests"] | ({"refer": refer} if refer else {})}


def parse_config(text: str) -> VlmConfig:
    """Read a config from its JSON text; a "family" stands for the facts of `chat_facts`, which the others add to."""
    facts = json.loads(text)
    if "family" in facts:
        shared = chat_facts(facts["family"])
        nested = {k: shared[k] | facts[k] for k in ("chat", "requests") if k in facts}
        facts = shared | facts | nested
    return make_config(facts)


def make_config(facts: dict[str, Any]) -> VlmConfig:
    """Make a config of the facts of a JSON file."""
    if isinstance(facts.get("identifiers"), str):
        facts["identifiers"] = identifier_lists()[facts["identifiers"]]
    facts["injection"] = Injection(**facts.get("injection", {}))
    if "openings" in facts:
        facts["openings"] = tuple(facts["openings"])
    facts["training"] = Training(**facts.get("training", {}))
    facts["naming"] = Naming(**facts["naming"]) if "naming" in facts else None
    facts["chat"] = Chat(**facts["chat"]) if "chat" in facts else None
    facts["work"] = Work(**facts["work"]) if "work" in facts else None
    facts["size"] = Size(**facts["size"]) if "size" in facts else None
    return VlmConfig(**facts)


def list_configs() -> tuple[VlmConfig, ...]:
    """Read the config of every VLM that myvlm knows, sorted by file name."""
    files = resources.files("engine.vlms").joinpath("configs").iterdir()
    return tuple(
        parse_config(f.read_text("utf-8")) for f in sorted(files, key=lambda f: f.name) if f.name.endswith(".json")
    )
