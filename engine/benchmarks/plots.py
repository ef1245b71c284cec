"""Draw plots of the measurements, PNG and SVG; the same measurements give the same bytes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.benchmarks.heads_experiment import UNTRAINED_THRESHOLD
from engine.benchmarks.results_view import NotMeasured, ResultsView
from engine.benchmarks.settings import FULL, Setting
from engine.benchmarks.statistics import Estimate, proportion
from engine.benchmarks.tables import has_identifier
from engine.core.errors import EnvironmentFault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

_COLORS = ("#1f6fb4", "#d9622b", "#3a8f4d", "#8a5aa8", "#6b6b6b")
STYLE = {
    "svg.hashsalt": "myvlm",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 130,
}
METADATA = {"png": {"Software": "myvlm"}, "svg": {"Date": None, "Creator": "myvlm"}}


def is_our_plot(data: bytes) -> bool:
    """Tell whether a picture's bytes are one of these plots, by the metadata that name its maker."""
    return b"Software\0myvlm" in data or b"<dc:title>myvlm</dc:title>" in data


def draw_plots(view: ResultsView, folder: Path) -> Sequence[tuple[str, str]]:
    """Draw the plots that have measurements; returns file stems with their captions.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    plt = load_pyplot()
    drawn = []
    with plt.rc_context(STYLE):
        for stem, title, draw in _PLOTS:
            try:
                page = draw(view, plt)
            except NotMeasured:
                continue
            for suffix in ("png", "svg"):
                page.savefig(folder / f"{stem}.{suffix}", metadata=METADATA[suffix])
            plt.close(page)
            drawn.append((stem, title))
    return drawn


def load_pyplot() -> Any:
    """Import `matplotlib.pyplot` for files, without a display.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as err:
        raise EnvironmentFault("plots need matplotlib", hint="Run: pip install 'myvlm[evaluate]'") from err
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _recall(view: ResultsView, plt: Any) -> "Page":
    """Draw recall against training photos, one line for each VLM, with 95 % intervals."""
    page, ax = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    lines: list[tuple[int, str, list[Estimate]]] = []
    for i, vlm in enumerate(view.vlms):
        with _skip_unmeasured():
            lines.append((i, vlm, [_given(view, vlm, n) for n in (1, 2, 4)]))
    _need(len(lines))
    for k, (i, vlm, figures) in enumerate(lines):
        x = np.arange(3) + 0.08 * (k - (len(lines) - 1) / 2)
        y = np.array([100 * (f.value or 0.0) for f in figures])
        low, high = ([100 * (getattr(f, e) or 0.0) for f in figures] for e in ("low", "high"))
        spread = np.clip([y - low, np.array(high) - y], 0, None)
        ax.errorbar(x, y, yerr=spread, marker="o", capsize=3, color=_COLORS[i % 5], label=view.label(vlm))
    ax.set(xlabel="training photos", ylabel="recall, concept given (%)", xticks=range(3), xticklabels=("1", "2", "4"))
    ax.set_ylim(0, 104)
    ax.legend(loc="lower right")
    return page


def _given(view: ResultsView, vlm: str, photos: int) -> Estimate:
    return proportion([has_identifier(c) for c in view.captions(vlm, "myvlm", Setting(photos).key)])


def _curves(view: ResultsView, plt: Any) -> "Page":
    """Draw cross-entropy and embedding norm by step: the mean over concepts, and the middle 80 % of them."""
    page, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
    lines = 0
    for i, vlm in enumerate(view.vlms):
        with _skip_unmeasured():
            rows = [r for m in view.measurements(vlm, FULL.key) for r in m["learned"]]
            for ax, key in zip(axes, ("losses", "norms"), strict=True):
                _band(ax, [r[key] for r in rows], _COLORS[i % 5], view.label(vlm))
            lines += 1
    _need(lines)
    axes[0].set(xlabel="step", ylabel="cross-entropy")
    axes[0].set_ylim(bottom=0)
    axes[1].set(xlabel="step", ylabel="L2 norm of the raw embedding")
    axes[0].legend(loc="upper right")
    return page


def _band(ax: "Axes", curves: Sequence[Sequence[float]], color: str, label: str) -> None:
    steps = max(map(len, curves))
    padded = np.full((len(curves), steps), np.nan)
    for line, curve in zip(padded, curves, strict=True):
        line[: len(curve)] = curve
    x = np.arange(1, steps + 1)
    low, high = np.nanpercentile(padded, (10, 90), axis=0)
    ax.plot(x, np.nanmean(padded, axis=0), color=color, label=label)
    ax.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _scores(view: ResultsView, plt: Any) -> "Page":
    """Draw histograms of the heads' scores: the concept, other concepts, strangers."""
    page, axes = plt.subplots(1, 2, figsize=(9.0, 3.4), layout="constrained")
    heads = _heads(view)
    _need(len(heads))
    for ax, head, title in zip(axes, ("linear", "face"), ("object heads", "face heads"), strict=True):
        of_kind = [h for h in heads if h["head"] == head]
        low = 0.0 if head == "linear" else -0.4
        bins = np.linspace(low, 1.0, 29)
        for i, (label, values) in enumerate(_groups(of_kind)):
            if values:
                weights = np.full(len(values), 100.0 / len(values))
                style = {"alpha": 0.35, "color": _COLORS[i], "label": f"{label} (n {len(values)})"}
                ax.hist(np.clip(values, low, 1.0), bins, weights=weights, histtype="stepfilled", **style)
        for threshold in sorted({h["threshold"] for h in of_kind} - {UNTRAINED_THRESHOLD}):
            ax.axvline(threshold, color="#333333", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
        ax.set(title=title, xlabel="probability" if head == "linear" else "cosine similarity", ylabel="% of photos")
        if of_kind:
            ax.legend(loc="upper center", frameon=True, framealpha=0.9, edgecolor="none")
        else:
            ax.text(0.5, 0.5, "not measured: none of this sort", ha="center", transform=ax.transAxes)
    return page


def _heads(view: ResultsView) -> list[dict[str, Any]]:
    heads: list[dict[str, Any]] = []
    for vlm in view.vlms:
        with _skip_unmeasured():
            for seed in view.results.settings.seeds:
                heads += view.heads(vlm, seed)["heads"]
        if heads:
            return heads  # VLMs of one run share the recogniser, or have their own tables
    return heads


def _groups(heads: Sequence[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    def scores(rows: Sequence[dict[str, Any]]) -> list[float]:
        return [r["score"] for r in rows if r["score"] is not None]

    return [
        ("the concept", [v for h in heads for v in scores(h["own"])]),
        ("other concepts", [v for h in heads for v in h["others"] if v is not None]),
        ("strangers", [v for h in heads for v in scores(h["strangers"])]),
    ]


@contextmanager
def _skip_unmeasured() -> Iterator[None]:
    """Leave the block where a measurement is missing: what is not measured has no line."""
    try:
        yield
    except (NotMeasured, KeyError):
        return


def _need(lines: int) -> None:
    if not lines:
        raise NotMeasured("nothing to draw")


STEMS = ("recall", "training", "heads")
_PLOTS: tuple[tuple[str, str, Callable[[ResultsView, Any], Any]], ...] = (
    ("recall", "Recall against training photos (bars: 95 % intervals)", _recall),
    ("training", "Cross-entropy and embedding norm while learning (band: 10th to 90th percentile)", _curves),
    ("heads", "Scores of heads: best region or face of each photo", _scores),
)
