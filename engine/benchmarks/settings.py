"""Define the settings of a run of the paper's protocol, and how embeddings are trained for each table."""

from dataclasses import dataclass
from pathlib import Path

from engine.benchmarks.cases import TRAINING_PHOTOS
from engine.core.files import sha256_of

TABLES = ("1", "2", "4", "5", "6", "7", "more")
DRAWN_VLMS = ("storybook", "storybook-blip2", "storybook-minigpt")
HEAD_THRESHOLD = 0.5
"""Threshold of an object head in the paper; myvlm's is stricter (`docs/experiments.md#object-threshold`)."""
_FORMAT = 5
"""Version of the stored measurements: with another one, everything is measured again."""


@dataclass(frozen=True)
class PaperSettings:
    """Seeds, sizes and models of a run.

    concepts: for each seed; photos: validation photos per concept and split (drawn) or per concept (folder). None for
    either takes everything in a folder. data: a user's folder instead of drawings; llm: hub id, folder or GGUF
    file of an instruct model for the LLM-guided baseline; steps: training steps instead of each VLM's own; workers:
    processes that share the work, for small models on a CPU.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    concepts: int | None = 10
    photos: int | None = 3
    vlms: tuple[str, ...] = DRAWN_VLMS
    tables: tuple[str, ...] = TABLES
    out: Path = Path("evaluation")
    data: Path | None = None
    llm: str | None = None
    steps: int | None = None
    recogniser: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    workers: int = 1

    @property
    def chosen_recogniser(self) -> str | None:
        """The recogniser of the run: for drawings the storybook's unless another was given; None for the usual one."""
        return self.recogniser or (None if self.data else "storybook")

    @property
    def llm_name(self) -> str | None:
        """The name of the language model: its hub id, or the name of its folder or file."""
        path = Path(self.llm).expanduser() if self.llm else None
        return path.name if path and path.exists() else self.llm

    def digest(self, *more: object) -> str:
        """Return a digest of everything that decides a measurement; with another digest, it is made again."""
        from engine.core.device import pick_device, pick_dtype

        source = str(self.data.resolve()) if self.data else "drawn"
        device = pick_device(self.device)
        machine = (device.type, str(pick_dtype(self.dtype, device)))
        facts = (_FORMAT, self.concepts, self.photos, self.steps, source, machine)
        return sha256_of(repr((*facts, *more)).encode())[:16]


@dataclass(frozen=True)
class Setting:
    """How embeddings are trained: number of photos, with augmentation or not, with attention penalty or not."""

    photos: int = TRAINING_PHOTOS
    augment: bool = True
    penalty: bool = True

    @property
    def key(self) -> str:
        """Name of the setting, for files and JSON."""
        return f"photos{self.photos}" + ("" if self.augment else "-noaug") + ("" if self.penalty else "-nopen")


FULL = Setting()
SETTINGS = {
    "1": (FULL,),
    "2": (Setting(1), Setting(2), FULL),
    "5": (Setting(augment=False, penalty=False), Setting(augment=False), FULL),
    "6": (FULL,),
    "more": (FULL,),
}
"""The settings that each table needs."""


def settings_for(tables: tuple[str, ...]) -> tuple[Setting, ...]:
    """Return each setting that some tables need once, the full one first."""
    wanted = [s for t in tables for s in SETTINGS.get(t, ())]
    return tuple(sorted(dict.fromkeys(wanted), key=lambda s: (s != FULL, s.key)))
