"""Draw pictures with faces: scenes with boxes and landmarks for the detector, aligned crops for the recogniser."""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from insightface.utils import face_align
from PIL import Image

from engine.storybook.world import attributes as words
from engine.storybook.world.canvas import Canvas, Pen
from engine.storybook.world.individuals import (
    Person,
    Rng,
    draw_category,
    draw_individual,
    draw_person,
    draw_sibling,
    pick,
)
from engine.storybook.world.people import draw_person as paint_person
from engine.storybook.world.places import draw_place
from engine.storybook.world.scenes import compose, render

DETECTOR_SIZE = 320
CROP = 112
MOST_FACES = 3
CROPS_EACH = 12


def draw_face_scene(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene for the detector: image (320, 320, 3) uint8 RGB, and faces (3, 14) float32.

    A face is x0 y0 x1 y1 and five landmarks, in pixels; rows without a face are NaN.
    """
    count = int(rng.choice((1, 2, 3), p=(0.4, 0.4, 0.2)))
    cast = [
        draw_individual(rng, pick(rng, words.PEOPLE) if rng.random() < 0.65 else draw_category(rng))
        for _ in range(count)
    ]
    picture = render(compose(rng, tuple(cast)), DETECTOR_SIZE, DETECTOR_SIZE, int(rng.choice((1, 2))))
    faces = np.full((MOST_FACES, 14), np.nan, np.float32)
    for i, face in enumerate(f for f in picture.faces if f):
        faces[i] = [*face.box, *face.landmarks.ravel()]
    return np.asarray(picture.image), faces


def draw_people(seed: int, n: int) -> list[Person]:
    """Draw n people; in every group of four the last one is a sibling of the one before."""
    rng = np.random.default_rng(seed)
    people: list[Person] = []
    while len(people) < n:
        people.append(draw_person(rng, pick(rng, words.PEOPLE)))
        if len(people) % 3 == 0:
            people.append(draw_sibling(rng, people[-1]))
    return people[:n]


def draw_face_crop(rng: Rng, who: Person) -> np.ndarray:
    """Draw a face aligned as insightface aligns it, with small errors of landmarks: (112, 112, 3) uint8 RGB."""
    size = int(rng.integers(64, 200))
    canvas = Canvas(size, size, 2)
    page = Pen(canvas, np.array([[1.0, 0, 0], [0, 1.0, 0]]), light=float(rng.uniform(0.8, 1.12)))
    draw_place(page, pick(rng, words.PLACES), 1.0, rng)
    half = float(rng.uniform(0.5, 0.95))
    pen = Pen.placed(
        canvas,
        x=0.5,
        y=0.28 + 0.42 * half,
        size=half,
        flip=bool(rng.random() < 0.5),
        light=float(rng.uniform(0.8, 1.12)),
    )
    face = paint_person(
        pen, who, pick(rng, words.PERSON_POSES), pick(rng, words.SHIRT_COLORS), pick(rng, words.EXPRESSIONS)
    )
    marks = face.landmarks * size
    marks = marks + rng.normal(0, 0.03 * np.ptp(marks[:, 0]), marks.shape)
    picture = canvas.finish()
    if rng.random() < 0.5:
        x, y = map(float, marks.mean(0))
        picture = picture.rotate(float(rng.uniform(-8, 8)), resample=Image.Resampling.BILINEAR, center=(x, y))
    return _align(np.asarray(picture), marks)


def _align(pixels: np.ndarray, marks: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # insightface calls an old name in scikit-image
        return face_align.norm_crop(np.ascontiguousarray(pixels), landmark=marks.astype(np.float32), image_size=CROP)


def _scene_block(seed: tuple[int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images, faces = zip(*(draw_face_scene(rng) for _ in range(n)), strict=True)
    return np.stack(images), np.stack(faces)


def _crop_block(people: list[Person], seed: tuple[int, int], each: int) -> np.ndarray:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    return np.stack([draw_face_crop(rng, who) for who in people for _ in range(each)])


def draw_face_scenes(folder: Path, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n scenes for the detector, cached in `folder`: images (n, 320, 320, 3) and faces (n, 3, 14)."""
    path = folder / f"face_scenes_{seed}_{n}.npz"
    if not path.is_file():
        blocks = range(0, n, 250)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(_scene_block, [(seed, b) for b in blocks], [min(250, n - b) for b in blocks]))
        images, faces = (np.concatenate(part) for part in zip(*parts, strict=True))
        np.savez(path, images=images, faces=faces)
    with np.load(path) as loaded:
        return loaded["images"], loaded["faces"]


def draw_face_crops(folder: Path, seed: int, n: int, each: int = CROPS_EACH) -> tuple[np.ndarray, np.ndarray]:
    """Draw `each` crops of n people, cached: crops (n·each, 112, 112, 3) uint8 RGB, person ids (n·each,) int64."""
    path = folder / f"face_crops_{seed}_{n}_{each}.npy"
    if not path.is_file():
        people = draw_people(seed, n)
        blocks = range(0, n, 100)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            args = [people[b : b + 100] for b in blocks], [(seed, b) for b in blocks], [each] * len(blocks)
            np.save(path, np.concatenate(list(pool.map(_crop_block, *args))))
    return np.load(path, mmap_mode="r"), np.arange(n).repeat(each)
