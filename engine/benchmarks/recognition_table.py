"""Build tables of recognition in libraries: estimates with targets, and the paper's heads on the same photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.benchmarks.experiments import Measurement
from engine.benchmarks.figures import Cell, Table, make_row, measured_cell, missing_cell, text_cell
from engine.benchmarks.library_cases import CONCEPT_COUNTS
from engine.benchmarks.library_figures import LibraryOutcome, pool, rate_per_1000
from engine.benchmarks.recognition_measure import read_outcome
from engine.benchmarks.render import render_cell
from engine.benchmarks.statistics import NOT_ESTIMATED, Estimate, mean, proportion

HEADS = ("open-set", "paper")
TARGET_RATE = 1.0
"""False names per 1,000 photos that recognition promises at most (`docs/recognition.md`, "Thresholds")."""
_LIBRARIES_AT_TARGET = 0.95
_RECALL, _WORST, _MIXED, _OVERLAP, _SECONDS = 0.9, 0.8, 0.01, 0.6, 2.0
_SETS = {2: 0.97, 3: 0.95, 4: 0.93}
"""Targets of F1 of the names, by the number of concepts in the photo."""
_LIKENESSES = {"sibling": "siblings", "look_alike": "look-alikes", "twin": "twins"}
_COLUMNS = ("figure", "target", "open-set", "met", "paper's heads")


@dataclass(frozen=True)
class RecognitionResults:
    """Measurements of a run: each library; decisions, by the library's seed; enrolment of an eleventh concept."""

    libraries: Sequence[Measurement]
    decisions: Mapping[int, Measurement] = field(default_factory=dict)
    eleventh: Measurement | None = None

    def outcomes(self, heads: str) -> list[LibraryOutcome]:
        """Compare each library with its truth."""
        return [read_outcome(p, heads) for p in self.libraries]


def recognition_tables(results: RecognitionResults) -> list[Table]:
    """Build the table of targets, the table of the single libraries, and the table of decisions if there are any."""
    tables = [_targets(results), _by_library(results)]
    return [*tables, _decisions(results)] if results.decisions else tables


def _targets(results: RecognitionResults) -> Table:
    pooled = {heads: pool(results.outcomes(heads)) for heads in HEADS}
    rows = [*_false_names(results, pooled), *_recalls(results, pooled), *_sets(pooled)]
    rows += [*_reviewed(results), *_predicted(results), *_changes(results)]
    photos = len(pooled["open-set"].wrong)
    title = f"Recognition in {_libraries(len(results.libraries), 'drawn ')}, {photos} photos in all"
    notes = ["Intervals: Wilson's for shares, normal for means, Poisson's for rates; photos as independent."]
    sizes = [len(p["truth"]["present"]) for p in results.libraries]
    if min(sizes) < 2000:
        notes.append("Libraries of fewer than 2,000 photos say little of rates of one in a thousand.")
    if not all(p["heads"]["open-set"]["calibrated"] for p in results.libraries):
        notes.append("Some libraries have too few photos to calibrate on: the usual thresholds were used there.")
    notes.append("The paper's heads have fixed thresholds, and promise nothing.")
    return Table("recognition", title, _COLUMNS, tuple(rows), tuple(notes))


