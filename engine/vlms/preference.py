"""Which VLM is chosen for a machine: the order of all that are known, and the few that setup proposes to fetch."""

from collections.abc import Iterable

from engine.vlms.config import VlmConfig
from engine.vlms.memory import Room, may_be_default

PREFERENCE = (
    "qwen3-vl-8b",
    "mistral-small-3.1",
    "internvl3.5-8b",
    "qwen3-vl-4b",
    "qwen3.5-4b",
    "internvl3.5-4b",
    "gemma-4-e4b",
    "gemma-3-4b",
    "llava-1.6",
    "minigpt-v2",
    "qwen3-vl-2b",
    "qwen3.5-2b",
    "internvl3.5-2b",
    "gemma-4-e2b",
    "smolvlm2-2.2b",
    "qwen3.5-0.8b",
    "internvl3.5-1b",
    "lfm2-vl-1.6b",
    "smolvlm2-500m",
    "lfm2-vl-450m",
    "blip-2",
)
"""The order in which VLMs on this disk are chosen: larger ones first, Qwen's before others of their size because they
write boxes and their licence is free; BLIP-2 last, because it only captions. It is a judgement: these models were not
compared on personal captions."""
PAPER = ("llava-1.6", "minigpt-v2", "blip-2")
"""The VLMs of the paper, the first choice first: by recall there (Table 1), and BLIP-2 last."""
PROPOSED = ("qwen3-vl-8b", "qwen3-vl-4b", "qwen3-vl-2b", "smolvlm2-500m")
"""The VLMs that setup proposes to fetch: the first that fits the machine."""


def by_preference(vlms: Iterable[VlmConfig]) -> list[VlmConfig]:
    """Sort VLMs, the first choice first; those that are not in `PREFERENCE` come last."""
    return sorted(vlms, key=lambda c: PREFERENCE.index(c.name) if c.name in PREFERENCE else len(PREFERENCE))


def by_use(vlms: Iterable[VlmConfig]) -> list[VlmConfig]:
    """Sort VLMs on this disk, the first that is used by itself first.

    Those of the paper come first: earlier versions of myvlm used no others by themselves, and a library's captions and
    embeddings were made with them. A checkpoint that another program fetched must not make all of them out of date.
    """
    ranked = by_preference(vlms)
    return sorted(ranked, key=lambda c: PAPER.index(c.name) if c.name in PAPER else len(PAPER))


def proposed(vlms: Iterable[VlmConfig], room: Room) -> list[VlmConfig]:
    """List the VLMs that a machine may be told to fetch, the best first."""
    fitting = [c for c in by_preference(vlms) if may_be_default(c, room)]
    return [c for c in fitting if c.name in PROPOSED] + [c for c in fitting if c.name not in PROPOSED]
