"""The facts about each recogniser: one JSON file each under `configs/`, read into `RecogniserConfig`."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import sha256_of
from engine.core.paths import STORYBOOK
from engine.core.types import Kind

DEFAULT_RECOGNISER = "storybook"
"""The recogniser where neither an option nor `config.toml` chooses one, and none belongs to the VLM."""
ENCODER_FILES = ("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
"""Names of open_clip's weights in a hub repository; one of them is enough."""
_EMBEDDED = "embedded:"
"""Prefix of a path in the storybook's folder of weights, which is shipped with myvlm."""
_FACES_FOUND = 3
"""Version of the way in which faces are found. After a change, cached faces are found anew, and heads stay valid."""


@dataclass(frozen=True)
class ThresholdPrior:
    """Values for one kind of feature, chosen on labelled libraries (docs/recognition.md, Thresholds).

    level: log-odds from which a name is safe in most libraries.
    max_shift: how far one library may move it, in log-odds.
    floor_ratio: share of the median left-out reference's log-odds below which nothing is named; genuine photos hardly
        score so low, so that it costs little recall.
    """

    level: float
    max_shift: float
    floor_ratio: float


@dataclass(frozen=True)
class FaceQuality:
    """The quality that a face must have to be named (docs/recognition.md, Detections).

    min_side: shorter side of the face's box, in pixels of the photo.
    min_sharpness: variance of the Laplacian of the aligned face, in grey levels squared; see `faces.Face`.
    max_turn: distance of the nose from the middle between the eyes, in eye distances; see `faces.Face`.
    """

    min_side: float
    min_sharpness: float
    max_turn: float


@dataclass(frozen=True)
class FaceSource:
    """An insightface model pack.

    folder: the folder with the pack's ONNX files.
    det_size: side in pixels of the square to which the detector scales a photo.
    threshold: cosine similarity from which the paper's heads take two faces for one person.
    gate: the quality that a face must have to be named.
    bank: a file with the features of other people's faces, or None.
    files, license: the files of the pack that are used, and its licence; for packs that are not shipped.
    must_accept_license: whether the user must accept the licence before the pack is fetched.
    disk_gb: GB of the archive with the pack.
    sha256: the SHA-256 of each file, where it is known.
    """

    name: str
    folder: Path
    det_size: int
    threshold: float
    gate: FaceQuality
    bank: Path | None = None
    files: tuple[str, ...] = ()
    license: str = ""
    must_accept_license: bool = False
    disk_gb: float = 0.0
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def on_disk(self) -> bool:
        """Return whether the files of the pack are on this disk."""
        if self.files:
            return all((self.folder / name).is_file() for name in self.files)
        return any(self.folder.glob("*.onnx"))


