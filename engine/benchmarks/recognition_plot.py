"""The picture of recognition in libraries: false names against recall, and the recall of every concept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.experiments import Part
from engine.benchmarks.library_figures import Individual, LibraryOutcome
from engine.benchmarks.plots import _METADATA, _STYLE, _matplotlib
from engine.benchmarks.recognition_measure import outcome_of_part, truth_of_part
from engine.benchmarks.recognition_table import PROMISED

_HUES = ("#3a8f4d", "#8a5aa8", "#d9622b", "#b8912b", "#4aa3a3")
_OURS, _PAPER, _LINE = "#1f6fb4", "#6b6b6b", "#333333"
_NAMES = {"open-set": "open-set", "paper": "paper's heads"}
_MOST = 300.0
"""False names per 1,000 photos at the right edge."""


@dataclass(frozen=True)
class Curve:
    """What each lower setting of all thresholds gives: false names in 1,000 photos, and recall in 0..1; both rise.

    `at` is how many of the points are at or above the thresholds as they are.
    """

    false: np.ndarray
    recall: np.ndarray
    at: int


def curve_of(parts: Sequence[Part], heads: str, wanted: Callable[[Individual], bool] = lambda who: True) -> Curve:
    """The curve of some concepts of some libraries, all thresholds moved together, false names of all photos."""
    margins: list[tuple[float, bool]] = []
    photos = shown = 0
    for part in parts:
        truth = truth_of_part(part["truth"])
        own = {c for c, who in enumerate(truth.concepts) if wanted(who)}
        photos += len(truth.present)
        shown += sum(len(p & own) for p in truth.present)
        for present, rows in zip(truth.present, part["heads"][heads]["margins"], strict=True):
            margins += [(m, c in present) for c, m in rows if c in own]
    values = np.array([m for m, _ in margins], np.float64)
    order = np.argsort(-values, kind="stable")
    right = np.array([r for _, r in margins], bool)[order]
    last = np.append(np.diff(values[order]) != 0, True)[: len(values)]  # equal margins come together
    false, found = (np.concatenate([[0], np.cumsum(v)[last]]) for v in (~right, right))
    at = 1 + int((values[order][last] >= 0).sum())
    return Curve(1000 * false / max(1, photos), found / max(1, shown), at)


def draw_recognition(parts: Sequence[Part], path: Path) -> None:
    """Draw the curves and the recalls as a PNG; the same measurements give the same bytes.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    plt = _matplotlib()
    with plt.rc_context(_STYLE):
        page, (left, right) = plt.subplots(1, 2, figsize=(11.0, 4.6), layout="constrained")
        _draw_curves(left, parts)
        _draw_recalls(right, parts)
        page.savefig(path, metadata=_METADATA["png"])
        plt.close(page)


def _draw_curves(ax: Any, parts: Sequence[Part]) -> None:
    photos = sum(len(p["truth"]["present"]) for p in parts)
    zero = min(0.1, 400.0 / max(1, photos))
    groups = list(dict.fromkeys(who.group for p in parts for who in truth_of_part(p["truth"]).concepts))
    for hue, group in zip(_HUES, sorted(groups), strict=False):
        curve = curve_of(parts, "open-set", lambda who, group=group: who.group == group)
        _line(ax, curve, zero, color=hue, linewidth=1.0, alpha=0.9, label=group)
    for heads, color, style in (("open-set", _OURS, "-"), ("paper", _PAPER, "--")):
        curve = curve_of(parts, heads)
        _line(ax, curve, zero, color=color, linewidth=2.4, linestyle=style, label=f"{_NAMES[heads]}, all")
        x, y = max(zero, curve.false[curve.at - 1]), 100 * curve.recall[curve.at - 1]
        ax.plot([x], [y], marker="o", markersize=8, color=color, markeredgecolor="white", zorder=5, clip_on=False)
    ax.axvline(PROMISED, color=_LINE, linestyle=":", linewidth=1.2)
    ax.text(PROMISED, 2.0, " promised: at most 1", color=_LINE, fontsize=8.5, va="bottom")
    ax.set_xscale("log")
    ticks = [t for t in (0.01, 0.1, 1.0, 10.0, 100.0) if t > 1.5 * zero]
    ax.set(xlim=(zero, _MOST), ylim=(0, 101), xlabel="false names per 1,000 photos", ylabel="recall (%)")
    ax.set_xticks([zero, *ticks], ["0", *(f"{t:g}" for t in ticks)])
    ax.minorticks_off()
    ax.set_title("All thresholds moved together; dots: as they are", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5, bbox_to_anchor=(1.0, 0.08))


def _line(ax: Any, curve: Curve, zero: float, **style: Any) -> None:
    ax.step(np.maximum(zero, curve.false), 100 * curve.recall, where="post", **style)


def _draw_recalls(ax: Any, parts: Sequence[Part]) -> None:
    """Recall of each concept of each library, lowest first."""
    for heads, color, style in (("open-set", _OURS, "-"), ("paper", _PAPER, "--")):
        outcomes = [outcome_of_part(p, heads) for p in parts]
        values = sorted(100 * (f.value or 0.0) for o in outcomes for f in o.recall.values())
        ranks = np.arange(1, len(values) + 1)
        label = f"{_NAMES[heads]}, {_wrong(outcomes):.1f} false names per 1,000"
        ax.plot(ranks, values, color=color, linestyle=style, marker=".", markersize=5, label=label)
    ax.axhline(80, color=_LINE, linestyle=":", linewidth=1.2)
    ax.set(ylim=(0, 101), xlabel="concepts of all libraries, worst first", ylabel="recall (%)")
    ax.set_title("Recall of each concept, thresholds as they are", fontsize=10)
    ax.legend(loc="lower right", fontsize=8.5)


def _wrong(outcomes: Sequence[LibraryOutcome]) -> float:
    return 1000 * sum(sum(o.wrong) for o in outcomes) / max(1, sum(len(o.wrong) for o in outcomes))
