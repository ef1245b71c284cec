"""Measurements as tables need them: every validation photo with its captions and whether its head fired."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.benchmarks.baselines import replace_keyword
from engine.benchmarks.caption_correctness import Shown, shown_in
from engine.benchmarks.experiments import Part
from engine.benchmarks.figures import Cell, measured, missing
from engine.benchmarks.heads_experiment import fires
from engine.benchmarks.paper import Results
from engine.benchmarks.settings import FULL
from engine.benchmarks.statistics import mean, proportion
from engine.core.errors import EngineError
from engine.core.types import Kind

FAMILIES = {"blip-2": "BLIP-2", "llava-next": "LLaVA-1.6", "minigpt-v2": "MiniGPT-v2"}
METHODS = ("keyword", "llm", "myvlm")


@dataclass(frozen=True)
class Said:
    """One caption of one validation photo; fired None when no head could be tried."""

    seed: int
    shown: Shown
    text: str
    identifier: str
    fired: bool | None


class View:
    """Reads the results; methods that find nothing raise `NotMeasured` with the reason."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.shown = {seed: shown_in(cases) for seed, cases in results.cases.items()}

    @property
    def vlms(self) -> tuple[str, ...]:
        """The VLMs that were asked for."""
        return self.results.settings.vlms

    @property
    def drawn(self) -> bool:
        """Whether there is ground truth of everything."""
        return self.results.settings.data is None

    def label(self, vlm: str) -> str:
        """A VLM with its family, where that is known."""
        family = FAMILIES.get(self.results.families.get(vlm, ""), "")
        return f"{vlm} ({family})" if family else vlm

    def part(self, vlm: str, seed: int, key: str) -> Part:
        """A measured part.

        Raises:
            NotMeasured: it is none.
        """
        if vlm in self.results.reasons:
            raise NotMeasured(self.results.reasons[vlm])
        found = self.results.voices[vlm][seed].get(key)
        if found is None:
            raise NotMeasured("not asked for in this run")
        if "reason" in found:
            raise NotMeasured(found["reason"])
        return found

    def parts(self, vlm: str, key: str) -> Iterator[Part]:
        """A part of every seed."""
        for seed in self.results.settings.seeds:
            yield self.part(vlm, seed, key)

    def heads(self, vlm: str, seed: int) -> Part:
        """The part with the heads that go with a VLM."""
        found = self.results.heads[self.results.recognisers[vlm]][seed]
        if "reason" in found:
            raise NotMeasured(found["reason"])
        return found

    def _fired(self, vlm: str, seed: int) -> dict[str, bool]:
        try:
            rows = self.heads(vlm, seed)["heads"]
        except NotMeasured:
            return {}
        return {own["id"]: fires(own, r["threshold"]) for r in rows for own in r["own"]}

    def captions(self, vlm: str, method: str, key: str = FULL.key) -> Iterator[Said]:
        """Captions of all validation photos: `plain`, `keyword`, `llm`, or `myvlm` under a setting."""
        for seed in self.results.settings.seeds:
            source = {"plain": "plain", "keyword": "plain", "llm": "llm"}.get(method, key)
            if method == "llm" and not self.results.settings.llm:
                raise NotMeasured("no language model was given (--llm)")
            part = self.part(vlm, seed, source)
            fired = self._fired(vlm, seed)
            words = self.results.vlms[vlm]
            for shown in self.shown[seed]:
                word = words["person" if shown.kind == Kind.PERSON else "thing"]
                text = part["captions"][shown.truth.id]
                text = replace_keyword(text, shown.keywords, word) if method == "keyword" else text
                yield Said(seed, shown, text, word, fired.get(shown.truth.id))

    def share(self, said: Sequence[Said], hit: Callable[[Said], bool], *, recognised: bool) -> Cell:
        """The share of captions that hit; with `recognised`, a head that did not fire is a miss."""
        if recognised and any(s.fired is None for s in said):
            return missing("the heads were not measured")
        return measured(proportion([hit(s) and (s.fired is True or not recognised) for s in said]))


class NotMeasured(Exception):
    """Why a cell is empty."""


def attempt(make: Callable[[], Sequence[Cell]], width: int) -> tuple[Cell, ...]:
    """A row's cells, or the reason in each of them."""
    try:
        return tuple(make())
    except NotMeasured as err:
        return (missing(str(err)),) * width
    except EngineError as err:
        return (missing(f"{err}: {err.hint}" if err.hint else str(err)),) * width


def attempt_one(make: Callable[[], Cell]) -> Cell:
    """A cell, or the reason in it."""
    return attempt(lambda: [make()], 1)[0]


def means(values: Sequence[float], most: float = math.inf, *, percent: bool = False) -> Cell:
    """The mean of some values between 0 and `most` as a cell."""
    return measured(mean(list(values)).clipped(0.0, most), percent=percent)
