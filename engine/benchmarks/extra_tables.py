"""Build the tables that the paper lacks: recall by split, context, leakage, several concepts, questions, boxes."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from engine.benchmarks.caption_correctness import (
    CONTEXT_SORTS,
    find_leaks,
    has_right_companions,
    has_right_objects,
    has_right_place,
)
from engine.benchmarks.drawn_cases import CROWD_SIZES
from engine.benchmarks.figures import Cell, Table, make_row, measured_cell, missing_cell
from engine.benchmarks.results_view import CaptionResult, NotMeasured, ResultsView, attempt, mean_cell
from engine.benchmarks.statistics import f1, mean, proportion, ratio
from engine.benchmarks.tables import NO_TRUTH, has_identifier

_SPLITS = ("one", "diff", "same", "second")
_SPLIT_TITLES = ("alone", "another category", "same category", "second")


def extra_tables(view: ResultsView) -> list[Table]:
    """Build all tables that the paper lacks."""
    return [
        recall_by_split(view),
        context(view),
        leakage(view),
        crowds(view),
        answers(view),
        questions(view),
        boxes(view),
    ]


def recall_by_split(view: ResultsView) -> Table:
    """Build the table of MyVLM's recall by split."""

    def cells(vlm: str) -> list[Cell]:
        captions = list(view.captions(vlm, "myvlm"))
        by_split = [[c for c in captions if c.photo.truth.split == split] for split in _SPLITS]
        return [view.share(split, has_identifier, recognised=False) for split in by_split]

    return _per_vlm(view, "splits", "Recall by split (concept given)", _SPLIT_TITLES, cells)


def context(view: ResultsView) -> Table:
    """Build the table of places, objects and companions in captions, with and without the concept."""
    columns = ("VLM", "captions", "place", "objects", "companions", "place and objects", "share of plain's")
    rows = []
    for vlm in view.vlms:
        for method, title in (("plain", "without concepts"), ("myvlm", "MyVLM")):
            cells = attempt(partial(_context, view, vlm, method), 5)
            rows.append(make_row((view.label(vlm), title), cells))
    notes = (
        "Right: exactly the place, exactly the objects that are held; everybody beside the concept with category and "
        "(hair) colour in one phrase, where there is somebody. Share of plain's: place and objects right, as a "
        "multiple of the same without concepts on the same photos; its interval is a paired bootstrap's over photos.",
    )
    return Table("context", "Context against the ground truth", columns, tuple(rows), notes)


def _context(view: ResultsView, vlm: str, method: str) -> list[Cell]:
    _check_truth(view)
    captions = list(view.captions(vlm, method))
    plain = list(view.captions(vlm, "plain"))
    share = ratio([_has_right_context(c) for c in captions], [_has_right_context(c) for c in plain])
    with_others = [c for c in captions if c.photo.truth.others]
    return [
        measured_cell(proportion([has_right_place(c.photo.truth, c.text) for c in captions])),
        measured_cell(proportion([has_right_objects(c.photo.truth, c.text) for c in captions])),
        measured_cell(proportion([has_right_companions(c.photo.truth, c.text) for c in with_others])),
        measured_cell(proportion([_has_right_context(c) for c in captions])),
        measured_cell(share) if share.n else missing_cell("never right without concepts"),
    ]


def _has_right_context(caption: CaptionResult) -> bool:
    truth, text = caption.photo.truth, caption.text
    return has_right_place(truth, text) and has_right_objects(truth, text)


def leakage(view: ResultsView) -> Table:
    """Build the table of words of the training photos' context that are wrong in the caption."""
    columns = ("VLM", "captions", *CONTEXT_SORTS, "any")
    rows = []
    for vlm in view.vlms:
        for method, title in (("plain", "without concepts"), ("myvlm", "MyVLM")):
            cells = attempt(partial(_leakage, view, vlm, method), len(CONTEXT_SORTS) + 1)
            rows.append(make_row((view.label(vlm), title), cells))
    notes = (
        "Captions with a place, an object or a companion's category of the concept's training photos that is not in "
        "their own picture. What the un-personalised VLM says by mistake is the base rate.",
    )
    return Table("leakage", "Leakage of the training photos' context", columns, tuple(rows), notes)


def _leakage(view: ResultsView, vlm: str, method: str) -> list[Cell]:
    _check_truth(view)
    leaks = [find_leaks(c.photo, c.text) for c in view.captions(vlm, method)]
    by_sort = [[found[sort] for found in leaks if sort in found] for sort in CONTEXT_SORTS]
    return [measured_cell(proportion(v)) for v in (*by_sort, [any(found.values()) for found in leaks])]


