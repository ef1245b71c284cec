"""Small concept heads for tests."""

import numpy as np

from engine.store.heads import ObjectHead


def object_head(concept_id: str, encoder: str = "enc", width: int = 4, **values: object) -> ObjectHead:
    """Return a head with constant weights and no views."""
    none = np.zeros((0, width), np.float32)
    given = {"weight": np.ones((2, width), np.float32), "bias": np.zeros(2, np.float32), "scale": 1.0, **values}
    return ObjectHead(concept_id=concept_id, encoder=encoder, threshold=0.5, views=none, background=none, **given)
