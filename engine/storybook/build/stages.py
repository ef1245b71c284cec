"""The build's stages, in order; each leaves a checkpoint or a finished file and is skipped when it is there."""

import json
import shutil
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
from engine.storybook.build.gates import Ask, missed, run_gates
from engine.storybook.build.loop import load_modules
from engine.storybook.build.recipe import Recipe
from engine.storybook.build.save import save_blip2, save_llava, save_minigpt
from engine.storybook.build.seeing import see_drawings, see_scenes
from engine.storybook.build.tokenizer import make_tokenizer
from engine.storybook.build.vision_report import report_vision
from engine.storybook.world.population import draw_crowds, draw_population
from engine.storybook.world.scenes import Scene, render
from engine.vlms.config import find_config
from engine.vlms.registry import BACKENDS

TRAIN_SEED, HELD_SEED, CROP_SEED, PEOPLE_SEED, FACE_SEED, BANK_SEED, GATE_SEED, CROWD_SEED = range(1, 9)
STRANGERS_SEED = 9
_AUGMENT_SEED = 99


@dataclass
class Bench:
    """A build in progress: its folder, its recipe, and what earlier stages made."""

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
    def seen(self) -> states.Seen:
        """What that tower sees of all scenes."""
        scenes = list(iter_scenes(TRAIN_SEED, self.recipe.scenes))
        return states.see_all(self.folder, self.eva, self.train, scenes, self.crowds, _AUGMENT_SEED)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer."""
        return make_tokenizer()

    def report(self, name: str, figures: dict[str, float]) -> None:
        """Keep figures for the card."""
        path = self.folder / "reports.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | {name: figures}, indent=2))


def draw(bench: Bench) -> None:
    """Draw the training and held-out scenes."""
    _ = bench.train, bench.held_out


def see(bench: Bench) -> None:
    """Stage 1: the vision tower."""
    tower, heads = bench.tower, vision.Supervision()
    load_modules(bench.folder, "vision", {"heads": heads})
    bench.report("vision", report_vision(tower, heads, bench.held_out, min(1000, bench.recipe.held_out)))


def speak(bench: Bench) -> None:
    """Stage 2: projector and language model; writes the VLM."""
    data = bench.train
    see, tokens = partial(language_model.see, bench.tower), language_model.IMAGE_TOKENS
    features = (
        see_drawings(bench.folder / "features_plain.npy", see, data, tokens),
        see_drawings(bench.folder / "features_augmented.npy", see, data, tokens, _AUGMENT_SEED),
    )
    crowds = language_model.Crowds(bench.crowds, *see_scenes(bench.folder / "crowds.npz", see, bench.crowds))
    bench.tower.cpu()
    vlm = language_model.make_vlm(bench.tokenizer, bench.tower)
    scenes = list(iter_scenes(TRAIN_SEED, bench.recipe.scenes))
    soft = language_model.train_language(
        bench.folder, vlm, bench.tokenizer, data, scenes, features, crowds, bench.recipe.language
    )
    save_llava(vlm, bench.tokenizer, bench.out / "vlm")
    _gates(bench, "storybook", "vlm", soft, lambda request, _: request)


def see_again(bench: Bench) -> None:
    """Stage 3: the tower that BLIP-2 and MiniGPT-v2 share."""
    bench.report("shared tower", {"relative error": eva.relative_error(bench.eva, bench.tower, bench.held_out)})


def caption_by_queries(bench: Bench) -> None:
    """Stage 4: BLIP-2."""
    vlm = qformer.make_blip2(bench.tokenizer, bench.eva)
    soft = qformer.train_blip2(bench.folder, vlm, bench.tokenizer, bench.seen, bench.recipe.blip2)
    save_blip2(vlm, bench.tokenizer, bench.out)
    _gates(bench, "storybook-blip2", "blip2", soft, qformer.ask)


def chat(bench: Bench) -> None:
    """Stage 5: MiniGPT-v2."""
    llava, soft = language_model.make_vlm(bench.tokenizer), language_model.SoftRows()
    inner = {"projector": llava.model.multi_modal_projector, "lm": llava.model.language_model, "head": llava.lm_head}
    load_modules(bench.folder, "language", {**inner, "soft": soft})
    tokenizer = make_tokenizer(minigpt.WORDS)
    model = minigpt.make_minigpt(tokenizer, llava, bench.eva)
    soft = minigpt.train_minigpt(bench.folder, model, tokenizer, bench.seen, soft, bench.recipe.minigpt)
    save_minigpt(model, tokenizer, bench.out)
    _gates(bench, "storybook-minigpt", "minigpt", soft, lambda request, _: minigpt.tagged(request))


def _gates(bench: Bench, name: str, folder: str, soft: language_model.SoftRows, ask: Ask) -> None:
    """Measure a finished VLM on pictures drawn for this, and keep what it missed."""
    pictures = [render(s, 128, 128) for s, _ in draw_population(GATE_SEED, bench.recipe.gate_pictures)]
    config = find_config(name)
    module, backend = BACKENDS[config.backend].split(":")
    family = getattr(import_module(module), backend)
    vlm = family.load(config, bench.out / folder, torch.device("cpu"), torch.float32)
    gates = run_gates(vlm, soft, pictures, ask)
    bench.report(f"gates {name}", gates)
    bench.report(f"gates missed {name}", {n: value for n, (value, _) in missed(gates).items()})


def tell_apart(bench: Bench) -> None:
    """Stage 6: the image encoder of object heads, in open_clip's format."""
    n, vocabulary = bench.recipe.families, -(-len(bench.tokenizer) // 8) * 8
    crops = draw_crops(bench.folder, CROP_SEED, n)
    labels = encoder.label_families(draw_families(CROP_SEED, n), bench.tokenizer)
    model = encoder.train_encoder(bench.folder, bench.tower, crops, labels, vocabulary, bench.recipe.encoder)
    encoder.save_encoder(model, vocabulary, bench.out / "encoder")


def find_things(bench: Bench) -> None:
    """Stage 7: the object detector."""
    crowds = draw_crowd_pictures(bench.folder, bench.crowds)
    net = train_detector(bench.folder, bench.tower, bench.train, crowds, bench.recipe.detector)
    shutil.rmtree(bench.out / "detector", ignore_errors=True)
    save_detector(net, bench.out / "detector")


def find_faces(bench: Bench) -> None:
    """Stage 8: the insightface pack."""
    r = bench.recipe
    images, truth = draw_face_scenes(bench.folder, FACE_SEED, r.face_scenes)
    detector = faces.train_detector(bench.folder, images, truth, r.face_detector)
    crops, people = draw_face_crops(bench.folder, PEOPLE_SEED, r.people)
    recogniser = faces.train_recogniser(bench.folder, crops, people, r.face_recogniser)
    faces.export_pack(detector, recogniser, bench.out / "faces")
    bench.report("faces", report_faces(bench.out / "faces"))


def keep_strangers(bench: Bench) -> None:
    """Stage 9: the banks of negative features."""
    build_bank(bench.out, BANK_SEED, bench.recipe.bank_families)
    build_face_bank(bench.out, STRANGERS_SEED, bench.recipe.bank_people)


STAGES = (draw, see, speak, see_again, caption_by_queries, chat, tell_apart, find_things, find_faces, keep_strangers)


def write_card(bench: Bench, times: dict[str, float]) -> None:
    """Write the model card with what was measured and how long it took."""
    reports = json.loads((bench.folder / "reports.json").read_text())
    files = {p.relative_to(bench.out).as_posix(): p for p in sorted(bench.out.rglob("*")) if p.is_file()}
    facts = {name: (p.stat().st_size, sha256_of(p.read_bytes())[:16]) for name, p in files.items() if p.suffix != ".md"}
    (bench.out / "MODEL_CARD.md").write_text(render_card(reports, times, facts))
