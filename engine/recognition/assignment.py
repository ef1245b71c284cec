"""Assign concepts to regions by their scores. Plain numpy, no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Assignment:
    """Concept `concept` (column) was found in region `region` (row)."""

    region: int
    concept: int
    score: float


def face_scores(faces: np.ndarray, templates: list[np.ndarray], rejected: list[np.ndarray] | None = None) -> np.ndarray:
    """Cosine similarity of each face to each person's nearest template: (F, C) in -1..1.

    faces: (F, D) unit vectors; templates[c]: (T_c, D) unit vectors. The paper's cosine distance
    0.675 is similarity 0.325. rejected[c]: (K_c, D), faces that the user said are not this person: a face that is
    nearer to one of them than to any template gets -1.
    """
    if not len(faces) or not templates:
        return np.zeros((len(faces), len(templates)), np.float32)
    scores = np.stack([(faces @ t.T).max(axis=1) for t in templates], axis=1)
    for column, wrong in enumerate(rejected or []):
        if len(wrong):
            scores[(faces @ wrong.T).max(axis=1) > scores[:, column], column] = -1.0
    return scores


def assign(scores: np.ndarray, thresholds: np.ndarray, same: np.ndarray | None = None) -> list[Assignment]:
    """Assign concepts to regions one-to-one, best margin first.

    scores: (R, C); thresholds: (C,). Pairs below their threshold stay unknown. `same`, (R, R) bool, says
    which regions overlap so much that they show the same thing.
    """
    if not (scores >= thresholds[None]).any():
        return []  # most photos of a library
    same = np.eye(len(scores), dtype=bool) if same is None else same
    margins = np.nan_to_num(scores - thresholds[None], nan=-np.inf, posinf=-np.inf)
    assigned: list[Assignment] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    order = np.argsort(-margins, axis=None, kind="stable")
    for flat in order:
        row, column = (int(v) for v in np.unravel_index(flat, margins.shape))
        if margins[row, column] < 0:
            break
        if row not in taken_rows and column not in taken_columns:
            taken_rows.update(np.flatnonzero(same[row]).tolist())
            taken_columns.add(column)
            assigned.append(Assignment(row, column, float(scores[row, column])))
    return assigned


def choose_views(features: list[np.ndarray], sizes: list[np.ndarray], known: Sequence[np.ndarray] = ()) -> list[int]:
    """Return which region of each reference photo shows the concept that all of them share.

    features[p]: (R_p, D) unit vectors; sizes[p]: (R_p,) areas as a share of the photo. A region is
    likely when something similar is in the other photos; among equals the larger one is. With one
    photo the largest region is taken. known[k]: (V_k, D), views of the concept in earlier photos.
    """
    chosen = []
    for p, regions in enumerate(features):
        others = [regions @ other.T for q, other in enumerate(features) if q != p]
        others += [regions @ views.T for views in known]
        agreement = np.mean([o.max(axis=1) for o in others], axis=0) if others else np.zeros(len(regions))
        chosen.append(int(np.argmax(agreement + 0.1 * np.sqrt(sizes[p]))))
    return chosen
