"""Build the paper's tables 1, 2, 4, 5, 6 and 7, with the figures that the paper reports in the last column."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from engine.benchmarks import wordscores
from engine.benchmarks.baselines import IN_CONTEXT
from engine.benchmarks.caption_correctness import name_references, names_concept_and_companions, replace_identifier
from engine.benchmarks.experiments import MeasurementStore
from engine.benchmarks.figures import Cell, Table, make_row, measured_cell, missing_cell, text_cell
from engine.benchmarks.heads_experiment import UNTRAINED_THRESHOLD, fires
from engine.benchmarks.results_view import (
    FAMILIES,
    CaptionResult,
    NotMeasured,
    ResultsView,
    attempt,
    attempt_one,
    mean_cell,
)
from engine.benchmarks.settings import Setting
from engine.benchmarks.similarity import ClipScore, Scores, SentenceScore
from engine.benchmarks.statistics import proportion
from engine.vlms.wording import has_word

_METHODS = {"keyword": "keyword replaced", "llm": "LLM-guided", "context": "in-context photos", "myvlm": "MyVLM"}
_PAPER_1 = {
    ("BLIP-2", "keyword"): "29.30 / 84.33 / 59.33",
    ("BLIP-2", "llm"): "51.55 / 56.91 / 54.37",
    ("BLIP-2", "myvlm"): "95.10 / 79.76 / 87.11",
    ("LLaVA-1.6", "keyword"): "25.86 / 18.13 / 21.68",
    ("LLaVA-1.6", "llm"): "65.38 / 29.11 / 46.23",
    ("LLaVA-1.6", "myvlm"): "94.76 / 97.08 / 95.97",
}
_PAPER_2 = {"BLIP-2": ("75.42", "84.27", "87.11"), "LLaVA-1.6": ("88.93", "92.88", "95.97")}
_PAPER_2_MORE = {"BLIP-2": ("25.42", "62.61"), "LLaVA-1.6": ("25.24", "56.98")}
_PAPER_5 = {"photos4-noaug-nopen": "25.88", "photos4-noaug": "72.77", "photos4": "84.87"}
_ABLATIONS = {"photos4-noaug-nopen": "neither", "photos4-noaug": "penalty, no augmentation", "photos4": "both"}


def has_identifier(caption: CaptionResult) -> bool:
    """Tell whether the VLM's own text has the identifier."""
    return has_word(caption.text, caption.identifier)


def _names_right_one(caption: CaptionResult) -> bool:
    return names_concept_and_companions(caption.photo.truth, caption.text, caption.identifier)


def table_1(view: ResultsView) -> Table:
    """Build Table 1: recall of the name, by method and VLM."""
    columns = ("method", "VLM", "objects", "people", "all", "concept given", *_RIGHT, *_RIGHT_SPLITS, "paper")
    rows = []
    for vlm in view.vlms:
        family = FAMILIES.get(view.results.families.get(vlm, ""), "")
        for method, title in _METHODS.items():
            paper = text_cell(_PAPER_1.get((family, method), "—"))
            cells = attempt(partial(_recalls, view, vlm, method), 7)
            rows.append(make_row((title, view.label(vlm)), (*cells, paper)))
    return Table("1", "Recall: the identifier is in the VLM's own caption", columns, tuple(rows), _NOTES_1)


_RIGHT = ("right one, given",)
_RIGHT_SPLITS = ("right one, given: same category", "right one, given: second")
_NOTE_RIGHT = (
    '"Right one, given": the concept is given (no head), the identifier is said, and everybody else in the picture is '
    "still described as who they are, each with category and (hair) colour in one phrase."
)
_NOTES_1 = (
    "Head at the paper's threshold, one concept at a time; a photo in which the head did not fire is a miss.",
    '"concept given": the same without the head. ' + _NOTE_RIGHT,
    "A VLM that always says the class word gives the keyword baseline its recall for nothing: compare methods by the "
    "right one, with somebody of the same category beside the concept, and with the concept being the second one.",
    "Paper: objects / people / all, on its 45 concepts of real photos.",
)


def _recalls(view: ResultsView, vlm: str, method: str) -> list[Cell]:
    if method == "context":
        raise NotMeasured(f"{vlm} {IN_CONTEXT}")
    captions = list(view.captions(vlm, method))
    objects = [c for c in captions if not c.photo.is_person]
    people = [c for c in captions if c.photo.is_person]
    recalls = [view.share(group, has_identifier, recognised=True) for group in (objects, people, captions)]
    splits = [captions, *([c for c in captions if c.photo.truth.split == split] for split in ("same", "second"))]
    given = view.share(captions, has_identifier, recognised=False)
    return [*recalls, given, *(_right(view, split) for split in splits)]


