"""Rank photos by how well they match a description: the cosine similarity of an encoder's image and text features.

Every photo that the encoder has seen has a rank. There is no value from which a photo "shows" a description: the
similarities of photos that show one description overlap with those of photos that do not show another.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from engine.core.errors import WeightsMissingError
from engine.library.candidates import Candidates, find_candidates
from engine.library.index import LibraryIndex
from engine.library.search import CHECKED, COLUMNS, FoundPhoto, SearchCounts, SearchRequest, has_changed, read_row
from engine.store.known_contents import KnownContents
from engine.vision.config import RecogniserConfig, list_recognisers
from engine.vision.photo_vectors import DamagedVectorsError, PhotoVectors

MOST = 20
"""Photos that a search by meaning gives where nobody says how many: every photo has a rank."""
_DIGITS = 5
"""Digits of a similarity that count: those after it depend on how many photos are compared at a time."""


@dataclass(frozen=True)
class Description:
    """What photos should show.

    update: brings the vectors of the photos up to date. encode: computes the vector of a text, (D,) of unit length;
    loads the model.
    """

    text: str
    vectors: PhotoVectors
    update: Callable[[], None]
    encode: Callable[[str], np.ndarray]

    def vector(self) -> np.ndarray:
        """Return the vector of the text; the model is loaded only for a text that was not searched for before."""
        vector = self.vectors.text(self.text)
        if vector is None:
            vector = self.encode(self.text)
            self.vectors.keep_text(self.text, vector)
        return vector


def choose_encoder(recogniser: RecogniserConfig, *, asked: bool) -> RecogniserConfig:
    """Return the recogniser whose encoder compares photos with texts: the one in use, or else one on this disk.

    asked: whether the user named the recogniser for this search.

    Raises:
        WeightsMissingError: it cannot compare them, and no other on this disk can.
    """
    able = [c for c in (recogniser, *list_recognisers()) if c.text_language]
    if recogniser in able:
        return recogniser
    on_disk = next((c for c in able if c.encoder_on_disk), None)
    if on_disk is not None and not asked:
        return on_disk
    name = able[0].name
    steps = f"myvlm scan PATHS --recogniser {name} --regions-only, then search with --recogniser {name}"
    fetch = "" if on_disk else f"myvlm models pull {name}, "
    raise WeightsMissingError(
        f"the recogniser {recogniser.name} compares photos with photos, but not with descriptions",
        hint=f"Use {name}: {fetch}{steps}. To always use it: myvlm config set recogniser {name}",
    )


def text_encoder(encoder: RecogniserConfig) -> Callable[[str], np.ndarray]:
    """Load the text tower of a recogniser's encoder; return what computes the vector of a text.

    Raises:
        WeightsMissingError: its weights are not on this disk.
    """
    if not encoder.encoder_on_disk:
        raise WeightsMissingError(
            f"the weights of {encoder.name} are not on this disk", hint=f"Run: myvlm models pull {encoder.name}"
        )
    from engine.vision.encoder import EncoderSource
    from engine.vision.text_encoder import TextEncoder

    return TextEncoder(EncoderSource(encoder.name, encoder.encoder, encoder.pretrained)).encode


def search_like(
    folder: Path, request: SearchRequest, description: Description, counts: SearchCounts
) -> Iterator[FoundPhoto]:
    """Yield the photos that fulfil a request, the most similar to a description first; equal ones by path.

    Photos that were scanned but have no sidecars are among them if the request asks for nothing that sidecars say.

    folder: the data folder. counts: is filled while results are taken.

    Raises:
        StoreError: the index is damaged or in use.
        WeightsMissingError, UsageError: the description cannot be encoded.
    """
    with LibraryIndex(folder, create=False) as index:
        candidates, scores = _compare_or_renew(index, request, description)
        counts.indexed, counts.unscanned = candidates.indexed, candidates.unscanned
        with index.guarded() as db:
            number = 0
            for photo_id, photo in _ranked(db, candidates, scores, request):
                if photo_id >= 0 and not os.path.lexists(photo.file):
                    counts.gone += 1
                    continue
                if number == request.limit:
                    counts.more = True
                    return
                counts.changed += photo_id >= 0 and number < CHECKED and has_changed(db, photo_id)
                yield photo
                number += 1


def _compare_or_renew(
    index: LibraryIndex, request: SearchRequest, description: Description
) -> tuple[Candidates, np.ndarray]:
    """Do as `_compare`; damaged vectors are made anew. If new ones seem damaged, too, the index is."""
    try:
        return _compare(index, request, description)
    except DamagedVectorsError:
        index.close()  # it still sees them
    with index.guarded():
        try:
            return _compare(index, request, description)
        except DamagedVectorsError as err:
            if isinstance(err.__cause__, sqlite3.DatabaseError):
                raise err.__cause__ from None
            raise


def _compare(index: LibraryIndex, request: SearchRequest, description: Description) -> tuple[Candidates, np.ndarray]:
    """Return the photos to rank, and their similarities to the description: (N,)."""
    description.update()
    contents = KnownContents(index.path.parent / "cache")
    candidates = find_candidates(index, request, description.vectors, contents)
    if not len(candidates.ids):
        return candidates, np.empty(0, np.float32)
    scores = description.vectors.likeness(candidates.positions, description.vector())
    return candidates, scores.round(_DIGITS)


def _ranked(
    db: sqlite3.Connection, candidates: Candidates, scores: np.ndarray, request: SearchRequest
) -> Iterator[tuple[int, FoundPhoto]]:
    """Yield the ids of candidates with what is known of the photos, the highest score first; of one score by path."""
    order = np.lexsort((candidates.ids, -scores)).tolist()
    for score, equal in groupby(order, key=lambda k: round(float(scores[k]), _DIGITS)):
        ids = [int(candidates.ids[k]) for k in equal]
        rows = [(i, _read(db, candidates, i, request, score)) for i in ids]
        yield from sorted(((i, photo) for i, photo in rows if photo is not None), key=lambda row: row[1].file)


def _read(
    db: sqlite3.Connection, candidates: Candidates, photo_id: int, request: SearchRequest, score: float
) -> FoundPhoto | None:
    """Return what is known of a candidate; None if it was removed from the index meanwhile."""
    if photo_id < 0:
        path = os.fspath(candidates.bare[-1 - photo_id])
        return FoundPhoto(path, "", "", "[]", None, None, None, 0, {}, score)
    row = db.execute(f"select {COLUMNS} from photos where id = ?", [photo_id]).fetchone()
    return None if row is None else replace(read_row(row[1:], request.near, candidates.present), likeness=score)
