"""The table of concept embeddings: one for each concept, VLM and task, its vector in a file beside the database."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
from sqlite_utils import Database

from engine.core.errors import ArtefactError, NotTrainedError
from engine.core.tensors import load_tensors
from engine.core.types import Concept
from engine.store.rows import digest_of, model_words
from engine.store.tensor_files import replace_tensors


@dataclass(frozen=True)
class Embedding:
    """A stored concept embedding.

    vlm, revision: id and revision of the model that it was trained for; identifier: the word that stands for the
    concept in prompts; loss: the training loss at the end, 0 of an imported embedding; vector: (1, D) float32 of unit
    length, (R, D) of an imported embedding with R rows; photos: `photos_key` of the references that it was trained on,
    "" of an imported embedding.
    """

    concept_id: str
    vlm: str
    revision: str
    identifier: str
    steps: int
    seed: int
    loss: float
    vector: np.ndarray
    task: str = "caption"
    photos: str = ""


@dataclass(frozen=True)
class StoredEmbedding:
    """A stored embedding without its vector. width: the number of features, D; otherwise as in `Embedding`."""

    vlm: str
    revision: str
    width: int
    steps: int
    seed: int
    task: str
    identifier: str
    loss: float


class EmbeddingTable:
    """Read and write the embeddings of a store."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db, self._folder = db, folder

    def save(self, embedding: Embedding) -> None:
        """Store an embedding in place of the one that the concept has for this VLM and task.

        Raises:
            ArtefactError: the embedding has numbers that are not finite.
        """
        e = embedding
        if not np.isfinite(e.vector).all():
            raise ArtefactError(
                f"the embedding for {e.vlm} has numbers that are not finite and is not stored",
                hint="Train with --dtype float32 or --dtype bfloat16.",
            )
        row = [e.concept_id, e.vlm, e.revision, e.vector.shape[-1], e.steps, e.seed, e.task, e.identifier, e.loss]
        with replace_tensors(
            self._db,
            self._folder,
            e.concept_id,
            stem=(f"embedding-{e.task}", e.vlm),
            tensors={"embedding": e.vector.astype(np.float32)},
            header={"vlm": e.vlm, "revision": e.revision, "identifier": e.identifier, "seed": str(e.seed)},
        ) as (db, file):
            marks = ", ".join("?" * (len(row) + 2))
            db.execute(f"insert or replace into embeddings values ({marks})", [*row, file, e.photos])

    def load(self, concept: Concept, vlm: str, revision: str, task: str) -> Embedding:
        """Return the concept's embedding for a VLM and task.

        Raises:
            NotTrainedError: there is none for this VLM and revision.
            ArtefactError: the embedding's file cannot be read.
        """
        query = "select * from embeddings where concept_id = ? and vlm = ? and revision = ? and task = ?"
        for row in self._db.query(query, [concept.id, vlm, revision, task]):
            return Embedding(
                concept_id=concept.id,
                vlm=vlm,
                revision=revision,
                identifier=row["identifier"],
                steps=row["steps"],
                seed=row["seed"],
                loss=row["loss"],
                vector=load_tensors(self._folder / row["file"])["embedding"],
                task=task,
                photos=row["photos"],
            )
        option = "" if task == "caption" else f" --task {task}"
        raise NotTrainedError(
            f"{concept.name} is not trained yet for {model_words(vlm)}",
            hint=f"Run: myvlm train {quote(concept.name)}{option}",
        )

    def stored(self, concept_id: str) -> tuple[StoredEmbedding, ...]:
        """Return a concept's embeddings without their vectors, ordered by VLM and task."""
        query = (
            "select vlm, revision, width, steps, seed, task, identifier, loss from embeddings"
            " where concept_id = ? order by vlm, task"
        )
        return tuple(StoredEmbedding(**row) for row in self._db.query(query, [concept_id]))

    def fingerprint(self, concept: Concept, vlm: str, revision: str) -> str:
        """Return a digest of a concept's words (name, identifier, category) and of its embedding for captions."""
        rows = self._db.query(
            "select file from embeddings where concept_id = ? and vlm = ? and revision = ? and task = 'caption'",
            [concept.id, vlm, revision],
        )
        return digest_of([concept.name, concept.identifier, concept.category, *(row["file"] for row in rows)])