def _right(view: ResultsView, captions: Sequence[CaptionResult]) -> Cell:
    return view.share(captions, _names_right_one, recognised=False) if view.drawn else missing_cell(NO_TRUTH)


NO_TRUTH = "no ground truth of a user's photos"


def table_2(view: ResultsView) -> Table:
    """Build Table 2: recall and similarities, by number of training photos."""
    columns = (
        "VLM",
        "training photos",
        "recall",
        "concept given",
        "image similarity",
        "text similarity",
        "ROUGE-L",
        "paper",
    )
    rows = []
    store, device = MeasurementStore(view.results.settings.out / "parts"), view.results.settings.device
    clip, sentences = Scores(ClipScore, store, device), Scores(SentenceScore, store, device)
    for vlm in view.vlms:
        family = FAMILIES.get(view.results.families.get(vlm, ""), "")
        for i, photos in enumerate((1, 2, 4)):
            cells = attempt(partial(_similar, view, vlm, photos, clip, sentences), 5)
            paper = _PAPER_2.get(family, ("—",) * 3)[i]
            if photos == 4 and family in _PAPER_2_MORE:
                paper += "; {} image, {} text".format(*_PAPER_2_MORE[family])
            rows.append(make_row((view.label(vlm), str(photos)), (*cells, text_cell(paper))))
    return Table("2", "Training photos", columns, tuple(rows), _NOTES_2)


_NOTES_2 = (
    "The head is the one of four photos throughout: what changes is what the embedding learns from.",
    "Similarities are of the caption with its identifier replaced by the class word first. ROUGE-L (0..100, nearest "
    "ground-truth caption) is ours: it needs no weights.",
)


def _similar(view: ResultsView, vlm: str, photos: int, clip: Scores, sentences: Scores) -> list[Cell]:
    captions = list(view.captions(vlm, "myvlm", Setting(photos).key))
    recall = [view.share(captions, has_identifier, recognised=r) for r in (True, False)]
    with_truth = [c for c in captions if c.photo.truth.references]
    texts = [replace_identifier(c.text, c.identifier, c.photo.category) for c in with_truth]
    references = [
        [replace_identifier(r, c.identifier, c.photo.category) for r in name_references(c.photo.truth, c.identifier)]
        for c in with_truth
    ]
    name, digest = f"{vlm}-{Setting(photos).key}", view.results.settings.digest()
    image = attempt_one(lambda: _image_similarity(view, name, captions, clip))
    if not with_truth:
        return [*recall, image, missing_cell("no ground-truth captions"), missing_cell("no ground-truth captions")]
    text = attempt_one(lambda: mean_cell(sentences.of(f"{name}-text", digest, texts, references), 100.0))
    pairs = list(zip(texts, references, strict=True))
    return [*recall, image, text, attempt_one(lambda: mean_cell([100 * wordscores.rouge_l(*p) for p in pairs], 100.0))]


def _image_similarity(view: ResultsView, name: str, captions: Sequence[CaptionResult], clip: Scores) -> Cell:
    root = view.results.settings.data
    if root is None:
        return missing_cell("CLIP does not know drawings; use --data")
    texts = [replace_identifier(c.text, c.identifier, c.photo.category) for c in captions]
    photos = [root / c.photo.truth.id for c in captions]
    return mean_cell(clip.of(f"{name}-image", view.results.settings.digest(), photos, texts), 100.0)


def table_4(view: ResultsView) -> Table:
    """Build Table 4: in-context reference photos, which no VLM here takes."""
    rows = [
        make_row((view.label(v),), (missing_cell(f"{v} {IN_CONTEXT}"), text_cell("49.77 / 74.81"))) for v in view.vlms
    ]
    title = "In-context reference photos instead of an embedding"
    return Table("4", title, ("VLM", "recall", "paper (OpenFlamingo, objects / people)"), tuple(rows))


def table_5(view: ResultsView) -> Table:
    """Build Table 5: training without augmentation, and without the attention penalty."""
    columns = ("VLM", "training", "recall", "concept given", *_RIGHT, "training CE", "paper (BLIP-2)")
    rows = []
    for vlm in view.vlms:
        for key, title in _ABLATIONS.items():
            cells = attempt(partial(_ablation, view, vlm, key), 4)
            rows.append(make_row((view.label(vlm), title), (*cells, text_cell(_PAPER_5[key]))))
    notes = (
        "CE: mean cross-entropy of the last ten steps, on the images as trained (unaugmented ones are easier): an "
        "ordering of recalls means little between runs of different CE.",
        _NOTE_RIGHT,
    )
    return Table("5", "Ablations: augmentation and attention penalty", columns, tuple(rows), notes)


