"""Define the sizes and schedules of the shipped models, and a tiny recipe that only exercises the code."""

from dataclasses import dataclass

from engine.storybook.build.detector import DetectorSettings
from engine.storybook.build.language_model import LanguageSettings
from engine.storybook.build.loop import Schedule
from engine.storybook.build.minigpt import ChatSettings
from engine.storybook.build.qformer import CaptionSettings


@dataclass(frozen=True)
class Recipe:
    """Sizes of the drawn sets, and the settings of each stage. The sets have different seeds and share no scene."""

    scenes: int
    held_out: int
    crowds: int
    vision: Schedule
    language: LanguageSettings
    eva: Schedule
    blip2: CaptionSettings
    minigpt: ChatSettings
    families: int
    encoder: Schedule
    detector: DetectorSettings
    face_scenes: int
    face_detector: Schedule
    people: int
    face_recogniser: Schedule
    bank_families: int
    bank_people: int
    gate_pictures: int


SHIPPED = Recipe(
    scenes=60_000,
    held_out=3_000,
    vision=Schedule(steps=12_000, lr=5e-3, adam_lr=1.5e-3),
    crowds=8_000,
    language=LanguageSettings(Schedule(steps=9_400, lr=3e-3, adam_lr=1e-3, restarts=(5_000, 7_000)), late_from=7_000),
    eva=Schedule(steps=1_200, lr=1e-3, adam_lr=3e-4, warmup=50),
    blip2=CaptionSettings(Schedule(steps=4_200, lr=3e-3, adam_lr=1e-3, restarts=(3_200,)), hard_from=1_600),
    minigpt=ChatSettings(Schedule(steps=1_500, lr=2e-3, adam_lr=1e-3, warmup=100)),
    families=6_000,
    encoder=Schedule(steps=2_400, adam_lr=5e-4, warmup=60),
    detector=DetectorSettings(Schedule(steps=6_800, lr=2e-3, adam_lr=5e-4, restarts=(5_000,)), crowds_from=5_000),
    face_scenes=6_000,
    face_detector=Schedule(steps=2_000, adam_lr=3e-3),
    people=3_000,
    face_recogniser=Schedule(steps=1_500, adam_lr=3e-3),
    bank_families=500,
    bank_people=300,
    gate_pictures=400,
)
"""The recipe of the shipped files; the model card lists how long each stage took."""

TINY = Recipe(
    scenes=400,
    held_out=40,
    vision=Schedule(steps=4, warmup=1),
    crowds=10,
    language=LanguageSettings(Schedule(steps=3, warmup=1), batch=4, turns=3, late_from=1),
    eva=Schedule(steps=2, warmup=1),
    blip2=CaptionSettings(Schedule(steps=2, warmup=1), batch=4, hard_from=1),
    minigpt=ChatSettings(Schedule(steps=2, warmup=1), batch=4, turns=3),
    families=12,
    encoder=Schedule(steps=3, warmup=1),
    detector=DetectorSettings(Schedule(steps=2, warmup=1), crowds_from=1),
    face_scenes=24,
    face_detector=Schedule(steps=2, warmup=1),
    people=12,
    face_recogniser=Schedule(steps=2, warmup=1),
    bank_families=6,
    bank_people=6,
    gate_pictures=4,
)
"""A recipe with which every stage runs, but nothing is learned."""
