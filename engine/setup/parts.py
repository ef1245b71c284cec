"""The parts that can be fetched, each under one name: VLMs, image encoders and face packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.core.errors import UsageError
from engine.vision.config import ENCODER_FILES, RecogniserConfig, list_recognisers
from engine.vlms.config import VlmConfig, list_configs
from engine.vlms.registry import CONVERTED, WEIGHT_FILES, converted_folder, find_weights, how_to_get

PartKind = Literal["vlm", "encoder", "faces"]


@dataclass(frozen=True)
class Part:
    """A model that is fetched as a whole.

    repo_id: its hub repository; "" for a face pack. files: patterns of the files that are used.
    config: of the VLM, or of the recogniser that the part belongs to.
    must_accept_license: whether the user must accept its licence by name before it is fetched.
    """

    name: str
    kind: PartKind
    enables: str
    disk_gb: float
    license: str
    repo_id: str
    files: tuple[str, ...]
    config: VlmConfig | RecogniserConfig
    must_accept_license: bool = False

    @property
    def on_disk(self) -> bool:
        """Whether the part is on this disk."""
        if isinstance(self.config, VlmConfig):
            return find_weights(self.config) is not None
        return self.config.encoder_on_disk if self.kind == "encoder" else self.config.faces.on_disk

    @property
    def is_converted(self) -> bool:
        """Whether `myvlm models convert` makes it of several files."""
        return self.repo_id.startswith(CONVERTED)

    @property
    def folder(self) -> Path:
        """The folder that holds it: in the hub cache, or that of the face pack."""
        if not isinstance(self.config, VlmConfig) and self.kind == "faces":
            return self.config.faces.folder
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(HF_HUB_CACHE) / self.hub_folder

    @property
    def hub_folder(self) -> str:
        """The name of its folder in a hub cache."""
        return f"models--{self.repo_id.replace('/', '--')}"


def part_of_vlm(config: VlmConfig) -> Part:
    """Return the part that is a VLM."""
    enables = "sentences" if config.backend == "blip-2" else "sentences, answers"
    files = tuple(WEIGHT_FILES)
    return Part(config.name, "vlm", enables, config.disk_gb, config.license, config.repo_id, files, config)


def parts_of_recogniser(config: RecogniserConfig) -> tuple[Part, ...]:
    """List the parts of a recogniser that are not shipped: its encoder and its face pack."""
    faces = config.faces
    encoder = Part(
        config.name,
        "encoder",
        "pets, things",
        config.encoder_gb,
        config.encoder_license,
        config.encoder_repo,
        ENCODER_FILES,
        config,
    )
    pack = Part(
        faces.name, "faces", "people", faces.disk_gb, faces.license, "", faces.files, config, faces.must_accept_license
    )
    return (*([encoder] if config.encoder_repo else []), *([pack] if faces.files else []))


def list_parts(
    vlms: Sequence[VlmConfig] | None = None, recognisers: Sequence[RecogniserConfig] | None = None
) -> tuple[Part, ...]:
    """List all parts, VLMs first; those of shipped models are left out."""
    known = list_configs() if vlms is None else vlms
    parts = [part_of_vlm(c) for c in known if not c.world]
    for config in list_recognisers() if recognisers is None else recognisers:
        parts += parts_of_recogniser(config)
    return tuple({p.name: p for p in parts}.values())


def find_part(name: str) -> Part | None:
    """Return the part of a name or hub id; None where there is none."""
    return next((p for p in list_parts() if name and name in (p.name, p.repo_id)), None)


def check_names(names: Sequence[str]) -> None:
    """Check that there is a part of each name.

    Raises:
        UsageError: there is none.
    """
    known = [p.name for p in list_parts()]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no model called {name!r} to fetch", hint=f"Known: {', '.join(known)}.")


def command_for(part: Part) -> str:
    """Return the command that gets a part."""
    if part.is_converted and isinstance(part.config, VlmConfig):
        return how_to_get(part.config).removeprefix("Run: ").partition("   (")[0]
    return f"myvlm models pull {part.name}"


def how_to_copy(part: Part) -> str:
    """Return which files to copy from a machine with network, and where to."""
    if part.kind == "faces":
        return f"copy {' and '.join(part.files)} of insightface's {part.name} pack to {part.folder}"
    if part.is_converted and isinstance(part.config, VlmConfig):
        return f"run that command on another machine, and copy its folder to {converted_folder(part.config)}"
    source = f"~/.cache/huggingface/hub/{part.hub_folder}"
    return f"run {command_for(part)} on another machine, and copy its folder {source} to {part.folder.parent}"
