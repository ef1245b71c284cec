"""`myvlm search --like`: rank photos by how well they match a description."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from myvlm_cli.output import out
from myvlm_cli.sessions import open_session
from myvlm_cli.words import count

if TYPE_CHECKING:
    from engine.library.search import FoundPhoto, SearchCounts, SearchRequest
    from engine.session import Session
    from engine.vision.config import RecogniserConfig


@dataclass(frozen=True)
class LikeSearch:
    """A search by meaning. encoder: the recogniser whose encoder compares photos with the description."""

    description: str
    encoder: "RecogniserConfig"
    session: "Session"

    @classmethod
    def open(cls, description: str, recogniser: str | None) -> "LikeSearch":
        """Choose the encoder; no model is loaded. recogniser: the option.

        Raises:
            UsageError: no recogniser has that name.
            WeightsMissingError: none that can compare photos with descriptions is on this disk.
        """
        from engine.library.like import choose_encoder
        from engine.session import SessionOptions

        session = open_session(SessionOptions(recogniser=recogniser), create=False)
        encoder = choose_encoder(session.recogniser_config, asked=recogniser is not None)
        return cls(description, encoder, session)

    def search(self, request: "SearchRequest", counts: "SearchCounts") -> "Iterator[FoundPhoto]":
        """Bring the matrix of features up to date, and yield the most similar photos first."""
        from engine.library.like import Description, search_like, text_encoder
        from engine.vision.photo_vectors import PhotoVectors

        cached_ids = self.session.with_recogniser(self.encoder.name).extractor.cached_ids(faces=False, regions=True)
        vectors = PhotoVectors(self.session.folder / "cache", cached_ids)

        def update() -> None:
            with out.progress("reading features", None) as bar:

                def step(copied: int) -> None:
                    for _ in range(copied):
                        bar.advance()

                vectors.update(self.session.cache, step)

        description = Description(self.description, vectors, update, lambda text: text_encoder(self.encoder)(text))
        try:
            yield from search_like(self.session.folder, request, description, counts)
        finally:
            vectors.close()

    def tell(self, counts: "SearchCounts", found: int) -> None:
        """Print how the photos are ordered, and which were not compared with the description."""
        if counts.more:
            out.say(f"the {count(found, 'photo')} most like it, the best first; --limit N gives more")
        elif found:
            out.say(f"{count(found, 'photo')}, the one most like it first: each has a rank, so the last may not fit")
        else:
            out.say("no photo found")
        name = self.encoder.name
        scan = f"myvlm scan PATHS --recogniser {name} --regions-only"
        if counts.unscanned:
            were = "was" if counts.unscanned == 1 else "were"
            out.say(f"{count(counts.unscanned, 'photo')} {were} not scanned with {name}. Next: {scan}")
        elif not found:
            out.say(f"--like finds photos that were scanned. Next: {scan}")
