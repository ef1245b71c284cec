"""Build the tables of recognition on a user's own photos, of all recognisers that were measured side by side."""

from collections.abc import Callable, Iterator, Sequence

from engine.benchmarks.figures import Cell, Table, make_row, measured_cell, missing_cell, text_cell
from engine.benchmarks.photo_data import PhotoRequest
from engine.benchmarks.photo_figures import (
    PhotoFigures,
    Round,
    ThresholdSort,
    count_by_concept,
    count_figures,
    count_pairs,
)
from engine.benchmarks.photo_rounds import PhotoMeasurement
from engine.benchmarks.statistics import Estimate
from engine.recognition.calibrate import FEWEST

_KINDS = ("person", "pet", "thing", "unknown")
_TESTS = ("recall", "recall, names and maybes", "mix-ups")
_STRANGERS = ("strangers: wrong name", "strangers: wrong maybe", "wrong names")
_WHERE = ("recogniser", "references", "thresholds")


def photo_tables(measurements: Sequence[PhotoMeasurement], request: PhotoRequest) -> list[Table]:
    """Build all tables: by number of references, by kind, same-category strangers, look-alikes, each concept."""
    return [
        _main(measurements, request),
        _by_kind(measurements, request.usual_count),
        _alike(measurements),
        _pairs(measurements, request.usual_count),
        _by_concept(measurements, request.usual_count),
    ]


def _main(measurements: Sequence[PhotoMeasurement], request: PhotoRequest) -> Table:
    rows = [
        (*where, text_cell(str(len({c.name for r in rounds for c in r.concepts}))), *_cells(count_figures(rounds)))
        for where, rounds in _groups(measurements)
    ]
    columns = (*_WHERE, "concepts", *_TESTS, *_STRANGERS)
    title = f"Recognition in the photos of {request.root.name}"
    return Table("photos", title, columns, tuple(rows), tuple(_notes(measurements, request)))


def _groups(
    measurements: Sequence[PhotoMeasurement], wanted: Callable[[Round], bool] = lambda r: True
) -> Iterator[tuple[tuple[Cell, ...], list[Round]]]:
    """List the rounds with the same recogniser, number of references and thresholds, with the cells that say which."""
    for m in measurements:
        for count in sorted({r.references for r in m.rounds}):
            for sort in ThresholdSort:
                rounds = [r for r in m.rounds if r.references == count and r.thresholds is sort and wanted(r)]
                if rounds:
                    yield make_row((m.recogniser, str(count), sort), ()), rounds


def _cells(figures: PhotoFigures) -> tuple[Cell, ...]:
    tests = (figures.recall, figures.recall_with_maybes, figures.mix_ups)
    return (*map(_cell, tests), *_stranger_cells(figures))


def _stranger_cells(figures: PhotoFigures) -> tuple[Cell, ...]:
    counted = text_cell(f"{figures.names} in {figures.looks} looks") if figures.looks else _cell(figures.wrong_names)
    return (_cell(figures.wrong_names), _cell(figures.wrong_maybes), counted)


def _cell(estimate: Estimate | None) -> Cell:
    return text_cell("—") if estimate is None else measured_cell(estimate)


def _notes(measurements: Sequence[PhotoMeasurement], request: PhotoRequest) -> Iterator[str]:
    seeds = ", ".join(map(str, request.seeds))
    yield (
        f"References are drawn with the seeds {seeds}; the concept's other photos are tests. "
        f"{_enrolment(measurements, request)} Strangers' photos are those of everybody who is not enrolled."
    )
    yield (
        "Shares of photos, so that a value is also a number per 100 photos. n: different photos, each of which is "
        "looked at once for each draw. Intervals: Wilson's for n photos as independent."
    )
    yield (
        'Thresholds: "not calibrated" as before any calibration; "calibrated" on all photos without labels, as by '
        "`myvlm calibrate`; the paper's heads have fixed ones, and no maybes."
    )
    for m in measurements:
        if not m.is_calibrated:
            yield f"{m.recogniser}: calibration needs {FEWEST} photos, and here are {m.photos}."
        if m.drawn_only:
            yield f"{m.recogniser} was trained on drawings only: of photos its figures say little."
        yield from _kinds_guessed(m)
        yield from _refused(m)
    yield from _few(measurements)
    yield from (f"Left out: {note}." for note in dict.fromkeys(n for m in measurements for n in m.left_out))


def _enrolment(measurements: Sequence[PhotoMeasurement], request: PhotoRequest) -> str:
    if request.only:
        return "The chosen concepts are enrolled together."
    least = min(request.references)
    groups = {tuple(c.name for c in r.concepts) for m in measurements for r in m.rounds if r.references == least}
    if len(groups) == 1:
        return "All concepts are enrolled together."
    return "Half of the concepts are enrolled at a time, then the others."


