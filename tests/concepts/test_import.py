"""Importing what the paper's authors publish: sizes checked, no code run, and no photos are no trouble."""

import json
import os
from dataclasses import replace
from pathlib import Path

import engine.core.device  # noqa: F401

import numpy as np
import pytest
import torch

from engine.concepts.import_published import _vlm_width, guess_task, guess_vlm
from engine.concepts.object_heads import retrain_rivals
from engine.core.errors import UsageError
from engine.core.types import Kind
from engine.recognition.enrolled import can_recognise
from engine.recognition.linear_head import LinearHead
from engine.session import Session, SessionOptions
from engine.store.published import read_classifier, read_embeddings
from tests.heads import object_head
from tests.learned import draw_album
from tests.tiny_blip2 import save_tiny_blip2
from tests.tiny_llava import save_tiny_llava

NAME = "concept_embeddings_storybook_captioning.pt"


@pytest.fixture
def published(session, tmp_path):
    """Rex as the authors would publish him: an embedding file and a head file; the store forgets him."""
    concept = session.store.get("Rex")
    vector = session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).vector
    head = session.store.load_head(concept.id, session.recogniser_config.id)
    values = torch.from_numpy(vector)
    torch.save(
        {25: {"keys": torch.ones(1, 4), "values": -values}, 100: {"keys": torch.ones(1, 4), "values": 7 * values}},
        tmp_path / NAME,
    )
    scale = float(head.encode()[1]["scale"])
    classifier = {
        "classifier.weight": scale * torch.from_numpy(head.encode()[0]["weight"]),
        "classifier.bias": torch.from_numpy(head.encode()[0]["bias"]),
    }
    torch.save(classifier, tmp_path / "head.pt")
    session.store.forget("Rex")
    return tmp_path


def save(path, values):
    torch.save({100: {"keys": None, "values": values}}, path)
    return path


@pytest.mark.parametrize(
    ("file", "vlm", "task"),
    [
        ("concept_embeddings_llava_captioning.pt", "llava-1.6", "caption"),
        ("concept_embeddings_LLAVA_VQA.pt", "llava-1.6", "vqa"),
        ("concept_embeddings_llava-1.6_vqa.pt", "llava-1.6", "vqa"),
        ("concept_embeddings_storybook_captioning.pt", "storybook", "caption"),
        ("concept_embeddings_blip2_captioning.pt", "blip-2", "caption"),
        ("concept_embeddings_someone_singing.pt", None, None),
        ("embedding.pt", None, None),
    ],
)
def test_the_file_name_says_for_what(file, vlm, task):
    assert guess_vlm(Path(file)) == vlm
    assert guess_task(Path(file)) == task


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8), (3, 8), (3, 1, 8)])
def test_shapes_of_values(tmp_path, shape):
    found = read_embeddings(save(tmp_path / "e.pt", torch.nn.Parameter(torch.randn(shape).half())))
    assert found.vector.shape == (3 if 3 in shape else 1, 8)
    assert found.vector.dtype == np.float32
    assert np.allclose(np.linalg.norm(found.vector, axis=1), 1, atol=1e-5)
    assert found.iteration == 100


@pytest.mark.parametrize(
    "values", [torch.zeros(1, 8), torch.full((1, 8), float("nan")), torch.zeros(0), torch.randn(2, 2, 8), "text"]
)
def test_values_that_are_no_embedding_are_refused(tmp_path, values):
    with pytest.raises(UsageError):
        read_embeddings(save(tmp_path / "e.pt", values))


@pytest.mark.parametrize("content", [[1], {}, {"a": 1}, {5: torch.ones(3)}, {5: {"keys": torch.ones(3)}}])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "e.pt")
    with pytest.raises(UsageError, match="does not hold concept embeddings"):
        read_embeddings(tmp_path / "e.pt")


def test_a_head_with_one_output_is_the_same_as_one_with_two(tmp_path):
    """Softmax over two logits is logistic in their difference."""
    torch.manual_seed(0)
    two, bias = torch.randn(2, 8), torch.randn(2)
    torch.save({"classifier.weight": two, "classifier.bias": bias}, tmp_path / "two.pt")
    one = {"classifier.weight": two[1:] - two[:1], "classifier.bias": bias[1:] - bias[:1]}
    torch.save(one, tmp_path / "one.pt")
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    scores = [LinearHead(*read_classifier(tmp_path / f"{n}.pt"), 1.0).scores(features) for n in ("one", "two")]
    assert np.allclose(*scores, atol=1e-6)
    assert np.allclose(scores[1], torch.softmax(torch.from_numpy(features) @ two.T + bias, 1)[:, 1], atol=1e-6)