def crowds(view: ResultsView) -> Table:
    """Build the table of F1 of the names in captions, with one to four concepts in a photo."""
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
            cells = attempt(partial(_crowd_cells, view, vlm, form), 4)
            rows.append(make_row((view.label(vlm), title), cells))
    notes = (
        "F1 of the set of names said against the set present, averaged over photos. Everybody of the seed is enrolled "
        "at once with an identifier of their own, at myvlm's own thresholds. Names that the VLM left out are put in.",
    )
    return Table("crowds", "Several concepts in one photo: F1 of names", columns, tuple(rows), notes)


def _crowd_cells(view: ResultsView, vlm: str, form: str) -> list[Cell]:
    _check_truth(view)
    rows = [r for measurement in view.measurements(vlm, "crowds") for r in measurement["crowds"]]
    scores = [[f1(r[form], r["present"]) for r in rows if len(r["present"]) == n] for n in CROWD_SIZES]
    return [mean_cell(values, 1.0, percent=True) for values in scores]


def answers(view: ResultsView) -> Table:
    """Build the table of questions answered exactly right, by split."""
    columns = ("VLM", "embedding", "all", *_SPLIT_TITLES)
    rows = []
    for vlm in view.vlms:
        for key, title in (("answers", "captions only"), ("answers_vqa", "captions and questions")):
            cells = attempt(partial(_answer_cells, view, vlm, key), 5)
            rows.append(make_row((view.label(vlm), title), cells))
    notes = ("The concept is given; right only when the answer equals the true one, word for word.",)
    return Table("vqa", "Questions answered exactly right", columns, tuple(rows), notes)


def _answer_cells(view: ResultsView, vlm: str, key: str) -> list[Cell]:
    _check_truth(view)
    rows = [r for measurement in view.measurements(vlm, key) for r in measurement["answers"]]
    groups = [rows, *([r for r in rows if r["split"] == s] for s in _SPLITS)]
    return [measured_cell(proportion([r["said"] == r["truth"] for r in g])) for g in groups]


def questions(view: ResultsView) -> Table:
    """Build the table of questions answered exactly right, by question."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for vlm in view.vlms:
        try:
            _check_truth(view)
            for measurement in view.measurements(vlm, "answers_vqa"):
                for r in measurement["answers"]:
                    right[r["question"]][vlm].append(r["said"] == r["truth"])
        except NotMeasured:
            continue
    able = [v for v in view.vlms if any(v in by_vlm for by_vlm in right.values())]
    rows = [
        make_row((q,), [measured_cell(proportion(by_vlm.get(v, []))) for v in able])
        for q, by_vlm in sorted(right.items())
    ]
    columns = ("question", *(view.label(v) for v in able))
    notes = ("With the embedding learned for answering; VLMs without answers are in the table before.",)
    return Table("questions", "Answers by question", columns, tuple(rows), notes)


def boxes(view: ResultsView) -> Table:
    """Build the table of IoU of boxes, by the VLM's grounding and by recognition, and of false names."""

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
    return _per_vlm(view, "boxes", "Boxes and false names", columns, cells, notes)


def _refer_cells(view: ResultsView, vlm: str) -> list[Cell]:
    rows = [r for measurement in view.measurements(vlm, "boxes") for r in measurement["boxes"]]
    half = measured_cell(proportion([r["iou"] >= 0.5 for r in rows]))
    return [mean_cell([r["iou"] for r in rows], 1.0), half, measured_cell(proportion([not r["found"] for r in rows]))]


def _recognition_cells(view: ResultsView, vlm: str) -> list[Cell]:
    measurements = list(view.measurements(vlm, "crowds"))
    false = mean([r["false"] for m in measurements for r in m["names"]]).clipped(0.0, math.inf).scaled(1000.0)
    return [mean_cell([b["iou"] for m in measurements for b in m["boxes"]], 1.0), measured_cell(false, percent=False)]


def _check_truth(view: ResultsView) -> None:
    if not view.drawn:
        raise NotMeasured(NO_TRUTH)


def _per_vlm(
    view: ResultsView,
    name: str,
    title: str,
    columns: Sequence[str],
    make_cells: Callable[[str], list[Cell]],
    notes: tuple[str, ...] = (),
) -> Table:
    """Build a table with one row for each VLM; it needs the ground truth of drawn photos."""

    def checked(vlm: str) -> list[Cell]:
        _check_truth(view)
        return make_cells(vlm)

    rows = [make_row((view.label(v),), attempt(partial(checked, v), len(columns))) for v in view.vlms]
    return Table(name, title, ("VLM", *columns), tuple(rows), notes)
