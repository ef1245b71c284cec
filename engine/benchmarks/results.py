"""Hold all measurements of a run of the paper's protocol, as tables and pages read them."""

from dataclasses import dataclass, field
from typing import Any

from engine.benchmarks.cases import Case
from engine.benchmarks.experiments import Measurement
from engine.benchmarks.settings import PaperSettings


@dataclass
class Results:
    """All measurements of a run; one that could not be made is `{"reason": why}`.

    cases: JSON of the cases, by seed; heads: by recogniser and seed; vlm_measurements: by VLM, seed and experiment;
    reasons: why a VLM was not measured; families: each VLM's backend; recognisers: each VLM's recogniser; vlms: id,
    weights and identifiers of each VLM; notes: what of a user's folder was left out.
    """

    settings: PaperSettings
    cases: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    heads: dict[str, dict[int, Measurement]] = field(default_factory=dict)
    vlm_measurements: dict[str, dict[int, dict[str, Measurement]]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    recognisers: dict[str, str] = field(default_factory=dict)
    vlms: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def case_document(case: Case) -> dict[str, Any]:
    """Return a case as plain data; digests of stored measurements depend on these keys and their order."""
    return {
        "name": case.name,
        "kind": str(case.kind) if case.kind else None,
        "category": case.category,
        "keywords": list(case.keywords),
        "context": [list(c) for c in case.context],
        "training": [p.name for p in case.training],
        "items": [i.truth.document() for i in case.validation],
        "strangers": [i.truth.document() for i in case.strangers],
    }
