"""Measure the face pack through insightface, on people that it was not trained on."""

from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
from PIL import Image

from engine.core.boxes import Box, iou
from engine.storybook.build.face_data import draw_face_scene, draw_people
from engine.storybook.world.scenes import compose, render
from engine.vision.faces import FaceAnalyser

_SEED = 91
THRESHOLD = 0.325  # the paper's: cosine distance 0.675 (docs/experiments.md#face-threshold)


def report_faces(folder: Path, scenes: int = 150, people: int = 60) -> dict[str, float]:
    """Measure detection (recall, false faces, IoU) and recognition.

    Recognition: the share of pairs above cosine similarity 0.325 among crops of one person, siblings and strangers.
    """
    analyser = FaceAnalyser(folder, name="storybook", det_size=320, use_cuda=False)
    return _detection(analyser, scenes) | _recognition(analyser, people)


def _detection(analyser: FaceAnalyser, n: int) -> dict[str, float]:
    rng = np.random.default_rng(_SEED)
    overlaps, false, truth = [], 0, 0
    for _ in range(n):
        image, faces = draw_face_scene(rng)
        boxes = [Box(*map(float, f[:4])) for f in faces if not np.isnan(f[0])]
        detected = [f.box for f in analyser.find(Image.fromarray(image))]
        best = [max((iou(b, f) for f in detected), default=0.0) for b in boxes]
        overlaps += [v for v in best if v > 0.3]
        truth += len(boxes)
        false += sum(all(iou(b, f) < 0.3 for b in boxes) for f in detected)
    return {
        "detection recall": round(len(overlaps) / max(1, truth), 4),
        "false faces per 100 photos": round(100 * false / n, 2),
        "face IoU": round(float(np.mean(overlaps or [0.0])), 4),
    }


def _recognition(analyser: FaceAnalyser, n: int) -> dict[str, float]:
    rng = np.random.default_rng(_SEED + 1)
    people = draw_people(_SEED, n)
    vectors, ids = [], []
    for k, who in enumerate(people):
        for _ in range(3):
            picture = render(compose(rng, (who,)), 512, 512)
            faces = analyser.find(picture.image)
            if faces:
                vectors.append(faces[0].embedding)
                ids.append(k)
    if len(set(ids)) < 2:
        return {}
    similar = np.stack(vectors) @ np.stack(vectors).T
    same = np.equal.outer(ids, ids)
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    sibling = np.array([[b == a + 1 and b % 4 == 3 for b in ids] for a in ids]) & upper
    strangers = upper & ~same & ~sibling
    return {
        "same person above 0.325": _share(similar[upper & same]),
        "siblings above 0.325": _share(similar[sibling]),
        "strangers above 0.325": _share(similar[strangers]),
    }


def _share(values: np.ndarray) -> float:
    return round(float((values >= THRESHOLD).mean()), 4) if len(values) else 0.0
