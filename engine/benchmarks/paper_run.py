"""Measure VLMs and heads by the paper's protocol, with models loaded and drawings made once for all experiments."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.benchmarks import generation_experiments
from engine.benchmarks.benchmark import Subject
from engine.benchmarks.cases import Case, hash_contents
from engine.benchmarks.crowd_experiment import measure_crowds
from engine.benchmarks.drawn_cases import draw_cases, draw_crowd_photos
from engine.benchmarks.experiments import Measurement, MeasurementStore
from engine.benchmarks.folder_cases import folder_cases, with_kind
from engine.benchmarks.generation import CaptionGenerator
from engine.benchmarks.heads_experiment import measure_heads
from engine.benchmarks.results import Results, case_document
from engine.benchmarks.settings import FULL, PaperSettings, Setting, settings_for
from engine.benchmarks.train_case import identifier_of
from engine.benchmarks.workers import Notify
from engine.core.errors import EngineError
from engine.core.files import open_regular, sha256_of
from engine.core.types import Kind
from engine.session import Session, SessionOptions
from engine.vlms.registry import find_weights

if TYPE_CHECKING:
    from engine.benchmarks.baselines import Rewriter
    from engine.vision.extractor import FeatureExtractor

_CROWD_SHARE = 2
"""Crowds of each size, as a multiple of the validation photos per concept and split."""


@dataclass
class SeedCases:
    """The cases of one seed, with the digest of all that defines them; drawn cases have subjects."""

    cases: list[Case]
    subjects: list[Subject]
    folder: Path
    digest: str


@dataclass(frozen=True)
class _Job:
    """One VLM and one seed to measure. digest: of all that decides the measurements."""

    name: str
    session: Session
    generator: CaptionGenerator
    seed: int
    digest: str

    def file(self, experiment: str) -> str:
        """Return the name under which a measurement is stored."""
        return f"{self.name}-seed{self.seed}-{experiment}"


class PaperRun:
    """One run: it fills `results`, and the folder of partial results beside the tables."""

    def __init__(self, settings: PaperSettings, folder: Path, results: Results, notify: Notify) -> None:
        self.settings, self.folder, self.results, self.notify = settings, folder, results, notify
        self.measurements = MeasurementStore(settings.out / "parts")
        self.embeddings = MeasurementStore(settings.out / "parts" / "embeddings")
        self._cases: dict[int, SeedCases] = {}
        self._recognisers: dict[str, FeatureExtractor] = {}
        self._rewriters: dict[str, Rewriter] = {}

    def cases_of(self, seed: int) -> SeedCases:
        """Draw a seed's cases, or split the user's folder by it, once."""
        if seed not in self._cases:
            s, folder = self.settings, self.folder / f"seed{seed}"
            subjects: list[Subject] = []
            if s.data:
                cases, left_out = folder_cases(s.data, seed, s.concepts, s.photos)
                self.results.notes += [n for n in left_out if n not in self.results.notes]
            else:
                subjects, cases = draw_cases(folder, seed, s.concepts or 10, s.photos or 3)
            facts = [(case_document(c), c.captions, sorted(hash_contents(c))) for c in cases]
            digest = sha256_of(json.dumps(facts).encode())[:16]
            self._cases[seed] = SeedCases(cases, subjects, folder, digest)
        return self._cases[seed]

    def measure_heads(self, name: str) -> Session:
        """Measure the heads of a VLM's recogniser, and return the VLM's session.

        Why a VLM cannot be measured goes to `results.reasons`.
        """
        s = self.settings
        session = Session(SessionOptions(name, s.chosen_recogniser, s.device, s.dtype), self.folder / "home")
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
        """Measure everything about one VLM, its heads first."""
        session = self.measure_heads(name)
        if name in self.results.reasons:
            self.notify(f"{name}: not measured: {self.results.reasons[name]}")
            return
        words = {kind: identifiers[0] for kind, identifiers in session.vlm_config.identifiers.items()}
        self.results.vlms[name] = {"id": session.vlm_id, "revision": session.vlm_revision, **words}
        if session.vlm_config.world:
            self.results.vlms[name]["world"] = session.vlm_config.world
        generator = CaptionGenerator(session.vlm_config, lambda: session.vlm)
        recogniser = session.recogniser_config
        models = (session.vlm_id, session.vlm_revision, session.vlm_config, recogniser.id, recogniser.faces_id)
        for seed in self.settings.seeds:
            digest = self.settings.digest(name, models, self.cases_of(seed).digest)
            self._measure_seed(_Job(name, session, generator, seed, digest))

    def _measure_heads(self, session: Session, seed: int) -> None:
        recogniser, seed_cases = session.recogniser_config, self.cases_of(seed)
        by_seed = self.results.heads.setdefault(recogniser.name, {})
        if seed not in by_seed:
            digest = self.settings.digest(recogniser.id, recogniser.faces_id, seed_cases.digest)
            empty = self._empty_session(session, f"heads-{seed}")
            by_seed[seed] = self._try(
                f"heads-{recogniser.name}-seed{seed}", digest, lambda: measure_heads(empty, seed_cases.cases, seed)
            )
        kinds = {h["concept"]: Kind(h["kind"]) for h in by_seed.get(seed, {}).get("heads", ())}
        seed_cases.cases = [with_kind(c, kinds.get(c.name, c.kind)) for c in seed_cases.cases]

    def _measure_seed(self, job: _Job) -> None:
        s, cases, generator = self.settings, self.cases_of(job.seed).cases, job.generator
        by_key = self.results.vlm_measurements.setdefault(job.name, {}).setdefault(job.seed, {})
        by_key["plain"] = self._try(
            job.file("plain"), job.digest, lambda: generation_experiments.measure_plain(generator, cases)
        )
        for setting in settings_for(s.tables):
            measure = partial(self._measure_captions, job, setting)
            by_key[setting.key] = self._try(job.file(setting.key), job.digest, measure)
        if "1" in s.tables and s.llm:
            digest = s.digest(job.digest, s.llm, fingerprint(s.llm))
            by_key["llm"] = self._try(job.file("llm"), digest, lambda: self._rewrite(job, s.llm or "", by_key["plain"]))
        if "more" in s.tables and not s.data:
            self._measure_more(job, by_key)

    def _measure_captions(self, job: _Job, setting: Setting) -> Measurement:
        cases = self.cases_of(job.seed).cases
        vectors, curves = self._train(job, setting)
        captions = generation_experiments.measure_captions(job.generator, cases, vectors)
        return {"learned": curves, "captions": captions}

    def _train(self, job: _Job, setting: Setting) -> tuple[generation_experiments.Vectors, list[Measurement]]:
        cases, steps = self.cases_of(job.seed).cases, self.settings.steps
        store = self.embeddings
        return generation_experiments.train_embeddings(
            job.generator, cases, setting, seed=job.seed, steps=steps, store=store, digest=job.digest
        )

    def _measure_more(self, job: _Job, by_key: dict[str, Measurement]) -> None:
        """Measure what the paper lacks: answers, boxes, and several concepts in one photo."""
        config, cases = job.session.vlm_config, self.cases_of(job.seed).cases
        if config.answers:
            by_key["answers"] = self._try(
                job.file("answers"),
                job.digest,
                lambda: generation_experiments.measure_answers(
                    job.generator, cases, self._train(job, FULL)[0], job.seed
                ),
            )
            by_key["answers_vqa"] = self._try(
                job.file("answers-vqa"), job.digest, lambda: self._measure_trained_answers(job)
            )
        else:
            reason = f"{job.name} writes captions only: its prompt is empty"
            by_key["answers"] = by_key["answers_vqa"] = {"reason": reason}
        if "refer" in config.requests:
            by_key["boxes"] = self._try(
                job.file("boxes"),
                job.digest,
                lambda: generation_experiments.measure_boxes(job.generator, cases, self._train(job, FULL)[0]),
            )
        else:
            by_key["boxes"] = {"reason": f"{job.name} does not answer with boxes"}
        by_key["crowds"] = self._try(job.file("crowds"), job.digest, lambda: self._measure_crowds(job))

    def _measure_trained_answers(self, job: _Job) -> Measurement:
        seed_cases = self.cases_of(job.seed)
        empty = self._empty_session(job.session, f"vqa-{job.seed}")
        vectors = generation_experiments.train_answer_embeddings(
            empty, seed_cases.cases, seed=job.seed, steps=self.settings.steps, folder=seed_cases.folder
        )
        return generation_experiments.measure_answers(job.generator, seed_cases.cases, vectors, job.seed)

    def _measure_crowds(self, job: _Job) -> Measurement:
        s, seed_cases = self.settings, self.cases_of(job.seed)
        photos = (s.photos or 3) * _CROWD_SHARE
        crowds = draw_crowd_photos(seed_cases.folder / "crowds", seed_cases.subjects, job.seed, photos)
        empty = self._empty_session(job.session, f"crowds-{job.seed}")
        return measure_crowds(empty, seed_cases.cases, crowds, seed=job.seed, steps=s.steps, folder=seed_cases.folder)

    def _rewrite(self, job: _Job, llm: str, plain: Measurement) -> Measurement:
        """Let a language model put the identifiers into the plain captions."""
        from engine.core.device import pick_device

        from engine.benchmarks.baselines import Rewriter

        if "reason" in plain:
            return {"reason": plain["reason"]}
        if llm not in self._rewriters:
            self._rewriters[llm] = Rewriter(llm, str(pick_device(self.settings.device)))
        config, cases = job.session.vlm_config, self.cases_of(job.seed).cases
        rows = [(i.truth.id, c.keywords, identifier_of(config, c.kind)) for c in cases for i in c.validation]
        captions = [plain["captions"][photo] for photo, _, _ in rows]
        texts = self._rewriters[llm].rewrite(captions, [k for _, k, _ in rows], [i for _, _, i in rows])
        return {"captions": dict(zip((photo for photo, _, _ in rows), texts, strict=True))}

    def _try(self, name: str, digest: str, measure: Callable[[], Measurement]) -> Measurement:
        """Return a measurement, or the reason why it cannot be made."""
        try:
            measurement = self.measurements.get(name, digest, measure)
            self.notify(name)
            return measurement
        except EngineError as err:
            reason = str(err).replace(f"{self.folder}/", "")
            self.notify(f"{name}: not measured: {reason}")
            return {"reason": reason}

    def _empty_session(self, session: Session, name: str) -> Session:
        """Make a session with an empty store that shares the loaded models and the feature cache."""
        empty = Session(session.choices, self.folder / "stores" / f"{session.vlm_config.name}-{name}")
        recogniser = session.recogniser_config.name
        if recogniser not in self._recognisers:
            self._recognisers[recogniser] = session.recogniser
        empty.recogniser, empty.cache = self._recognisers[recogniser], session.cache
        if not name.startswith("heads"):
            empty.vlm = session.vlm
        return empty


def fingerprint(source: str) -> list[tuple[str, int, str]]:
    """Tell versions of a model's files apart: name, size, and SHA-256 of the first MiB of each file."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source).expanduser()
    if folder.is_file():
        return [_fingerprint(folder)]
    if not folder.is_dir():
        cached = try_to_load_from_cache(source, "config.json") if source.count("/") < 2 else None
        folder = Path(cached).parent if isinstance(cached, str) else folder
    return [_fingerprint(p) for p in sorted(folder.glob("*")) if p.is_file()]


def _fingerprint(file: Path) -> tuple[str, int, str]:
    with open_regular(file) as f:
        return file.name, file.stat().st_size, sha256_of(os.pread(f, 2**20, 0))
