"""Run the build's stages in order; each leaves a checkpoint or finished files, and is quick where these exist.

`docs/storybook.md`, "The models", lists the stages by the names that `STAGES` gives them.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path

import engine.core.device  # noqa: F401

import torch
from transformers import Blip2VisionModel, CLIPVisionModel, PreTrainedTokenizerFast

from engine.core.files import sha256_of
from engine.storybook.build import encoder, eva, faces, language_model, minigpt, qformer, states, vision
from engine.storybook.build.bank import build_bank, build_face_bank
from engine.storybook.build.card import render_card
from engine.storybook.build.crop_data import draw_crops, draw_families
from engine.storybook.build.detector import draw_crowd_pictures, save_detector, train_detector
from engine.storybook.build.drawings import Drawings, draw_set, iter_scenes
from engine.storybook.build.face_data import draw_face_crops, draw_face_scenes
from engine.storybook.build.face_report import report_faces
from engine.storybook.build.gates import FormatRequest, missed, run_gates
from engine.storybook.build.loop import load_modules
from engine.storybook.build.recipe import Recipe
from engine.storybook.build.save import save_blip2, save_llava, save_minigpt
from engine.storybook.build.seeing import encode_drawings, encode_scenes
from engine.storybook.build.tokenizer import make_tokenizer
from engine.storybook.build.vision_report import report_vision
from engine.storybook.world.population import draw_crowds, draw_population
from engine.storybook.world.scenes import Scene, render
from engine.vlms.find import find_config
from engine.vlms.registry import BACKENDS

TRAIN_SEED, HELD_SEED, CROP_SEED, PEOPLE_SEED, FACE_SEED, BANK_SEED, GATE_SEED, CROWD_SEED = range(1, 9)
STRANGERS_SEED = 9
_AUGMENT_SEED = 99


@dataclass
class Build:
    """A build in progress: its folder, its recipe, the folder of the weights, and the results of earlier stages."""

    folder: Path
    recipe: Recipe
    out: Path

    @cached_property
    def train(self) -> Drawings:
        """Training scenes."""
        return draw_set(self.folder / "train", TRAIN_SEED, self.recipe.scenes)

    @cached_property
    def held_out(self) -> Drawings:
        """Scenes for the reports."""
        return draw_set(self.folder / "held", HELD_SEED, self.recipe.held_out)

    @cached_property
    def tower(self) -> CLIPVisionModel:
        """The trained vision tower."""
        return vision.train_vision(self.folder, self.train, self.recipe.vision)

    @cached_property
    def crowds(self) -> list[Scene]:
        """Scenes of four."""
        return list(draw_crowds(CROWD_SEED, self.recipe.crowds))

    @cached_property
    def eva(self) -> Blip2VisionModel:
        """The tower that BLIP-2 and MiniGPT-v2 share."""
        return eva.train_eva(self.folder, self.tower, self.train, self.recipe.eva)

    @cached_property
    def states(self) -> states.TowerStates:
        """The shared tower's states of all scenes."""
        scenes = list(iter_scenes(TRAIN_SEED, self.recipe.scenes))
        return states.encode_all(self.folder, self.eva, self.train, scenes, self.crowds, _AUGMENT_SEED)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return make_tokenizer()

    def report(self, name: str, figures: dict[str, float]) -> None:
        """Save figures for the model card."""
        path = self.folder / "reports.json"
        reports = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(reports | {name: figures}, indent=2))


def draw_scenes(build: Build) -> None:
    """Draw the training and held-out scenes."""
    _ = build.train, build.held_out


def train_tower(build: Build) -> None:
    """Stage 1: the vision tower."""
    tower, heads = build.tower, vision.Supervision()
    load_modules(build.folder, "vision", {"heads": heads})
    build.report("vision", report_vision(tower, heads, build.held_out, min(1000, build.recipe.held_out)))


def train_language_model(build: Build) -> None:
    """Stage 2: projector and language model; writes the LLaVA."""
    data = build.train
    encode, tokens = partial(language_model.encode_images, build.tower), language_model.IMAGE_TOKENS
    features = (
        encode_drawings(build.folder / "features_plain.npy", encode, data, tokens),
        encode_drawings(build.folder / "features_augmented.npy", encode, data, tokens, _AUGMENT_SEED),
    )
    crowds = language_model.Crowds(build.crowds, *encode_scenes(build.folder / "crowds.npz", encode, build.crowds))
    build.tower.cpu()
    vlm = language_model.make_vlm(build.tokenizer, build.tower)
    scenes = list(iter_scenes(TRAIN_SEED, build.recipe.scenes))
    soft = language_model.train_language(
        build.folder, vlm, build.tokenizer, data, scenes, features, crowds, build.recipe.language
    )
    save_llava(vlm, build.tokenizer, build.out / "vlm")
    _run_gates(build, "storybook", "vlm", soft, lambda request, _: request)


