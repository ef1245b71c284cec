"""Read measurements as the tables need them: captions of each validation photo, and whether the head fired."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.benchmarks.baselines import replace_keyword
from engine.benchmarks.caption_correctness import ValidationPhoto, list_validation_photos
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.figures import Cell, measured_cell, missing_cell
from engine.benchmarks.heads_experiment import fires
from engine.benchmarks.results import Results
from engine.benchmarks.settings import FULL
from engine.benchmarks.statistics import mean, proportion
from engine.core.errors import EngineError
from engine.core.types import Kind

FAMILIES = {"blip-2": "BLIP-2", "llava-next": "LLaVA-1.6", "minigpt-v2": "MiniGPT-v2"}
METHODS = ("keyword", "llm", "myvlm")


@dataclass(frozen=True)
class CaptionResult:
    """A caption of a validation photo; fired: whether the head recognised the concept, None without measured heads."""

    seed: int
    photo: ValidationPhoto
    text: str
    identifier: str
    fired: bool | None


class ResultsView:
    """A view of the results; its methods raise `NotMeasured`, with the reason, where a measurement is missing."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.photos = {seed: list_validation_photos(cases) for seed, cases in results.cases.items()}

    @property
    def vlms(self) -> tuple[str, ...]:
        """The VLMs of the run."""
        return self.results.settings.vlms

    @property
    def drawn(self) -> bool:
        """Whether the photos are drawn, so that there is ground truth of everything."""
        return self.results.settings.data is None

    def label(self, vlm: str) -> str:
        """Return a VLM's name with its family, where that is known."""
        family = FAMILIES.get(self.results.families.get(vlm, ""), "")
        return f"{vlm} ({family})" if family else vlm

    def measurement(self, vlm: str, seed: int, key: str) -> Measurement:
        """Return one measurement of a VLM.

        Raises:
            NotMeasured: it was not made.
        """
        if vlm in self.results.reasons:
            raise NotMeasured(self.results.reasons[vlm])
        measurement = self.results.vlm_measurements[vlm][seed].get(key)
        if measurement is None:
            raise NotMeasured("not asked for in this run")
        return _check(measurement)

    def measurements(self, vlm: str, key: str) -> Iterator[Measurement]:
        """Yield one measurement of a VLM for each seed."""
        for seed in self.results.settings.seeds:
            yield self.measurement(vlm, seed, key)

    def heads(self, vlm: str, seed: int) -> Measurement:
        """Return the measurement of the heads of a VLM's recogniser."""
        return _check(self.results.heads[self.results.recognisers[vlm]][seed])

    def _fired(self, vlm: str, seed: int) -> dict[str, bool]:
        try:
            rows = self.heads(vlm, seed)["heads"]
        except NotMeasured:
            return {}
        return {photo["id"]: fires(photo, r["threshold"]) for r in rows for photo in r["own"]}

    def captions(self, vlm: str, method: str, key: str = FULL.key) -> Iterator[CaptionResult]:
        """Yield captions of all validation photos: `plain`, `keyword`, `llm`, or `myvlm` under a setting."""
        for seed in self.results.settings.seeds:
            source = {"plain": "plain", "keyword": "plain", "llm": "llm"}.get(method, key)
            if method == "llm" and not self.results.settings.llm:
                raise NotMeasured("no language model was given (--llm)")
            captions = self.measurement(vlm, seed, source)["captions"]
            fired = self._fired(vlm, seed)
            identifiers = self.results.vlms[vlm]
            for photo in self.photos[seed]:
                identifier = identifiers["person" if photo.kind == Kind.PERSON else "thing"]
                text = captions[photo.truth.id]
                text = replace_keyword(text, photo.keywords, identifier) if method == "keyword" else text
                yield CaptionResult(seed, photo, text, identifier, fired.get(photo.truth.id))

    def share(
        self, captions: Sequence[CaptionResult], is_hit: Callable[[CaptionResult], bool], *, recognised: bool
    ) -> Cell:
        """Make a cell with the share of hits; with `recognised`, a caption whose head did not fire is a miss."""
        if recognised and any(c.fired is None for c in captions):
            return missing_cell("the heads were not measured")
        return measured_cell(proportion([is_hit(c) and (c.fired is True or not recognised) for c in captions]))


class NotMeasured(Exception):
    """Raised with the reason why there is no measurement."""


def _check(measurement: Measurement) -> Measurement:
    if "reason" in measurement:
        raise NotMeasured(measurement["reason"])
    return measurement


def attempt(make: Callable[[], Sequence[Cell]], width: int) -> tuple[Cell, ...]:
    """Make some of a row's cells; where that is impossible, `width` cells with the reason."""
    try:
        return tuple(make())
    except NotMeasured as err:
        return (missing_cell(str(err)),) * width
    except EngineError as err:
        return (missing_cell(f"{err}: {err.hint}" if err.hint else str(err)),) * width


def attempt_one(make: Callable[[], Cell]) -> Cell:
    """Make a cell; where that is impossible, one with the reason."""
    return attempt(lambda: [make()], 1)[0]


def mean_cell(values: Sequence[float], most: float = math.inf, *, percent: bool = False) -> Cell:
    """Make a cell with the mean of values between 0 and `most`."""
    return measured_cell(mean(values).clipped(0.0, most), percent=percent)
