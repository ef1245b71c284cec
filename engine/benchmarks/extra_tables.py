"""Table 6, and what the paper lacks: context against ground truth, leakage, crowds, questions, boxes."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from engine.benchmarks import wordscores
from engine.benchmarks.caption_correctness import (
    SORTS,
    companions_right,
    leaks,
    objects_right,
    place_right,
    references_with,
)
from engine.benchmarks.crowd_experiment import f1
from engine.benchmarks.drawn_cases import CROWDS
from engine.benchmarks.figures import Cell, Table, measured, missing, row
from engine.benchmarks.results_view import NotMeasured, Said, View, attempt, attempt_one, means
from engine.benchmarks.statistics import mean, proportion, ratio
from engine.benchmarks.tables import NO_TRUTH, named

_SPLITS = ("one", "diff", "same", "second")
_SPLIT_TITLES = ("alone", "another category", "same category", "second")


def table_6(view: View) -> Table:
    """Captions against ground-truth captions."""
    methods = {"plain": "without concepts", "keyword": "keyword replaced", "myvlm": "MyVLM"}
    columns = ("VLM", "captions", *wordscores.NAMES, "SPICE")
    rows = []
    for vlm in view.vlms:
        for method, title in methods.items():
            cells = attempt(lambda v=vlm, m=method: _word_scores(view, v, m), len(wordscores.NAMES))  # type: ignore[misc]
            rows.append(row((view.label(vlm), title), (*cells, missing("needs Java"))))
    notes = (
        "Scores ×100, as in the paper (CIDEr-D runs to 1,000). References: every way the world's language has of "
        "captioning the scene with the concept's name in it. BLEU is corpus BLEU of each concept, averaged; METEOR "
        "matches exact words and stems (WordNet is a download). The concept is given. Without concepts no caption can "
        "hold the name, which costs every score a little.",
    )
    return Table("6", "Captions against the ground truth", columns, tuple(rows), notes)


def _word_scores(view: View, vlm: str, method: str) -> list[Cell]:
    found = [s for s in view.captions(vlm, method) if s.shown.truth.references]
    if not found:
        raise NotMeasured("no ground-truth captions")
    pairs = [(s.text, references_with(s.shown.truth, s.identifier)) for s in found]
    grouped = defaultdict(list)
    for s, pair in zip(found, pairs, strict=True):
        grouped[s.seed, s.shown.concept].append(pair)

    def bleu() -> list[Cell]:
        scores = [wordscores.bleu(own) for own in grouped.values()]
        return [means([100 * b[n] for b in scores], 100.0) for n in range(4)]

    return [
        *attempt(bleu, 4),
        attempt_one(lambda: means([100 * wordscores.meteor(*p) for p in pairs], 100.0)),
        attempt_one(lambda: means([100 * wordscores.rouge_l(*p) for p in pairs], 100.0)),
        means([100 * v for v in wordscores.cider(pairs)], 1000.0),
    ]


def more_tables(view: View) -> list[Table]:
    """Everything beyond the paper."""
    return [
        recall_by_split(view),
        context(view),
        leakage(view),
        crowds(view),
        answers(view),
        questions(view),
        boxes(view),
    ]


def recall_by_split(view: View) -> Table:
    """MyVLM's recall by where the concept is."""

    def cells(vlm: str) -> list[Cell]:
        found = list(view.captions(vlm, "myvlm"))
        return [_by_split(view, found, s) for s in _SPLITS]

    return _per_vlm(view, "splits", "Recall by split (concept given)", _SPLIT_TITLES, cells, drawn=True)


def _by_split(view: View, found: Sequence[Said], split: str) -> Cell:
    return view.share([s for s in found if s.shown.truth.split == split], named, recognised=False)