def _false_names(results: RecognitionResults, pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    rates = {h: rate_per_1000(sum(o.wrong), len(o.wrong)) for h, o in pooled.items()}
    kept = {h: proportion([o.wrong_per_1000 <= TARGET_RATE for o in results.outcomes(h)]) for h in HEADS}
    return [
        _row("false names per 1,000 photos", "≤ 1", rates, TARGET_RATE, at_most=True, percent=False),
        _row("libraries with at most 1 per 1,000", "≥ 19 of 20", kept, _LIBRARIES_AT_TARGET),
    ]


def _recalls(results: RecognitionResults, pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    outcomes = {h: results.outcomes(h) for h in HEADS}
    overall = {h: o.overall_recall for h, o in pooled.items()}
    lowest = {h: _lowest([o.overall_recall for o in outcomes[h]]) for h in HEADS}
    worst = {h: mean([o.recall[o.worst].value or 0.0 for o in outcomes[h] if o.worst is not None]) for h in HEADS}
    clipped = {h: e.clipped(0.0, 1.0) for h, e in worst.items()}
    rows = [
        _row("recall", "≥ 90 %", overall, _RECALL),
        _row("recall, worst library", "≥ 90 %", lowest, _RECALL),
        _row("recall, worst concept: mean over libraries", "≥ 80 %", clipped, _WORST, few=True),
    ]
    ours, paper = (_worst_concept(results.libraries, outcomes[h]) for h in HEADS)
    if ours and paper:
        label = [text_cell("recall, worst concept of any library"), text_cell("≥ 80 %")]
        rows.append((*label, text_cell(ours[1]), text_cell(_met(ours[0].value, _WORST)), text_cell(paper[1])))
    return rows


def _lowest(estimates: Sequence[Estimate]) -> Estimate:
    return min((e for e in estimates if e.n), key=lambda e: e.value or 0.0, default=NOT_ESTIMATED)


def _worst_concept(libraries: Sequence[Measurement], outcomes: Sequence[LibraryOutcome]) -> tuple[Estimate, str] | None:
    """Find the lowest recall of a concept in any library, and describe it; None when no photo shows any."""
    pairs = zip(outcomes, libraries, strict=True)
    worst = [(o.recall[o.worst], library, o.worst) for o, library in pairs if o.worst is not None]
    if not worst:
        return None
    recall, library, index = min(worst, key=lambda one: one[0].value or 0.0)
    concept = library["truth"]["concepts"][index]
    name = f"{concept['name']} ({concept['kind']}) of library {library['seed']}"
    return recall, f"{render_cell(measured_cell(recall))}: {name}"


def _sets(pooled: Mapping[str, LibraryOutcome]) -> list[tuple[Cell, ...]]:
    rows = [
        _row(
            f"{n} concepts in a photo: F1 of the names",
            f"≥ {100 * _SETS[n]:.0f} %",
            {h: mean(o.sets.get(n, ())).clipped(0.0, 1.0) for h, o in pooled.items()},
            _SETS[n],
        )
        for n in CONCEPT_COUNTS
    ]
    overlap = {h: mean(o.overlaps).clipped(0.0, 1.0) for h, o in pooled.items()}
    return [*rows, _row("IoU of right names' regions", "≥ 0.6", overlap, _OVERLAP, percent=False)]


def mixed_up(libraries: Sequence[Measurement], heads: str, likeness: str) -> Estimate:
    """Estimate the share of photos of concepts with such a look-alike that got the absent look-alike's name."""
    hits: list[bool] = []
    for library in libraries:
        mixed = read_outcome(library, heads).mixed
        concepts = library["truth"]["concepts"]
        hits += [v for c, values in mixed.items() if concepts[c]["likeness"] == likeness for v in values]
    return proportion(hits)


def _reviewed(results: RecognitionResults) -> list[tuple[Cell, ...]]:
    """Make the rows of mix-ups by likeness, and of suggestions that the user reviews."""
    rows = []
    for likeness, word in _LIKENESSES.items():
        mixed = {h: mixed_up(results.libraries, h, likeness) for h in HEADS}
        if mixed["open-set"].n:
            rows.append(_row(f"{word} taken for each other, of their photos", "≤ 1 %", mixed, _MIXED, at_most=True))
    review, recall = with_suggestions(results.libraries)
    none = (text_cell("—"), text_cell("has no maybes"))
    reviewed = measured_cell(review, percent=False)
    rows.append((text_cell("photos with a maybe, per 1,000"), text_cell("—"), reviewed, *none))
    rows.append((text_cell("recall, names and maybes"), text_cell("—"), measured_cell(recall), *none))
    return rows


def with_suggestions(libraries: Sequence[Measurement]) -> tuple[Estimate, Estimate]:
    """Estimate photos per 1,000 with suggestions for the user to review, and the recall with all right answers."""
    reviewed, hits, photos = 0, [], 0
    for library in libraries:
        heads = library["heads"]["open-set"]
        for present, names, maybes in zip(library["truth"]["present"], heads["names"], heads["maybes"], strict=True):
            photos += 1
            reviewed += bool(maybes)
            either = {c for c, _ in (*names, *maybes)}
            hits += [c in either for c in present]
    return rate_per_1000(reviewed, photos), proportion(hits)


def _predicted(results: RecognitionResults) -> list[tuple[Cell, ...]]:
    apart = sum(len(p["heads"]["open-set"]["apart"]) for p in results.libraries)
    every = sum(len(p["truth"]["concepts"]) for p in results.libraries)
    expected = mean([p["heads"]["open-set"]["expected"] for p in results.libraries])
    text = f"{expected.value:.2f}" if results.libraries else "—"
    return [
        make_row(("concepts that cannot be told from others", "—", f"{apart} of {every}", "—", "not known"), ()),
        make_row(("false names per 1,000 photos, as predicted", "—", text, "—", "not known"), ()),
    ]


def _changes(results: RecognitionResults) -> list[tuple[Cell, ...]]:
    """Make the rows of what ten decisions changed, and of how long the enrolment of one more concept takes."""
    rows, none = [], "not measured"
    if results.decisions:
        turns = [t for p in results.decisions.values() for t in p["turns"]]
        worst, others = ([sum(sum(t[key][k]) for t in turns) for k in (0, 1)] for key in ("own", "others"))
        halved = "—" if not worst[0] else "met" if 2 * worst[1] <= worst[0] else "missed"
        no_more = "met" if others[1] <= others[0] else "missed"
        where = f"in {_libraries(len(results.decisions))}"
        label = "errors of the worst concept after 10 decisions"
        rows.append(make_row((label, "halved", f"{_change(worst)} {where}", halved, none), ()))
        rows.append(make_row(("errors of all others then", "no more", f"{_change(others)} {where}", no_more, none), ()))
    if results.eleventh:
        e = results.eleventh
        took, total = e["seconds"], sum(e["seconds"].values())
        text = f"{total:.2f} s: " + ", ".join(f"{k} {v:.2f} s" for k, v in took.items())
        text += f"; threads {e['threads']}, cores {e['cores']}, photos {e['photos']}; models loaded"
        met = "met" if total < _SECONDS else "missed"
        rows.append(make_row(("an eleventh concept over a scanned library", "< 2 s", text, met, "not measured"), ()))
        text = f"{e['false_names']} in {e['photos']} photos"
        rows.append(make_row(("false names of the eleventh, who is in no photo", "—", text, "—", "not measured"), ()))
    return rows


def _libraries(count: int, sort: str = "") -> str:
    return f"{count} {sort}{'library' if count == 1 else 'libraries'}"


def _change(counts: Sequence[int]) -> str:
    return f"{counts[0]} → {counts[1]}"


def _by_library(results: RecognitionResults) -> Table:
    columns = (
        "library",
        "false names per 1,000",
        "predicted",
        "recall",
        "worst concept",
        "photos with a maybe, per 1,000",
        "not separable",
        "paper's heads: false names per 1,000",
        "paper's heads: recall",
    )
    rows = []
    outcomes = zip(results.libraries, results.outcomes("open-set"), results.outcomes("paper"), strict=True)
    for library, ours, paper in outcomes:
        heads = library["heads"]["open-set"]
        worst = missing_cell("nobody is in any photo")
        if ours.worst is not None:
            worst = _worst_cell(library["truth"]["concepts"][ours.worst], ours.recall[ours.worst])
        row = [text_cell(str(library["seed"])), text_cell(f"{ours.wrong_per_1000:.2f}")]
        row += [text_cell(f"{heads['expected']:.2f}"), measured_cell(ours.overall_recall), worst]
        row += [text_cell(f"{with_suggestions([library])[0].value or 0.0:.1f}"), text_cell(str(len(heads["apart"])))]
        row += [text_cell(f"{paper.wrong_per_1000:.2f}"), measured_cell(paper.overall_recall)]
        rows.append(tuple(row))
    return Table("libraries", "Each library", columns, tuple(rows))


def _worst_cell(concept: Mapping[str, str], recall: Estimate) -> Cell:
    likeness = f", has a {concept['likeness'].replace('_', '-')}" if concept["likeness"] else ""
    return text_cell(f"{render_cell(measured_cell(recall))}: {concept['name']} ({concept['kind']}{likeness})")


def _decisions(results: RecognitionResults) -> Table:
    columns = ("library", "worst concept", "decisions", "its errors (missed + false)", "errors of all others", "photos")
    rows = []
    for seed, library in results.decisions.items():
        alike = f", has a {library['likeness'].replace('_', '-')}" if library["likeness"] else ""
        for turn in library["turns"]:
            made = f"{turn['confirmed']} confirmed, {turn['rejected']} rejected"
            worst, others = (" → ".join(f"{a} + {b}" for a, b in turn[k]) for k in ("own", "others"))
            concept = f"{library['concept']} ({library['kind']}{alike})"
            rows.append(make_row((str(seed), concept, made, worst, others, str(turn["photos"])), ()))
    note = "Decisions are about photos of one half of the library; errors are counted in the other half, each in turn."
    return Table("teaching", "After ten decisions about the worst concept", columns, tuple(rows), (note,))


def _row(
    label: str,
    target: str,
    estimates: Mapping[str, Estimate],
    limit: float,
    *,
    at_most: bool = False,
    percent: bool = True,
    few: bool = False,
) -> tuple[Cell, ...]:
    """Make a row with the estimates of both sorts of heads, and whether ours meets the target.

    limit: the target's value, a lower limit unless `at_most`; few: a single observation is shown without an interval.
    """
    cells = {h: _lone(e) if few and e.n == 1 else measured_cell(e, percent=percent) for h, e in estimates.items()}
    ours, paper = (cells[h] for h in HEADS)
    met = _met(estimates["open-set"].value, limit, at_most=at_most)
    return (text_cell(label), text_cell(target), ours, text_cell(met), paper)


def _lone(estimate: Estimate) -> Cell:
    return text_cell(f"{100 * (estimate.value or 0.0):.1f} %, n 1")


def _met(value: float | None, limit: float, *, at_most: bool = False) -> str:
    if value is None:
        return "—"
    return "met" if (value <= limit if at_most else value >= limit) else "missed"
