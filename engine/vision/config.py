"""The facts about each recogniser: one JSON file each under `configs/`, read into `RecogniserConfig`."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from engine.core.errors import UsageError
from engine.core.files import sha256_of
from engine.core.paths import BUILTIN, STORYBOOK
from engine.core.types import Kind
from engine.vision.measured_values import FaceQuality, GroupThresholds, ScoringWeights, ThresholdPrior

__all__ = [
    "FaceQuality",
    "FaceSource",
    "GroupThresholds",
    "RecogniserConfig",
    "ScoringWeights",
    "ThresholdPrior",
    "find_recogniser",
    "fingerprint",
    "list_recognisers",
]

DEFAULT_RECOGNISER = "builtin"
"""The recogniser where neither an option nor `config.toml` chooses one, and none belongs to the VLM."""
ENCODER_FILES = ("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
"""Names of open_clip's weights in a hub repository; one of them is enough."""
ONNX = "onnx:"
"""Prefix of an encoder that is an ONNX file and not one of open_clip."""
_FINGERPRINTS = Path(__file__).parent / "weights" / "fingerprints.json"
"""The fingerprints of shipped weights, by their paths in the configs."""
_FACES_FOUND = 3
"""Version of the way in which faces are found. After a change, cached faces are found anew, and heads stay valid."""


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

    encoder, pretrained: open_clip's names of the image encoder; or `onnx:` with a file.
    image_size: side in pixels to which an ONNX encoder scales regions.
    encoder_edge, detector_edge: sides in pixels of the squares to which an encoder of open_clip scales regions, and the
        object detector photos; 0 where that is not known.
    least_word: probability from which an ONNX encoder's guess of a class word is used, 0..1.
    detector: folder or hub id of a transformers object detector; None for a grid of regions.
    detector_threshold: least score of a detection, 0..1.
    head: the settings of the paper's linear heads, `recognition.linear_head.HeadTraining`.
    threshold: probability from which the paper's linear heads accept a region, 0..1.
    augmentations: altered crops of each reference region that a head is trained on, besides the crop itself.
    bank: a file of negative features, or None.
    open_set: the prior of the thresholds, measured on labelled libraries, for "faces" and "regions".
    scoring: weights of the pair features, measured likewise; where one is missing, they are fitted to the concepts.
    alike: cosine similarity of the means of two concepts' reference photos from which they are the same individual, for
        "faces" and "regions"; a missing entry was not measured.
    groups: from which likeness on sightings without a name are grouped, for "faces" and "regions"; a missing entry was
        not measured.
    drawn_only: whether it was trained on drawings, and recognises little in real photos.
    text_language: the language that the encoder's text tower reads, with which photos are searched by meaning; "" where
        there is none for that.
    encoder_repo: the hub repository from which open_clip takes the encoder; "" for a shipped one.
    encoder_gb: GB of the encoder's weights on disk.
    encoder_memory_gb: GB of GPU memory that it needs in half precision.
    photo_tflop: TFLOP to encode the regions of a photo; None where that was not computed.
    photos_per_second: photos that it recognises in a second on one core, as measured; None where it was not.
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
    scoring: dict[str, ScoringWeights] = field(default_factory=dict)
    alike: dict[str, float] = field(default_factory=dict)
    groups: dict[str, GroupThresholds] = field(default_factory=dict)
    drawn_only: bool = False
    text_language: str = ""
    encoder_repo: str = ""
    encoder_license: str = ""
    image_size: int = 0
    encoder_edge: int = 0
    detector_edge: int = 0
    least_word: float = 1.0
    encoder_gb: float = 0.0
    encoder_memory_gb: float = 0.0
    photo_tflop: float | None = None
    photos_per_second: float | None = None
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def onnx_file(self) -> Path | None:
        """Return the file of an ONNX encoder; None for an encoder of open_clip."""
        return Path(self.encoder.removeprefix(ONNX)) if self.encoder.startswith(ONNX) else None

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
        encoder += f"@{self.image_size}" if self.image_size else ""
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

    def scoring_weights(self, kind: Kind) -> ScoringWeights | None:
        """Return the weights of the pair features for a kind of concept; None where they are fitted to the concepts."""
        return self.scoring.get("faces" if kind is Kind.PERSON else "regions")

    def duplicate_threshold(self, kind: Kind) -> float | None:
        """Return the cosine similarity from which two concepts of a kind are the same individual (`alike`), or None."""
        return self.alike.get("faces" if kind is Kind.PERSON else "regions")

    def group_thresholds(self, kind: Kind) -> GroupThresholds:
        """Return from which likeness on sightings of a kind are grouped (`groups`).

        Where it was not measured, it is that from which a name is given while nothing is known of others.
        """
        alone = self.threshold_prior(kind).alone
        return self.groups.get("faces" if kind is Kind.PERSON else "regions", GroupThresholds(alone, alone))

    def head_id(self, kind: Kind) -> str:
        """Return the id under which heads of a kind are stored: the face pack's or the encoder's."""
        return self.faces_id if kind is Kind.PERSON else self.id


@lru_cache(maxsize=16)
def _version(source: str) -> str:
    """Return the version of a source of weights: a fingerprint of shipped files, else the name of folder or hub id.

    Fingerprints of shipped files are shipped, too, because hashing the weights delays each command; tests compare them.
    """
    folder = Path(source.removeprefix("local-dir:").removeprefix(ONNX))
    for prefix, shipped in _shipped().items():
        if folder.is_relative_to(shipped):
            known = json.loads(_FINGERPRINTS.read_text("utf-8"))
            return str(known.get(f"{prefix}{folder.relative_to(shipped).as_posix()}") or fingerprint(folder))
    return folder.name if folder.is_absolute() else source


def fingerprint(weights: Path) -> str:
    """Return a digest of a file, or of the files of a folder, that does not depend on where myvlm is installed."""
    files = [weights] if weights.is_file() else sorted(p for p in weights.glob("*") if p.is_file())
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
    priors = facts["open_set"]
    facts["open_set"] = {
        k: ThresholdPrior(v["level"], v["sway"], v["floor"], v.get("alone", ThresholdPrior.alone))
        for k, v in priors.items()
    }
    facts["scoring"] = {k: ScoringWeights(**v) for k, v in facts.get("scoring", {}).items()}
    facts["groups"] = {k: GroupThresholds(**v) for k, v in facts.get("groups", {}).items()}
    facts["encoder"] = _place(facts["encoder"])
    facts["detector"] = _place(facts["detector"]) if facts["detector"] else None
    facts["bank"] = Path(_place(facts["bank"])) if facts["bank"] else None
    return RecogniserConfig(**facts)


def _shipped() -> dict[str, Path]:
    """Return the folders of weights that are shipped with myvlm, by the prefix of paths in them."""
    return {"embedded:": STORYBOOK, "builtin:": BUILTIN}


def _place(text: str) -> str:
    """Replace the prefix of shipped weights by their folder."""
    for prefix, folder in _shipped().items():
        text = text.replace(prefix, f"{folder}/")
    return text
