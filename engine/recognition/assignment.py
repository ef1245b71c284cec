"""Assign concepts to regions by their scores, with numpy and no model (docs/recognition.md, Assignment)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Assignment:
    """A concept (column of the scores), the region (row) that it is assigned to, and its score there."""

    region: int
    concept: int
    score: float


def face_scores(faces: np.ndarray, templates: list[np.ndarray], rejected: list[np.ndarray] | None = None) -> np.ndarray:
    """Return the cosine similarity of each face to each person's nearest template: (F, C) in -1..1.

    faces: (F, D) unit vectors; templates[c]: (T_c, D) unit vectors. The paper's cosine distance 0.675 is similarity
    0.325 (docs/recognition.md, The paper's heads). rejected[c]: (K_c, D) unit vectors of the faces that the user
    rejected for this person: a face that is nearer to one of them than to any template gets -1.
    """
    if not len(faces) or not templates:
        return np.zeros((len(faces), len(templates)), np.float32)
    scores = np.stack([(faces @ t.T).max(axis=1) for t in templates], axis=1)
    for column, rejections in enumerate(rejected or []):
        if len(rejections):
            scores[(faces @ rejections.T).max(axis=1) > scores[:, column], column] = -1.0
    return scores


def assign(scores: np.ndarray, thresholds: np.ndarray, same: np.ndarray | None = None) -> list[Assignment]:
    """Assign concepts to regions one-to-one, best margin first.

    scores: (R, C); thresholds: (C,). Pairs below their threshold are not assigned. same: (R, R) bool, which regions
    overlap so much that they show the same thing; None means that no two do.
    """
    if not (scores >= thresholds[None]).any():
        return []  # the usual case, kept fast: most photos of a library
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


def choose_crops(features: list[np.ndarray], sizes: list[np.ndarray], earlier: Sequence[np.ndarray] = ()) -> list[int]:
    """Return which region of each reference photo, a row, shows the concept that all of them share.

    features[p]: (R_p, D) unit vectors; sizes[p]: (R_p,) areas as a share of the photo; earlier[k]: (V_k, D) unit
    vectors, the views of the concept in an earlier photo. A region scores the mean, over the other and earlier photos,
    of its highest cosine similarity there, plus 0.1 times the square root of its size. So the larger of two equally
    similar regions is chosen, and the largest one if there is nothing to compare with.
    """
    rows = []
    for p, regions in enumerate(features):
        similarities = [regions @ other.T for q, other in enumerate(features) if q != p]
        similarities += [regions @ views.T for views in earlier]
        agreement = np.mean([s.max(axis=1) for s in similarities], axis=0) if similarities else np.zeros(len(regions))
        rows.append(int(np.argmax(agreement + 0.1 * np.sqrt(sizes[p]))))
    return rows