@dataclass(frozen=True)
class RecogniserConfig:
    """An encoder, a detector, a face pack and the settings of heads that belong together.

    encoder, pretrained: open_clip's names of the image encoder.
    detector: folder or hub id of a transformers object detector; None for a grid of regions.
    detector_threshold: least score of a detection, 0..1.
    head: the settings of the paper's linear heads, `recognition.linear_head.HeadTraining`.
    threshold: probability from which the paper's linear heads accept a region, 0..1.
    augmentations: altered crops of each reference region that a head is trained on, besides the crop itself.
    bank: a file of negative features, or None.
    open_set: the prior of the thresholds, measured on labelled libraries, for "faces" and "regions".
    alike: cosine similarity of the means of two concepts' reference photos from which they are the same individual, for
        "faces" and "regions"; a missing entry was not measured.
    drawn_only: whether it was trained on drawings, and recognises little in real photos.
    encoder_repo: the hub repository from which open_clip takes the encoder; "" for a shipped one.
    encoder_gb: GB of the encoder's weights on disk.
    encoder_memory_gb: GB of GPU memory that it needs in half precision.
    photo_tflop: TFLOP to encode the regions of a photo; None where that was not computed.
    photos_per_second: photos that it recognises in a second on one laptop core, as measured; None where it was not.
    sources: where such figures come from, by the name of the fact.
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
    encoder_gb: float = 0.0
    encoder_memory_gb: float = 0.0
    photo_tflop: float | None = None
    photos_per_second: float | None = None
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def encoder_on_disk(self) -> bool:
        """Return whether the encoder's weights are shipped or in the hub cache."""
        from huggingface_hub import try_to_load_from_cache

        cached = (try_to_load_from_cache(self.encoder_repo, f) for f in ENCODER_FILES) if self.encoder_repo else ("",)
        return any(isinstance(path, str) for path in cached)

    @property
    def id(self) -> str:
        """Return the id of the region features; heads and cached features of different ids are never mixed."""
        encoder = f"{self.encoder}/{self.pretrained}" if self.pretrained else _version(self.encoder)
        detector = f"{_version(self.detector)}@{self.detector_threshold}" if self.detector else "grid"
        return f"{self.name}:{encoder}:{detector}"

    @property
    def faces_id(self) -> str:
        """Return the id of the face embeddings."""
        return f"faces:{self.faces.name}:{_version(str(self.faces.folder))}"

    @property
    def found_faces_id(self) -> str:
        """Return the id of a photo's cached faces: embeddings, boxes and quality."""
        return f"found-{_FACES_FOUND}:{self.faces_id}"

    @property
    def regions_id(self) -> str:
        """Return the id of a photo's cached regions with their features."""
        return f"regions:{self.id}"

    def threshold_prior(self, kind: Kind) -> ThresholdPrior:
        """Return the prior of the thresholds for a kind of concept."""
        return self.open_set["faces" if kind is Kind.PERSON else "regions"]

    def duplicate_threshold(self, kind: Kind) -> float | None:
        """Return the cosine similarity from which two concepts of a kind are the same individual (`alike`), or None."""
        return self.alike.get("faces" if kind is Kind.PERSON else "regions")

    def head_id(self, kind: Kind) -> str:
        """Return the id under which heads of a kind are stored: the face pack's or the encoder's."""
        return self.faces_id if kind is Kind.PERSON else self.id


@lru_cache(maxsize=16)
def _version(source: str) -> str:
    """Return the version of a source of weights: a fingerprint of shipped files, else the name of folder or hub id.

    The fingerprint does not depend on the place where myvlm is installed.
    """
    folder = Path(source.removeprefix("local-dir:"))
    if not folder.is_relative_to(STORYBOOK):
        return folder.name if folder.is_absolute() else source
    files = sorted(p for p in folder.glob("*") if p.is_file())
    return sha256_of(b"".join(sha256_of(p.read_bytes()).encode() for p in files))[:12]


def list_recognisers() -> tuple[RecogniserConfig, ...]:
    """Read the config of every recogniser that myvlm knows, sorted by file name."""
    files = resources.files("engine.vision").joinpath("configs").iterdir()
    texts = [f.read_text("utf-8") for f in sorted(files, key=lambda f: f.name) if f.name.endswith(".json")]
    return tuple(_parse(t) for t in texts)


def find_recogniser(name: str) -> RecogniserConfig:
    """Return the config of the recogniser with a name.

    Raises:
        UsageError: no recogniser has that name.
    """
    configs = list_recognisers()
    for config in configs:
        if config.name == name:
            return config
    raise UsageError(f"no recogniser called {name!r}", hint=f"Known: {', '.join(c.name for c in configs)}.")


def _parse(text: str) -> RecogniserConfig:
    """Read a config from its JSON text."""
    facts = json.loads(text)
    faces = facts["faces"]
    faces["folder"] = Path(_place(faces["folder"])).expanduser()
    faces["gate"] = FaceQuality(**faces["gate"])
    faces["files"] = tuple(faces.get("files", ()))
    faces["bank"] = Path(_place(faces["bank"])) if faces["bank"] else None
    facts["faces"] = FaceSource(**faces)
    facts["open_set"] = {k: ThresholdPrior(v["level"], v["sway"], v["floor"]) for k, v in facts["open_set"].items()}
    facts["encoder"] = _place(facts["encoder"])
    facts["detector"] = _place(facts["detector"]) if facts["detector"] else None
    facts["bank"] = Path(_place(facts["bank"])) if facts["bank"] else None
    return RecogniserConfig(**facts)


def _place(text: str) -> str:
    """Replace the prefix of shipped weights by their folder."""
    return text.replace(_EMBEDDED, f"{STORYBOOK}/")
