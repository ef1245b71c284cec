"""The steps of a run overlap: the results are those of one step after the other, and what is written is reported."""

from contextlib import closing, nullcontext
from dataclasses import replace
from shutil import copy

import pytest

from engine.captioning.caption import prepare_run
from engine.captioning.caption_run import CaptionRequest
from engine.captioning.pipeline import caption_files, prepare_items
from engine.captioning.requested_concepts import choose_requested
from engine.photos.discovery import FoundFile
from engine.sidecars.writer import Writer
from engine.vlms import captions
from tests.learned import draw_album


@pytest.fixture
def files(tmp_path):
    """Nine photos: Rex, Rex with Anna, and nobody, by turns."""
    drawn = tmp_path / "drawn"
    names = [p.name for p in sorted(draw_album(drawn) and drawn.glob("*.jpg"))]
    album = tmp_path / "album"
    album.mkdir()
    for i in range(9):
        copy(drawn / names[i % 3], album / f"{i}-{names[i % 3]}")
    return [FoundFile(p, "photo") for p in sorted(album.glob("*.jpg"))]


def run_of(session, writer=None, **options):
    chosen = choose_requested(
        session.store, session.recogniser_config, session.recognition, session.vlm_in_use, ("rex", "anna")
    )
    return prepare_run(session, CaptionRequest(("rex", "anna"), **options), chosen, writer)


def captioned(session, files, batch_size, *, sorts=False, **options):
    run = replace(run_of(session, write=False, **options), sorts=sorts)
    return [(r.path.name, r.caption) for r in caption_files(run, files, batch_size)]


def test_photos_that_are_sorted_come_in_their_order_with_the_same_captions(session, files):
    plain = captioned(session, files, 9)
    assert [name for name, _ in plain] == [f.path.name for f in files]
    assert len({text for _, text in plain}) == 3
    assert captioned(session, files, 2, sorts=True) == plain


def test_photos_with_prompts_of_like_length_are_described_together(session, files, monkeypatch):
    told = []
    original = captions.caption

    def keep(vlm, images, concepts, *rest):
        told.append([len(c) for c in concepts])
        return original(vlm, images, concepts, *rest)

    monkeypatch.setattr(captions, "caption", keep)
    captioned(session, files, 3, sorts=True)
    assert told == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_the_limit_holds_while_steps_overlap(session, files):
    assert len(captioned(session, files, 2, limit=3)) == 3


def test_pixels_are_freed_before_sidecars_are_written(session, files):
    with closing(prepare_items(run_of(session, write=False), files, 4)) as lists:
        items = [item for items in lists for item in items]
    assert all(item.photo is None and item.embedded is not None and item.record for item in items)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_written_before_an_error_is_reported(session, files, monkeypatch, error):
    original, calls = captions.caption, []

    def fail_later(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise error("in the middle")
        return original(*arguments)

    monkeypatch.setattr(captions, "caption", fail_later)
    reported = []
    with Writer(session.folder, "caption") as writer, pytest.raises(error):
        for result in caption_files(run_of(session, writer), files, 2):
            reported.append(result.path)
    written = [f.path for f in files if f.path.with_name(f.path.name + ".xmp").exists()]
    assert written == reported == [f.path for f in files[:4]]


def test_a_run_that_is_not_read_to_its_end_stops(session, files):
    with nullcontext(caption_files(run_of(session, write=False), files, 2)) as results:
        assert next(results).path == files[0].path
        results.close()