@pytest.mark.parametrize(("weight", "bias"), [((3, 8), 3), ((2, 8), 1), ((8,), 1)])
def test_other_heads_are_refused(tmp_path, weight, bias):
    torch.save({"classifier.weight": torch.ones(weight), "classifier.bias": torch.ones(bias)}, tmp_path / "h.pt")
    with pytest.raises(UsageError, match="shapes"):
        read_classifier(tmp_path / "h.pt")


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_no_code_of_a_file_is_run(myvlm, session, tmp_path):
    torch.save({100: {"keys": None, "values": Payload(tmp_path / "owned")}}, tmp_path / NAME)
    result = myvlm("concepts", "import", tmp_path / NAME, "--name", "Toy")
    assert (result.code, "is refused" in result.err) == (2, True), result.err
    assert not (tmp_path / "owned").exists()
    assert session.store.find("Toy") is None
    (tmp_path / NAME).write_bytes(b"no tensors at all")
    assert myvlm("concepts", "import", tmp_path / NAME, "--name", "Toy").code == 2
    assert myvlm("concepts", "import", tmp_path / "missing.pt", "--name", "Toy", "--vlm", "storybook").code == 2
    assert (
        "--vlm none asks for none" in myvlm("concepts", "import", tmp_path / NAME, "--name", "Toy", "--vlm", "none").err
    )


def test_an_imported_concept_is_recognised_and_named(myvlm, session, published):
    draw_album(published / "album")
    result = myvlm(
        *("concepts", "import", published / NAME, "--name", "Toy", "--kind", "pet", "--category", "dog"),
        *("--head", published / "head.pt", "--json"),
    )
    assert result.code == 0, result.err
    document = result.json
    assert (document["name"], document["identifier"], document["references"]) == ("Toy", "sks", [])
    assert (document["embeddings"][0]["steps"], document["embeddings"][0]["task"]) == (100, "caption")
    assert document["heads"][0]["threshold"] == 0.5
    found = {Path(p["file"]).stem: p for p in myvlm("caption", published / "album", "--jsonl").lines}
    assert "Toy" in found["rex"]["caption"]
    assert "Toy" not in found["nobody"]["caption"]
    assert "Toy" in myvlm("ask", published / "album" / "rex.jpg", "Where is Toy in the image?").out
    assert myvlm("locate", "toy", published / "album" / "rex.jpg", "--json").json["photos"][0]["box"]


def test_an_iteration_can_be_chosen(myvlm, session, published):
    options = ("concepts", "import", published / NAME, "--name", "Toy", "--json")
    last = myvlm(*options).json
    assert last["embeddings"][0]["steps"] == 100
    again = myvlm(*options, "--iteration", "25")
    assert (again.code, "--replace" in again.err) == (2, True)
    first = myvlm(*options, "--iteration", "25", "--replace").json
    assert (first["id"], first["embeddings"][0]["steps"]) == (last["id"], 25)
    result = myvlm(*options, "--iteration", "50")
    assert (result.code, "It has: 25, 100" in result.err) == (2, True)


def test_widths_are_checked_before_anything_is_stored(myvlm, session, published):
    wide = save(published / "concept_embeddings_storybook_vqa.pt", torch.randn(1, 4096))
    result = myvlm("concepts", "import", wide, "--name", "Toy")
    assert (result.code, "width 4096" in result.err) == (3, True), result.err
    torch.save({"classifier.weight": torch.ones(2, 1024), "classifier.bias": torch.ones(2)}, published / "head.pt")
    result = myvlm("concepts", "import", published / NAME, "--name", "Toy", "--head", published / "head.pt")
    assert (result.code, "width 1024" in result.err) == (3, True), result.err
    assert session.store.find("Toy") is None


@pytest.mark.parametrize(
    ("file", "options", "words"),
    [
        ("x.pt", (), "--vlm"),
        ("x.pt", ("--vlm", "storybook"), "--task"),
        (NAME, ("--kind", "person", "--head", "head.pt"), "faces"),
        (NAME, ("--identifier", "toyish", "--name", "Anna"), "goes by 'Bob'"),
        (NAME, ("--identifier", "Bob", "--name", "Anna"), "has an embedding"),
        (NAME, ("--identifier", "Bob", "--name", "Anna", "--kind", "pet"), "is a person, not a pet"),
        (NAME, ("--identifier", "Bob", "--name", "Anna", "--category", "mug"), "has the category"),
        (NAME, ("--identifier", "Bob", "--name", "Anna", "--replace", "--head", "head.pt"), "faces"),
    ],
)
def test_what_the_file_cannot_say_is_asked_for(myvlm, session, published, monkeypatch, file, options, words):
    monkeypatch.chdir(published)
    Path("x.pt").write_bytes(Path(NAME).read_bytes())
    result = myvlm("concepts", "import", file, "--name", "Toy", *options)
    assert (result.code, words in result.err) == (2, True), result.err


def test_without_weights_nothing_can_be_checked(myvlm, session, empty_hub, tmp_path):
    file = save(tmp_path / "concept_embeddings_llava_vqa.pt", torch.randn(1, 4096))
    result = myvlm("concepts", "import", file, "--name", "Toy")
    assert (result.code, "myvlm models pull llava-1.6" in result.err) == (3, True), result.err