def _ablation(view: ResultsView, vlm: str, key: str) -> list[Cell]:
    captions = list(view.captions(vlm, "myvlm", key))
    losses = [r["loss"] for measurement in view.measurements(vlm, key) for r in measurement["learned"]]
    recalls = [view.share(captions, has_identifier, recognised=r) for r in (True, False)]
    return [*recalls, _right(view, captions), mean_cell(losses)]


def table_6(view: ResultsView) -> Table:
    """Build Table 6: captions against ground-truth captions."""
    methods = {"plain": "without concepts", "keyword": "keyword replaced", "myvlm": "MyVLM"}
    columns = ("VLM", "captions", *wordscores.NAMES, "SPICE")
    rows = []
    for vlm in view.vlms:
        for method, title in methods.items():
            cells = attempt(partial(_word_scores, view, vlm, method), len(wordscores.NAMES))
            rows.append(make_row((view.label(vlm), title), (*cells, missing_cell("needs Java"))))
    notes = (
        "Scores ×100, as in the paper (CIDEr-D runs to 1,000). References: every way the world's language has of "
        "captioning the scene with the concept's name in it. BLEU is corpus BLEU of each concept, averaged; METEOR "
        "matches exact words and stems (WordNet is a download). The concept is given. Without concepts no caption can "
        "hold the name, which costs every score a little.",
    )
    return Table("6", "Captions against the ground truth", columns, tuple(rows), notes)


def _word_scores(view: ResultsView, vlm: str, method: str) -> list[Cell]:
    captions = [c for c in view.captions(vlm, method) if c.photo.truth.references]
    if not captions:
        raise NotMeasured("no ground-truth captions")
    pairs = [(c.text, name_references(c.photo.truth, c.identifier)) for c in captions]
    by_concept = defaultdict(list)
    for caption, pair in zip(captions, pairs, strict=True):
        by_concept[caption.seed, caption.photo.concept].append(pair)

    def bleu() -> list[Cell]:
        scores = [wordscores.bleu(group) for group in by_concept.values()]
        return [mean_cell([100 * b[n] for b in scores], 100.0) for n in range(4)]

    return [
        *attempt(bleu, 4),
        attempt_one(lambda: mean_cell([100 * wordscores.meteor(*p) for p in pairs], 100.0)),
        attempt_one(lambda: mean_cell([100 * wordscores.rouge_l(*p) for p in pairs], 100.0)),
        mean_cell([100 * v for v in wordscores.cider(pairs)], 1000.0),
    ]


def table_7(view: ResultsView) -> Table:
    """Build Table 7: heads for faces, and for objects."""
    columns = ("heads", "recall", "wrong", "missed", "false on others", "false on strangers", "paper")
    rows = []
    by_recogniser = {view.results.recognisers[v]: v for v in reversed(view.vlms) if v in view.results.recognisers}
    for recogniser, vlm in sorted(by_recogniser.items()):
        for head, title, paper in _HEADS:
            cells = attempt(partial(_heads, view, vlm, head), 5)
            rows.append(make_row((f"{title} ({recogniser})",), (*cells, text_cell(paper))))
    measurements = [m for r in by_recogniser for m in view.results.heads.get(r, {}).values()]
    untrained = [head.get("untrained", "") for m in measurements for head in m.get("heads", ())]
    why = "; ".join(sorted({reason for reason in untrained if reason}))
    notes = (
        "Wrong: the head fired, but elsewhere than where the concept is (drawn photos only: without ground truth every "
        "hit counts as right). Others: photos of the seed's other concepts of the kind. Strangers: random ones, of the "
        "same category, and drawn look-alikes.",
        "A head that could not be trained misses everything; it is left out of what fires falsely. There are "
        f"{sum(map(bool, untrained))} such of {len(untrained)}" + (f": {why}." if why else "."),
    )
    return Table("7", "Heads, each alone", columns, tuple(rows), notes)


_HEADS = (
    ("face", "faces", "96.39 / 2.33 wrong / 1.28 missed"),
    ("linear", "objects", "226 of 234; 95,724 of 105,328 negatives rejected"),
)


def _heads(view: ResultsView, vlm: str, head: str) -> list[Cell]:
    right, wrong, missed, others, strangers = [], [], [], [], []
    for seed in view.results.settings.seeds:
        for r in (r for r in view.heads(vlm, seed)["heads"] if r["head"] == head):
            for photo in r["own"]:
                fired = fires(photo, r["threshold"])
                right.append(fired and photo["right"] is not False)
                wrong.append(fired and photo["right"] is False)
                missed.append(not fired)
            if r["threshold"] == UNTRAINED_THRESHOLD:
                continue
            others += [score is not None and score >= r["threshold"] for score in r["others"]]
            strangers += [fires(s, r["threshold"]) for s in r["strangers"]]
    return [measured_cell(proportion(v)) for v in (right, wrong, missed, others, strangers)]
