"""Time captioning: steps that overlap against one after the other, and batches against the published loop."""

from collections.abc import Callable, Iterator
from statistics import median

import engine.core.device  # noqa: F401

import torch
from PIL import Image

from engine.benchmarks.speed.drawn_library import OPTIONS, draw_photos, fresh_session
from engine.benchmarks.speed.measurement import Measurement, SpeedSettings, in_turn
from engine.captioning.caption import prepare_run
from engine.captioning.caption_run import CaptionRequest, CaptionRun
from engine.captioning.describe import describe
from engine.captioning.photo_steps import read, recognise_photos
from engine.captioning.pipeline import caption_files
from engine.captioning.requested_concepts import choose_requested
from engine.captioning.results import PhotoResult
from engine.captioning.write import write_photos
from engine.core.batches import in_batches
from engine.photos.decode import load_photo
from engine.photos.discovery import FoundFile
from engine.session import Session
from engine.sidecars.writer import Writer
from engine.vlms import captions
from engine.vlms.base import Vlm
from engine.vlms.clean_text import clean_text

PHOTOS = 48
_PUBLISHED_TOKENS = 512
"""New tokens that MyVLM's published code allows for a caption of LLaVA (its inference configuration)."""


def measure(settings: SpeedSettings) -> list[Measurement]:
    """Caption drawn photos of one to three enrolled concepts in each of the ways."""
    files = draw_photos(settings.work, settings.photos or PHOTOS, settings.seed)
    return [_measure_steps(settings, files), _measure_batches(settings, files)]


def _measure_steps(settings: SpeedSettings, files: list[FoundFile]) -> Measurement:
    vlm = Session(OPTIONS, settings.work / "home").vlm

    def once(way: Callable[[CaptionRun, list[FoundFile], int], Iterator[PhotoResult]]) -> None:
        session, _ = fresh_session(settings.work, cached=True)
        session.__dict__["vlm"] = vlm  # in place of the cached property
        options = (session.recogniser_config, session.recognition, session.vlm_in_use)
        concepts = choose_requested(session.store, *options, None)
        with Writer(session.folder, "caption") as writer:
            run = prepare_run(session, CaptionRequest(), concepts, writer)
            for _ in way(run, files, session.batch):
                pass

    ours, theirs = in_turn(lambda: once(caption_files), lambda: once(one_after_the_other), settings.rounds)
    return Measurement(
        "captions",
        f"caption {len(files)} drawn photos with the storybook's LLaVA, and write sidecars",
        "reading, recognition, captions and writing overlap",
        "one step of a batch after the other, as before",
        ours,
        theirs,
        predicted="1.1 to 1.3 on two cores, which the VLM keeps busy by itself; more on a GPU",
        extra={"photos a second": len(files) / median(ours)},
    )


def one_after_the_other(run: CaptionRun, files: list[FoundFile], batch_size: int) -> Iterator[PhotoResult]:
    """Caption files batch by batch; only reading and decoding run ahead."""
    for items in in_batches(files, lambda file: read(run, file), batch_size):
        yield from write_photos(run, describe(run, recognise_photos(run, items), batch_size))


def _measure_batches(settings: SpeedSettings, files: list[FoundFile]) -> Measurement:
    """Compare the VLM's part alone: batches against one photo at a time, as the published code captions."""
    vlm = Session(OPTIONS, settings.work / "home").vlm
    images = [load_photo(f.path).image for f in files]
    size = vlm.config.batch

    def in_batches_of_ours() -> list[str]:
        batches = [images[i : i + size] for i in range(0, len(images), size)]
        return [c.text for batch in batches for c in captions.caption(vlm, batch, [[]] * len(batch))]

    ours, theirs = in_turn(in_batches_of_ours, lambda: published_loop(vlm, images), settings.rounds)
    return Measurement(
        "captions",
        f"generate captions of {len(images)} drawn photos with the storybook's LLaVA",
        f"batches of {size}, at most {vlm.config.max_new_tokens} new tokens",
        f"one photo at a time, at most {_PUBLISHED_TOKENS} new tokens (the published loop, without its 4-bit weights)",
        ours,
        theirs,
        target=">= 20 with LLaVA-1.6-7B on a GPU, batches of 32",
        predicted="3 to 6 on two cores: the tiny model's time is mostly the call of each layer, once a batch",
        extra={"photos a second": len(images) / median(ours)},
    )


def published_loop(vlm: Vlm, images: list[Image.Image]) -> list[str]:
    """Caption photos one at a time, without concepts."""
    texts = []
    for image in images:
        rows = vlm.inject(vlm.encode(vlm.preprocess([image])), [torch.zeros(0, vlm.width)])
        (said,) = vlm.generate(rows, [vlm.encode_prompt(vlm.config.request("caption"))], _PUBLISHED_TOKENS)
        texts.append(clean_text(said.text, capped=said.capped))
    return texts