def context(view: View) -> Table:
    """What captions say beside the name, with and without the concept."""
    columns = ("VLM", "captions", "place", "objects", "companions", "place and objects", "share of plain's")
    rows = []
    for vlm in view.vlms:
        for method, title in (("plain", "without concepts"), ("myvlm", "MyVLM")):
            cells = attempt(lambda v=vlm, m=method: _context(view, v, m), 5)  # type: ignore[misc]
            rows.append(row((view.label(vlm), title), cells))
    notes = (
        "Right: exactly the place, exactly the objects that are held; everybody beside the concept with category and "
        "(hair) colour in one phrase, where there is somebody. Share of plain's: place and objects right, as a "
        "multiple of the same without concepts on the same photos; its interval is a paired bootstrap's over photos.",
    )
    return Table("context", "Context against the ground truth", columns, tuple(rows), notes)


def _context(view: View, vlm: str, method: str) -> list[Cell]:
    if not view.drawn:
        raise NotMeasured(NO_TRUTH)
    found = list(view.captions(vlm, method))
    plain = list(view.captions(vlm, "plain"))
    share = ratio([_both(s) for s in found], [_both(s) for s in plain])
    beside = [s for s in found if s.shown.truth.others]
    return [
        measured(proportion([place_right(s.shown.truth, s.text) for s in found])),
        measured(proportion([objects_right(s.shown.truth, s.text) for s in found])),
        measured(proportion([companions_right(s.shown.truth, s.text) for s in beside])),
        measured(proportion([_both(s) for s in found])),
        measured(share) if share.n else missing("never right without concepts"),
    ]


def _both(s: Said) -> bool:
    return place_right(s.shown.truth, s.text) and objects_right(s.shown.truth, s.text)


def leakage(view: View) -> Table:
    """Words of the training photos where they are wrong."""
    columns = ("VLM", "captions", *SORTS, "any")
    rows = []
    for vlm in view.vlms:
        for method, title in (("plain", "without concepts"), ("myvlm", "MyVLM")):
            cells = attempt(lambda v=vlm, m=method: _leakage(view, v, m), len(SORTS) + 1)  # type: ignore[misc]
            rows.append(row((view.label(vlm), title), cells))
    notes = (
        "Captions with a place, an object or a companion's category of the concept's training photos that is not in "
        "their own picture. What the un-personalised VLM says by mistake is the base rate.",
    )
    return Table("leakage", "Leakage of the training photos' context", columns, tuple(rows), notes)


def _leakage(view: View, vlm: str, method: str) -> list[Cell]:
    if not view.drawn:
        raise NotMeasured(NO_TRUTH)
    found = [leaks(s.shown, s.text) for s in view.captions(vlm, method)]
    by_sort = [[f[sort] for f in found if sort in f] for sort in SORTS]
    return [measured(proportion(v)) for v in (*by_sort, [any(f.values()) for f in found])]


def crowds(view: View) -> Table:
    """Names said against names present, one to four concepts in a photo."""
    columns = ("VLM", "names", "1 concept", "2 concepts", "3 concepts", "4 concepts")
    forms = {
        "given_raw": "concepts given, the VLM's own words",
        "given_said": "concepts given, names put in",
        "raw": "recognised, the VLM's own words",
        "said": "recognised, names put in",
        "recognised": "recognised (the recogniser alone)",
    }
    rows = []
    for vlm in view.vlms:
        for form, title in forms.items():
            cells = attempt(lambda v=vlm, f=form: _crowd_cells(view, v, f), 4)  # type: ignore[misc]
            rows.append(row((view.label(vlm), title), cells))
    notes = (
        "F1 of the set of names said against the set present, averaged over photos. Everybody of the seed is enrolled "
        "at once with an identifier of their own, at myvlm's own thresholds. Names that the VLM left out are put in.",
    )
    return Table("crowds", "Several concepts in one photo: F1 of names", columns, tuple(rows), notes)


def _crowd_cells(view: View, vlm: str, form: str) -> list[Cell]:
    _needs_truth(view)
    rows = [r for part in view.parts(vlm, "crowds") for r in part["crowds"]]
    scores = [[f1(r[form], r["present"]) for r in rows if len(r["present"]) == n] for n in CROWDS]
    return [means(own, 1.0, percent=True) for own in scores]