def test_a_concept_without_photos_or_head_is_left_out(myvlm, session, published):
    draw_album(published / "album")
    result = myvlm("concepts", "import", published / NAME, "--name", "Toy")
    assert "not recognised yet" in result.err
    result = myvlm("caption", published / "album", "--dry-run", "--jsonl")
    assert result.code == 0, result.err
    assert "Toy was imported without" in result.err
    assert all("Toy" not in p["caption"] for p in result.lines)
    assert any("Anna" in p["caption"] for p in result.lines)
    assert myvlm("ask", published / "album" / "both.jpg", "Where is Anna in the image?").code == 0
    for command in (
        ("caption", published / "album", "--concepts", "toy", "--dry-run"),
        ("ask", published / "album", "Where is Toy?"),
        ("locate", "toy", published / "album"),
    ):
        result = myvlm(*command)
        assert (result.code, "imported without a head" in result.err) == (2, True), command
    result = myvlm("train", "toy")
    assert (result.code, "no photos to learn from" in result.err) == (1, True)
    result = myvlm("train", "--all", "--steps", "1", "--task", "vqa", "--json")
    assert [d["name"] for d in result.json["concepts"]] == ["Anna"]
    assert myvlm("concepts", "list").code == myvlm("concepts", "show", "toy").code == 0
    assert myvlm("concepts", "forget", "toy", "--yes").code == 0


def test_photos_make_it_whole_and_keep_the_embedding(myvlm, session, published, learned_folder):
    myvlm("concepts", "import", published / NAME, "--name", "Toy", "--kind", "pet")
    photos = learned_folder / "Rex"
    assert myvlm("add-concept", "Toy", photos).code == 0
    concept = session.store.get("Toy")
    assert (concept.identifier, len(concept.references)) == ("sks", 4)
    assert session.store.load_embedding(concept, session.vlm_id, session.vlm_revision).steps == 100


def test_nothing_learned_is_replaced_unless_asked(myvlm, session, published):
    def vector():
        return session.store.load_embedding(session.store.get("Anna"), session.vlm_id, session.vlm_revision).vector

    before = vector()
    options = ("concepts", "import", published / NAME, "--name", "Anna", "--identifier", "Bob")
    assert myvlm(*options).code == 2
    assert np.array_equal(vector(), before)
    assert myvlm(*options, "--replace").code == 0
    assert not np.array_equal(vector(), before)
    toy = ("concepts", "import", published / NAME, "--name", "Toy", "--head", published / "head.pt")
    assert myvlm(*toy).code == 0
    result = myvlm(*toy, "--task", "vqa")
    assert (result.code, "has a head" in result.err) == (2, True), result.err


def test_a_stray_head_never_stops_captions(myvlm, session, published):
    """A person without photos, with a head of the kind that only things have."""
    draw_album(published / "album")
    person = session.store.put("Guest", Kind.PERSON, "person", ("guest",), ())
    weight = np.zeros((2, 8), np.float32)
    model = session.recogniser_config.id
    session.store.save_head(object_head(person.id, model, 8, weight=weight))
    anna = session.store.load_embedding(session.store.get("Anna"), session.vlm_id, session.vlm_revision)
    session.store.save_embedding(replace(anna, concept_id=person.id, identifier="guest"))
    assert not can_recognise(session.store, session.recogniser_config, person)
    result = myvlm("caption", published / "album", "--dry-run", "--jsonl")
    assert result.code == 0, result.err
    assert any("Anna" in p["caption"] for p in result.lines)


@pytest.mark.parametrize(("backend", "save"), [("llava-next", save_tiny_llava), ("blip-2", save_tiny_blip2)])
def test_a_width_is_known_without_the_weights(tmp_path, monkeypatch, backend, save):
    """Of the family's defaults where the config does not say it."""
    folder = save(tmp_path / "tiny")
    facts = json.loads((folder / "config.json").read_text())
    part = "text_config" if backend == "llava-next" else "vision_config"
    del facts[part]["hidden_size"]
    (folder / "config.json").write_text(json.dumps(facts))
    monkeypatch.setattr("engine.session.load_vlm", None)
    assert _vlm_width(Session(SessionOptions(str(folder)), tmp_path)) == {"llava-next": 4096, "blip-2": 1408}[backend]


def test_an_imported_head_is_not_trained_over_by_its_rivals(myvlm, session, published):
    myvlm("concepts", "import", published / NAME, "--name", "Toy", "--kind", "pet", "--head", published / "head.pt")
    concept, model = session.store.get("Toy"), session.recogniser_config.id
    before = session.store.load_head(concept.id, model).encode()[0]["weight"]
    rival = session.store.put("Other", concept.kind, concept.category, ("Max",), ())
    assert retrain_rivals(session.store, session.recogniser_config, rival) == []
    assert np.array_equal(session.store.load_head(concept.id, model).encode()[0]["weight"], before)
