"""What myvlm knows about recognisers: one JSON file each under `configs/`, read into `RecogniserConfig`."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import sha256_of
from engine.core.paths import STORYBOOK
from engine.core.types import Kind
from engine.recognition.thresholds import ThresholdPrior

ENCODER_FILES = ("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
"""What open_clip calls the weights in a hub repository; one of them is enough."""
_EMBEDDED = "embedded:"
_FACES_FOUND = 3
"""Raise it when faces are found in another way: those in caches are found anew, heads stay."""


@dataclass(frozen=True)
class FaceQuality:
    """What a face must have so that it may be named: shorter side in pixels of the photo, sharpness and turn as
    `engine.vision.faces.Face` has them.
    """

    min_side: float
    min_sharpness: float
    max_turn: float


@dataclass(frozen=True)
class FaceSource:
    """An insightface pack: its folder, the square its detector works in, the cosine similarity from which two faces
    are one person in the paper, which faces are good enough, and a file of strangers' features, or None. files: those
    of the pack that are used, license: the pack's own; both for packs that are not shipped.
    """

    name: str
    folder: Path
    det_size: int
    threshold: float
    gate: FaceQuality
    bank: Path | None = None
    files: tuple[str, ...] = ()
    license: str = ""

    @property
    def on_disk(self) -> bool:
        """Whether the pack is on this disk."""
        return any(self.folder.glob("*.onnx"))


@dataclass(frozen=True)
class RecogniserConfig:
    """Encoder, detector, face pack and head recipe that belong together.

    `encoder` and `pretrained` are open_clip's names; `detector` is a folder or hub id of a transformers
    object detector, or None; `bank` a file of negative features, or None; `head` the settings of
    `engine.recognition.linear_head.HeadTraining`; `open_set` what labelled libraries taught about "faces" and "regions"; `alike`
    from which cosine of the means of their reference photos two concepts are the same individual, for "faces" and
    "regions", where that was measured; `drawn_only`: it was trained on drawings, and makes little of real photos.
    `encoder_repo` is the hub repository that open_clip takes the encoder from, "" for a shipped one.
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
    open_set: dict[str, ThresholdPrior]
    license: str
    alike: dict[str, float] = field(default_factory=dict)
    drawn_only: bool = False
    encoder_repo: str = ""
    encoder_license: str = ""

    @property
    def encoder_on_disk(self) -> bool:
        """Whether the encoder's weights are shipped or in the hub cache."""
        from huggingface_hub import try_to_load_from_cache

        cached = (try_to_load_from_cache(self.encoder_repo, f) for f in ENCODER_FILES) if self.encoder_repo else ("",)
        return any(isinstance(found, str) for found in cached)

    @property
    def id(self) -> str:
        """Identifies the features: heads and caches of another id are never mixed with these."""
        encoder = f"{self.encoder}/{self.pretrained}" if self.pretrained else _version(self.encoder)
        detector = f"{_version(self.detector)}@{self.detector_threshold}" if self.detector else "grid"
        return f"{self.name}:{encoder}:{detector}"

    @property
    def faces_id(self) -> str:
        """Identifies face embeddings in the same way."""
        return f"faces:{self.faces.name}:{_version(str(self.faces.folder))}"

    @property
    def found_faces_id(self) -> str:
        """Identifies a photo's faces, where and how good they are, in the same way."""
        return f"found-{_FACES_FOUND}:{self.faces_id}"

    @property
    def regions_id(self) -> str:
        """Identifies a photo's regions with their features in the same way."""
        return f"regions:{self.id}"

    def usual(self, kind: Kind) -> ThresholdPrior:
        """Where the open-set head's thresholds usually are for a kind of concept."""
        return self.open_set["faces" if kind is Kind.PERSON else "regions"]

    def alike_of(self, kind: Kind) -> float | None:
        """How alike the means of two concepts of a kind are when they are one; None where that was not measured."""
        return self.alike.get("faces" if kind is Kind.PERSON else "regions")

    def head_id(self, kind: Kind) -> str:
        """The id under which heads of a kind are stored: that of the face pack or of the encoder."""
        return self.faces_id if kind is Kind.PERSON else self.id


@lru_cache(maxsize=16)
def _version(source: str) -> str:
    """What tells one version of shipped weights from another, wherever they are installed; other sources by name."""
    folder = Path(source.removeprefix("local-dir:"))
    if not folder.is_relative_to(STORYBOOK):
        return folder.name if folder.is_absolute() else source
    files = sorted(p for p in folder.glob("*") if p.is_file())
    return sha256_of(b"".join(sha256_of(p.read_bytes()).encode() for p in files))[:12]


def list_recognisers() -> tuple[RecogniserConfig, ...]:
    """Every recogniser known by name, sorted."""
    files = resources.files("engine.vision").joinpath("configs").iterdir()
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
    faces["gate"] = FaceQuality(**faces["gate"])
    faces["files"] = tuple(faces.get("files", ()))
    faces["bank"] = Path(_place(faces["bank"])) if faces["bank"] else None
    facts["faces"] = FaceSource(**faces)
    facts["open_set"] = {k: ThresholdPrior(**v) for k, v in facts["open_set"].items()}
    facts["encoder"] = _place(facts["encoder"])
    facts["detector"] = _place(facts["detector"]) if facts["detector"] else None
    facts["bank"] = Path(_place(facts["bank"])) if facts["bank"] else None
    return RecogniserConfig(**facts)


def _place(text: str) -> str:
    return text.replace(_EMBEDDED, f"{STORYBOOK}/")