def _few(measurements: Sequence[PhotoMeasurement]) -> Iterator[str]:
    """Say which concepts have too few photos for a number of references."""
    every = {c.name for m in measurements for r in m.rounds for c in r.concepts}
    for count in sorted({r.references for m in measurements for r in m.rounds}):
        there = {c.name for m in measurements for r in m.rounds if r.references == count for c in r.concepts}
        if every - there:
            yield f"Too few photos for {count} references: {', '.join(sorted(every - there))}."


def _kinds_guessed(measurement: PhotoMeasurement) -> Iterator[str]:
    """Say which concepts were enrolled as another kind than their class words say."""
    wrong = {
        f"{c.name} as a {c.enrolled_as}"
        for r in measurement.rounds
        for c in r.concepts
        if c.enrolled_as and c.enrolled_as != c.kind
    }
    if wrong:
        yield f"{measurement.recogniser} enrolled as another kind, at least once: {', '.join(sorted(wrong))}."


def _refused(measurement: PhotoMeasurement) -> Iterator[str]:
    """Say which concepts could not be enrolled, and how often."""
    concepts = [c for r in measurement.rounds for c in r.concepts if r.thresholds is ThresholdSort.PRIOR]
    for name, why in sorted(measurement.refused.items()):
        own = [c for c in concepts if c.name == name]
        failed = sum(not c.enrolled_as for c in own)
        where = f"in {failed} of {len(own)} rounds, where it is missed"
        yield f"{measurement.recogniser} did not enrol {name} {where}: {why}."


def _by_kind(measurements: Sequence[PhotoMeasurement], count: int) -> Table:
    rows = [
        (*where, text_cell(kind), *_cells(count_figures(rounds, kind=kind)))
        for where, rounds in _groups(measurements, lambda r: _is_ours(r) and r.references == count)
        for kind in _KINDS
        if any(kind in r.kinds for r in rounds)
    ]
    notes = ("Wrong names and maybes: those of concepts of the kind, in all strangers' photos.",)
    return Table("kinds", "By kind", (*_WHERE, "kind", *_TESTS, *_STRANGERS), tuple(rows), notes)


def _is_ours(r: Round) -> bool:
    return r.thresholds is not ThresholdSort.PAPER


def _alike(measurements: Sequence[PhotoMeasurement]) -> Table:
    rows = [
        (*where, *_stranger_cells(count_figures(rounds, alike=True)))
        for where, rounds in _groups(measurements, _is_ours)
    ]
    notes = ("Only strangers' photos that show something of the category of an enrolled concept, by its class word.",)
    return Table("alike", "Strangers of the same category", (*_WHERE, *_STRANGERS), tuple(rows), notes)


def _pairs(measurements: Sequence[PhotoMeasurement], count: int) -> Table:
    columns = ("recogniser", "thresholds", "enrolled", "photos of", "right name", "right maybe", "wrong name")
    rows = []
    for m in measurements:
        for sort in ThresholdSort:
            for f in count_pairs([r for r in m.pairs if r.thresholds is sort]):
                label = make_row((m.recogniser, sort, " and ".join(f.enrolled), f.folder), ())
                rows.append((*label, *map(_cell, (f.right, f.right_maybe, f.wrong, f.wrong_maybe))))
    notes = [f"{count} references each; nobody else is enrolled."]
    more = max((m.more_pairs for m in measurements), default=0)
    if more:
        notes.append(f"{more} more pairs have such names; choose some with --look-alikes.")
    if not rows:
        rows = [(missing_cell("no look-alikes; name some with --look-alikes"), *[text_cell("—")] * len(columns))]
    return Table("look-alikes", "Look-alikes", (*columns, "wrong maybe"), tuple(rows), tuple(notes))


def _by_concept(measurements: Sequence[PhotoMeasurement], count: int) -> Table:
    columns = ("recogniser", "thresholds", "concept", "kind", *_TESTS[:2], "its name in other photos")
    rows = []
    for m in measurements:
        for sort in ThresholdSort:
            rounds = [r for r in m.rounds if r.references == count and r.thresholds is sort and _is_ours(r)]
            for f in count_by_concept(rounds):
                label = make_row((m.recogniser, sort, f.name, f.kind), ())
                counted = text_cell(f"{f.names} in {f.looks} looks")
                rows.append((*label, _cell(f.recall), _cell(f.recall_with_maybes), counted))
    return Table("concepts", f"Each concept, {count} references", columns, tuple(rows))
