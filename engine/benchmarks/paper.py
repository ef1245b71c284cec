"""The paper's protocol, from seeds to measurements: who is learned, what is asked, and what is kept of it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.benchmarks import generation_experiments
from engine.benchmarks.benchmark import Subject
from engine.benchmarks.cases import Case, contents_of
from engine.benchmarks.crowd_experiment import measure_crowds
from engine.benchmarks.drawn_cases import draw_cases, draw_crowds
from engine.benchmarks.experiments import Part, Parts
from engine.benchmarks.folder_cases import folder_cases, with_kind
from engine.benchmarks.generation import Voice
from engine.benchmarks.heads_experiment import measure_heads
from engine.benchmarks.settings import FULL, PaperSettings, settings_for
from engine.benchmarks.train_case import identifier_of
from engine.core.errors import EngineError, EnvironmentFault
from engine.core.files import open_regular, sha256_of
from engine.core.types import Kind
from engine.session import Session, SessionOptions
from engine.vlms.config import find_config
from engine.vlms.registry import find_weights

Tell = Callable[[str], None]
_CROWD_SHARE = 2
"""Crowds of each size, as a multiple of the validation photos per concept and split."""


@dataclass
class Results:
    """All measurements; what could not be made is `{"reason": why}`. Lists of cases by seed; heads by recogniser and
    seed; voices by VLM, seed and part; families: each VLM's backend.
    """

    settings: PaperSettings
    cases: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    heads: dict[str, dict[int, Part]] = field(default_factory=dict)
    voices: dict[str, dict[int, dict[str, Part]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    recognisers: dict[str, str] = field(default_factory=dict)
    vlms: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Group:
    """One seed's cases, with what decides them."""

    cases: list[Case]
    subjects: list[Subject]
    folder: Path
    digest: str


def measure(settings: PaperSettings, tell: Tell) -> Results:
    """Measure everything that is not yet on the disk; several workers measure a VLM and a seed each."""
    if settings.workers > 1:
        _share(settings, tell)
    results = Results(settings)
    with TemporaryDirectory(prefix="myvlm-paper-") as name, _one_thread(settings):
        run = _Run(settings, Path(name), results, tell)
        for vlm in settings.vlms:
            run.measure_vlm(vlm)
        for seed in settings.seeds:
            results.cases[seed] = [_document(c) for c in run.group(seed).cases]
    return results


def _share(settings: PaperSettings, tell: Tell) -> None:
    """Let processes fill the folder of partial results; what they cannot measure is found out again afterwards."""
    by_recogniser = {settings.recogniser or find_config(v).recogniser: v for v in reversed(settings.vlms)}
    heads = [
        replace(settings, vlms=(v,), seeds=(s,), workers=1) for s in settings.seeds for v in by_recogniser.values()
    ]
    jobs = [replace(settings, vlms=(v,), seeds=(s,), workers=1) for s in settings.seeds for v in settings.vlms]
    try:
        with ProcessPoolExecutor(settings.workers, get_context("spawn"), _prepare_worker) as pool:
            list(pool.map(_work_on_heads, heads))
            for job, _ in zip(jobs, pool.map(_work, jobs), strict=True):
                tell(f"{job.vlms[0]}, seed {job.seeds[0]}: measured")
    except BrokenProcessPool as err:
        raise EnvironmentFault("a worker died, perhaps for lack of memory", hint="Use fewer --workers.") from err


def _prepare_worker() -> None:
    import engine.core.device  # noqa: F401, I001
    import torch

    torch.set_num_threads(1)


@contextmanager
def _one_thread(settings: PaperSettings) -> Iterator[None]:
    """Torch with one thread where every VLM is small: sums, and so bytes, are then those of several workers."""
    import engine.core.device  # noqa: F401, I001
    import torch

    before = torch.get_num_threads()
    if all(find_config(v).world for v in settings.vlms):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _work_on_heads(settings: PaperSettings) -> None:
    with TemporaryDirectory(prefix="myvlm-paper-") as name:
        _Run(settings, Path(name), Results(settings), lambda text: None).measure_heads(settings.vlms[0])


def _work(settings: PaperSettings) -> None:
    measure(settings, lambda text: None)


def _document(case: Case) -> dict[str, Any]:
    found = {"name": case.name, "kind": str(case.kind) if case.kind else None, "category": case.category}
    found |= {"keywords": list(case.keywords), "context": [list(c) for c in case.context]}
    found["training"] = [p.name for p in case.training]
    found["items"] = [i.truth.document() for i in case.validation]
    found["strangers"] = [i.truth.document() for i in case.strangers]
    return found


