"""What myvlm knows about recognisers: one JSON file each under `configs/`, read into `RecogniserConfig`."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from engine.config import STORYBOOK
from engine.errors import UsageError

_EMBEDDED = "embedded:"


@dataclass(frozen=True)
class FaceSource:
    """An insightface pack: its folder, the square its detector works in, and the cosine similarity from
    which two faces are one person.
    """

    name: str
    folder: Path
    det_size: int
    threshold: float


@dataclass(frozen=True)
class RecogniserConfig:
    """Encoder, detector, face pack and head recipe that belong together.

    `encoder` and `pretrained` are open_clip's names; `detector` is a folder or hub id of a transformers
    object detector, or None; `bank` a file of negative features, or None; `head` the settings of
    `engine.heads.linear.HeadTraining`.
    """

    name: str
    encoder: str
    pretrained: str | None
    detector: str | None
    detector_threshold: float
    faces: FaceSource
    head: dict[str, float]
    threshold: float
    augmentations: int
    bank: Path | None
    license: str

    @property
    def id(self) -> str:
        """Identifies the features: heads and caches of another id are never mixed with these."""
        return f"{self.name}:{self.encoder_id}:{self.detector or 'grid'}"

    @property
    def encoder_id(self) -> str:
        """The encoder's part of the id."""
        return (self.pretrained and f"{self.encoder}/{self.pretrained}") or Path(self.encoder).name


def list_recognisers() -> tuple[RecogniserConfig, ...]:
    """Every recogniser known by name, sorted."""
    files = resources.files("engine.heads").joinpath("configs").iterdir()
    texts = [f.read_text("utf-8") for f in sorted(files, key=lambda f: f.name) if f.name.endswith(".json")]
    return tuple(_parse(t) for t in texts)


def find_recogniser(name: str) -> RecogniserConfig:
    """The recogniser of a name.

    Raises:
        UsageError: there is none of that name.
    """
    known = list_recognisers()
    for config in known:
        if config.name == name:
            return config
    raise UsageError(f"no recogniser called {name!r}", hint=f"Known: {', '.join(c.name for c in known)}.")


def _parse(text: str) -> RecogniserConfig:
    facts = json.loads(text)
    faces = facts["faces"]
    faces["folder"] = Path(_place(faces["folder"])).expanduser()
    facts["faces"] = FaceSource(**faces)
    facts["encoder"] = _place(facts["encoder"])
    facts["detector"] = _place(facts["detector"]) if facts["detector"] else None
    facts["bank"] = Path(_place(facts["bank"])) if facts["bank"] else None
    return RecogniserConfig(**facts)


def _place(text: str) -> str:
    return text.replace(_EMBEDDED, f"{STORYBOOK}/")