def train_shared_tower(build: Build) -> None:
    """Stage 3: the tower that BLIP-2 and MiniGPT-v2 share."""
    build.report("shared tower", {"relative error": eva.relative_error(build.eva, build.tower, build.held_out)})


def train_blip2(build: Build) -> None:
    """Stage 4: BLIP-2."""
    vlm = qformer.make_blip2(build.tokenizer, build.eva)
    soft = qformer.train_blip2(build.folder, vlm, build.tokenizer, build.states, build.recipe.blip2)
    save_blip2(vlm, build.tokenizer, build.out)
    _run_gates(build, "storybook-blip2", "blip2", soft, qformer.format_request)


def train_minigpt(build: Build) -> None:
    """Stage 5: MiniGPT-v2."""
    llava, soft = language_model.make_vlm(build.tokenizer), language_model.SoftRows()
    load_modules(build.folder, "language", {**language_model.trained_modules(llava), "soft": soft})
    tokenizer = make_tokenizer(minigpt.WORDS)
    model = minigpt.make_minigpt(tokenizer, llava, build.eva)
    soft = minigpt.train_minigpt(build.folder, model, tokenizer, build.states, soft, build.recipe.minigpt)
    save_minigpt(model, tokenizer, build.out)
    _run_gates(build, "storybook-minigpt", "minigpt", soft, lambda request, _: minigpt.with_task_identifier(request))


def _run_gates(
    build: Build, name: str, folder: str, soft: language_model.SoftRows, format_request: FormatRequest
) -> None:
    """Measure the gates of a finished VLM on pictures drawn for them; report all figures, and the gates not passed."""
    pictures = [render(s, 128, 128) for s, _ in draw_population(GATE_SEED, build.recipe.gate_pictures)]
    config = find_config(name)
    module, backend = BACKENDS[config.backend].split(":")
    family = getattr(import_module(module), backend)
    vlm = family.load(config, build.out / folder, torch.device("cpu"), torch.float32)
    gates = run_gates(vlm, soft, pictures, format_request)
    build.report(f"gates {name}", gates)
    build.report(f"gates missed {name}", {n: value for n, (value, _) in missed(gates).items()})


def train_encoder(build: Build) -> None:
    """Stage 6: the image encoder of object heads, in open_clip's format."""
    n, vocabulary = build.recipe.families, -(-len(build.tokenizer) // 8) * 8
    crops = draw_crops(build.folder, CROP_SEED, n)
    labels = encoder.label_families(draw_families(CROP_SEED, n), build.tokenizer)
    model = encoder.train_encoder(build.folder, build.tower, crops, labels, vocabulary, build.recipe.encoder)
    encoder.save_encoder(model, vocabulary, build.out / "encoder")


def train_object_detector(build: Build) -> None:
    """Stage 7: the object detector."""
    crowds = draw_crowd_pictures(build.folder, build.crowds)
    net = train_detector(build.folder, build.tower, build.train, crowds, build.recipe.detector)
    shutil.rmtree(build.out / "detector", ignore_errors=True)
    save_detector(net, build.out / "detector")


def train_face_pack(build: Build) -> None:
    """Stage 8: the insightface pack."""
    r = build.recipe
    images, truth = draw_face_scenes(build.folder, FACE_SEED, r.face_scenes)
    detector = faces.train_detector(build.folder, images, truth, r.face_detector)
    crops, people = draw_face_crops(build.folder, PEOPLE_SEED, r.people)
    recogniser = faces.train_recogniser(build.folder, crops, people, r.face_recogniser)
    faces.export_pack(detector, recogniser, build.out / "faces")
    build.report("faces", report_faces(build.out / "faces"))


def build_banks(build: Build) -> None:
    """Stage 9: the banks of negative features."""
    build_bank(build.out, BANK_SEED, build.recipe.bank_families)
    build_face_bank(build.out, STRANGERS_SEED, build.recipe.bank_people)


STAGES: dict[str, Callable[[Build], None]] = {
    "draw": draw_scenes,
    "see": train_tower,
    "speak": train_language_model,
    "see_again": train_shared_tower,
    "caption_by_queries": train_blip2,
    "chat": train_minigpt,
    "tell_apart": train_encoder,
    "find_things": train_object_detector,
    "find_faces": train_face_pack,
    "keep_strangers": build_banks,
}
"""Stages by the names that `times.json` and the model card use for them."""


def write_card(build: Build, times: dict[str, float]) -> None:
    """Write the model card: reports, and seconds for each stage."""
    reports = json.loads((build.folder / "reports.json").read_text())
    files = {p.relative_to(build.out).as_posix(): p for p in sorted(build.out.rglob("*")) if p.is_file()}
    facts = {name: (p.stat().st_size, sha256_of(p.read_bytes())[:16]) for name, p in files.items() if p.suffix != ".md"}
    (build.out / "MODEL_CARD.md").write_text(render_card(reports, times, facts))