def answers(view: View) -> Table:
    """Questions answered exactly right, by split."""
    columns = ("VLM", "embedding", "all", *_SPLIT_TITLES)
    rows = []
    for vlm in view.vlms:
        for key, title in (("answers", "captions only"), ("answers_vqa", "captions and questions")):
            cells = attempt(lambda v=vlm, k=key: _answer_cells(view, v, k), 5)  # type: ignore[misc]
            rows.append(row((view.label(vlm), title), cells))
    notes = ("The concept is given; right only when the answer equals the true one, word for word.",)
    return Table("vqa", "Questions answered exactly right", columns, tuple(rows), notes)


def _answer_cells(view: View, vlm: str, key: str) -> list[Cell]:
    _needs_truth(view)
    rows = [r for part in view.parts(vlm, key) for r in part["answers"]]
    groups = [rows, *([r for r in rows if r["split"] == s] for s in _SPLITS)]
    return [measured(proportion([r["said"] == r["truth"] for r in g])) for g in groups]


def questions(view: View) -> Table:
    """Questions answered exactly right, by question."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for vlm in view.vlms:
        try:
            _needs_truth(view)
            for part in view.parts(vlm, "answers_vqa"):
                for r in part["answers"]:
                    found[r["question"]][vlm].append(r["said"] == r["truth"])
        except NotMeasured:
            continue
    able = [v for v in view.vlms if any(v in by for by in found.values())]
    rows = [row((q,), [measured(proportion(by.get(v, []))) for v in able]) for q, by in sorted(found.items())]
    columns = ("question", *(view.label(v) for v in able))
    notes = ("With the embedding learned for answering; VLMs without answers are in the table before.",)
    return Table("questions", "Answers by question", columns, tuple(rows), notes)


def boxes(view: View) -> Table:
    """IoU of boxes, by the VLM's own grounding and by recognition; false names."""

    def cells(vlm: str) -> list[Cell]:
        return [
            *attempt(lambda: _refer_cells(view, vlm), 3),
            *attempt(lambda: _recognition_cells(view, vlm), 2),
        ]

    columns = ("IoU by refer", "IoU ≥ 0.5 by refer", "no box", "IoU by recognition", "false names per 1,000 photos")
    notes = (
        "By refer: the VLM is asked for the box of the identifier, the concept given; no box counts as IoU 0. By "
        "recognition: where the concept was recognised with everybody enrolled (people: their faces). False names: "
        "over all validation and strangers' photos, a third of the latter drawn look-alikes, at myvlm's thresholds.",
    )
    return _per_vlm(view, "boxes", "Boxes and false names", columns, cells, drawn=True, notes=notes)


def _refer_cells(view: View, vlm: str) -> list[Cell]:
    rows = [r for part in view.parts(vlm, "boxes") for r in part["boxes"]]
    half = measured(proportion([r["iou"] >= 0.5 for r in rows]))
    return [means([r["iou"] for r in rows], 1.0), half, measured(proportion([not r["found"] for r in rows]))]


def _recognition_cells(view: View, vlm: str) -> list[Cell]:
    parts = list(view.parts(vlm, "crowds"))
    false = mean([r["false"] for p in parts for r in p["names"]]).clipped(0.0, math.inf).scaled(1000.0)
    return [means([b["iou"] for p in parts for b in p["boxes"]], 1.0), measured(false, percent=False)]


def _needs_truth(view: View) -> None:
    if not view.drawn:
        raise NotMeasured(NO_TRUTH)


def _per_vlm(
    view: View,
    name: str,
    title: str,
    columns: Sequence[str],
    cells: Callable[[str], list[Cell]],
    *,
    drawn: bool,
    notes: tuple[str, ...] = (),
) -> Table:
    def checked(vlm: str) -> list[Cell]:
        if drawn:
            _needs_truth(view)
        return cells(vlm)

    rows = [row((view.label(v),), attempt(lambda v=v: checked(v), len(columns))) for v in view.vlms]  # type: ignore[misc]
    return Table(name, title, ("VLM", *columns), tuple(rows), notes)
