"""How much of everything: the recipe of the shipped models, and a tiny one that only exercises the code."""

from dataclasses import dataclass

from engine.storybook.build.detector import DetectorLesson
from engine.storybook.build.language_model import Lesson
from engine.storybook.build.loop import Schedule
from engine.storybook.build.minigpt import ChatLesson
from engine.storybook.build.qformer import CaptionLesson


@dataclass(frozen=True)
class Recipe:
    """Sizes of the drawn sets, and each stage's schedule. Seeds of the sets differ, so no scene is shared."""

    scenes: int
    held_out: int
    crowds: int
    vision: Schedule
    language: Lesson
    eva: Schedule
    blip2: CaptionLesson
    minigpt: ChatLesson
    families: int
    encoder: Schedule
    detector: DetectorLesson
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
    language=Lesson(Schedule(steps=9_400, lr=3e-3, adam_lr=1e-3, restarts=(5_000, 7_000)), late_from=7_000),
    eva=Schedule(steps=1_200, lr=1e-3, adam_lr=3e-4, warmup=50),
    blip2=CaptionLesson(Schedule(steps=4_200, lr=3e-3, adam_lr=1e-3, restarts=(3_200,)), hard_from=1_600),
    minigpt=ChatLesson(Schedule(steps=1_500, lr=2e-3, adam_lr=1e-3, warmup=100)),
    families=6_000,
    encoder=Schedule(steps=2_400, adam_lr=5e-4, warmup=60),
    detector=DetectorLesson(Schedule(steps=6_800, lr=2e-3, adam_lr=5e-4, restarts=(5_000,)), crowds_from=5_000),
    face_scenes=6_000,
    face_detector=Schedule(steps=2_000, adam_lr=3e-3),
    people=3_000,
    face_recogniser=Schedule(steps=1_500, adam_lr=3e-3),
    bank_families=500,
    bank_people=300,
    gate_pictures=400,
)
"""What made the shipped files; the model card says how long each stage took."""

TINY = Recipe(
    scenes=400,
    held_out=40,
    vision=Schedule(steps=4, warmup=1),
    crowds=10,
    language=Lesson(Schedule(steps=3, warmup=1), batch=4, turns=3, late_from=1),
    eva=Schedule(steps=2, warmup=1),
    blip2=CaptionLesson(Schedule(steps=2, warmup=1), batch=4, hard_from=1),
    minigpt=ChatLesson(Schedule(steps=2, warmup=1), batch=4, turns=3),
    families=12,
    encoder=Schedule(steps=3, warmup=1),
    detector=DetectorLesson(Schedule(steps=2, warmup=1), crowds_from=1),
    face_scenes=24,
    face_detector=Schedule(steps=2, warmup=1),
    people=12,
    face_recogniser=Schedule(steps=2, warmup=1),
    bank_families=6,
    bank_people=6,
    gate_pictures=4,
)
"""Nothing is learned from this one; it shows that every stage runs."""