def _fingerprint(source: str) -> list[tuple[str, int, str]]:
    """What tells one version of a model's files from another: names, sizes, and how they begin."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source)
    if not folder.is_dir():
        cached = try_to_load_from_cache(source, "config.json") if source.count("/") < 2 else None
        folder = Path(cached).parent if isinstance(cached, str) else folder
    found = []
    for file in sorted(p for p in folder.glob("*") if p.is_file()):
        with open_regular(file) as f:
            found.append((file.name, file.stat().st_size, sha256_of(os.pread(f, 2**20, 0))))
    return found


class _Run:
    """One run: models and drawings made once."""

    def __init__(self, settings: PaperSettings, folder: Path, results: Results, tell: Tell) -> None:
        self.settings, self.folder, self.results, self.tell = settings, folder, results, tell
        self.parts = Parts(settings.out / "parts")
        self.lessons = Parts(settings.out / "parts" / "embeddings")
        self._groups: dict[int, _Group] = {}
        self._recognisers: dict[str, Any] = {}
        self._rewriter: Any = None

    def group(self, seed: int) -> _Group:
        """A seed's cases."""
        if seed not in self._groups:
            s, folder, subjects = self.settings, self.folder / f"seed{seed}", []
            if s.data:
                cases, left_out = folder_cases(s.data, seed, s.concepts, s.photos)
                self.results.notes += [n for n in left_out if n not in self.results.notes]
            else:
                subjects, cases = draw_cases(folder, seed, s.concepts or 10, s.photos or 3)
            known = [(_document(c), c.captions, sorted(contents_of(c))) for c in cases]
            digest = sha256_of(json.dumps(known).encode())[:16]
            self._groups[seed] = _Group(cases, subjects, folder, digest)
        return self._groups[seed]

    def measure_heads(self, name: str) -> Session:
        """The heads that go with one VLM; a VLM that is not there is a reason."""
        s = self.settings
        session = Session(SessionOptions(name, s.recogniser, s.device, s.dtype), self.folder / "home")
        try:
            config = session.vlm_config
            self.results.families[name] = config.backend
            self.results.recognisers[name] = session.recogniser_config.name
            if find_weights(config) is None:
                self.results.reasons[name] = "its weights are not on this disk"
        except EngineError as err:
            self.results.reasons[name] = str(err)
        for seed in s.seeds if name in self.results.recognisers else ():
            self._measure_heads(session, seed)
        return session

    def measure_vlm(self, name: str) -> None:
        """Everything about one VLM."""
        session = self.measure_heads(name)
        if name in self.results.reasons:
            self.tell(f"{name}: not measured: {self.results.reasons[name]}")
            return
        words = {kind: own[0] for kind, own in session.vlm_config.identifiers.items()}
        self.results.vlms[name] = {"id": session.vlm_id, "revision": session.vlm_revision, **words}
        if session.vlm_config.world:
            self.results.vlms[name]["world"] = session.vlm_config.world
        voice: list[Voice] = []
        for seed in self.settings.seeds:
            self._measure_seed(name, session, voice, seed)

    def _measure_heads(self, session: Session, seed: int) -> None:
        recogniser, group = session.recogniser_config, self.group(seed)
        by_seed = self.results.heads.setdefault(recogniser.name, {})
        if seed not in by_seed:
            digest = self.settings.digest(recogniser.id, recogniser.faces_id, group.digest)
            fresh = self._fresh(session, f"heads-{seed}")
            by_seed[seed] = self._try(
                f"heads-{recogniser.name}-seed{seed}", digest, lambda: measure_heads(fresh, group.cases, seed)
            )
        kinds = {h["concept"]: Kind(h["kind"]) for h in by_seed.get(seed, {}).get("heads", ())}
        group.cases = [with_kind(c, kinds.get(c.name, c.kind)) for c in group.cases]

    def _measure_seed(self, name: str, session: Session, kept: list[Voice], seed: int) -> None:
        s, cases, tables = self.settings, self.group(seed).cases, set(self.settings.tables)
        recogniser = session.recogniser_config
        models = (session.vlm_id, session.vlm_revision, session.vlm_config, recogniser.id, recogniser.faces_id)
        digest = s.digest(name, models, self.group(seed).digest)
        found = self.results.voices.setdefault(name, {}).setdefault(seed, {})

        def voice() -> Voice:
            if not kept:
                kept.append(Voice(session.vlm))
            return kept[0]

        found["plain"] = self._try(
            f"{name}-seed{seed}-plain", digest, lambda: generation_experiments.measure_plain(session, voice(), cases)
        )
        for setting in settings_for(s.tables):

            def named(setting: Any = setting) -> Part:
                vectors, rows = generation_experiments.learn_all(
                    session, cases, setting, seed, s.steps, self.lessons, digest
                )
                said = generation_experiments.measure_named(session, voice(), cases, vectors)
                return {"learned": rows, "captions": said}

            found[setting.key] = self._try(f"{name}-seed{seed}-{setting.key}", digest, named)
        if "1" in tables and s.llm:
            own = s.digest(digest, s.llm, _fingerprint(s.llm))
            found["llm"] = self._try(f"{name}-seed{seed}-llm", own, lambda: self._llm(session, cases, found))
        if "more" in tables and not s.data:
            self._measure_more(name, session, voice, seed, digest)

    def _measure_more(self, name: str, session: Session, voice: Callable[[], Voice], seed: int, digest: str) -> None:
        s, group, cases = self.settings, self.group(seed), self.group(seed).cases
        found, stem = self.results.voices[name][seed], f"{name}-seed{seed}"

        def vectors() -> generation_experiments.Vectors:
            return generation_experiments.learn_all(session, cases, FULL, seed, s.steps, self.lessons, digest)[0]

        def trained_answers() -> Part:
            fresh = self._fresh(session, f"vqa-{seed}")
            own = generation_experiments.learn_answers(fresh, cases, seed, s.steps, group.folder)
            return generation_experiments.measure_answers(session, voice(), cases, own, seed)

        def crowds() -> Part:
            drawn = draw_crowds(group.folder / "crowds", group.subjects, seed, (s.photos or 3) * _CROWD_SHARE)
            fresh = self._fresh(session, f"crowds-{seed}")
            return measure_crowds(fresh, cases, drawn, seed, s.steps, group.folder)

        if session.vlm_config.answers:
            found["answers"] = self._try(
                f"{stem}-answers",
                digest,
                lambda: generation_experiments.measure_answers(session, voice(), cases, vectors(), seed),
            )
            found["answers_vqa"] = self._try(f"{stem}-answers-vqa", digest, trained_answers)
        else:
            found["answers"] = found["answers_vqa"] = {"reason": f"{name} writes captions only: its prompt is empty"}
        if "refer" in session.vlm_config.requests:
            found["boxes"] = self._try(
                f"{stem}-boxes", digest, lambda: generation_experiments.measure_boxes(session, cases, vectors())
            )
        else:
            found["boxes"] = {"reason": f"{name} does not answer with boxes"}
        found["crowds"] = self._try(f"{stem}-crowds", digest, crowds)

    def _llm(self, session: Session, cases: Sequence[Case], found: dict[str, Part]) -> Part:
        from engine.core.device import pick_device

        from engine.benchmarks.baselines import Rewriter

        if "reason" in found["plain"]:
            return {"reason": found["plain"]["reason"]}
        assert self.settings.llm is not None
        if self._rewriter is None:
            self._rewriter = Rewriter(self.settings.llm, str(pick_device(self.settings.device)))
        plain = found["plain"]["captions"]
        jobs = [(i.truth.id, c.keywords, identifier_of(session, c.kind)) for c in cases for i in c.validation]
        ids, keywords, identifiers = (list(column) for column in zip(*jobs, strict=True))
        said = self._rewriter.rewrite([plain[i] for i in ids], keywords, identifiers)
        return {"captions": dict(zip(ids, said, strict=True))}

    def _try(self, name: str, digest: str, make: Callable[[], Part]) -> Part:
        """A part, or the reason why it cannot be measured."""
        try:
            found = self.parts.get(name, digest, make)
            self.tell(name)
            return found
        except EngineError as err:
            reason = str(err).replace(f"{self.folder}/", "")
            self.tell(f"{name}: not measured: {reason}")
            return {"reason": reason}

    def _fresh(self, session: Session, name: str) -> Session:
        """A session with an empty store that shares the loaded models and the feature cache."""
        fresh = Session(session.choices, self.folder / "stores" / f"{session.vlm_config.name}-{name}")
        recogniser = session.recogniser_config.name
        if recogniser not in self._recognisers:
            self._recognisers[recogniser] = session.recogniser
        fresh.recogniser, fresh.cache = self._recognisers[recogniser], session.cache
        if not name.startswith("heads"):
            fresh.vlm = session.vlm
        return fresh
