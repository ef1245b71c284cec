"""Score captions against ground-truth captions: BLEU, ROUGE-L, METEOR, CIDEr (Table 6).

BLEU and METEOR are nltk's, ROUGE-L is rouge-score's. METEOR matches exact words and stems but no synonyms, because
WordNet has to be downloaded. CIDEr is computed here, because no light library has it: CIDEr-D (Vedantam et al. 2015, §5
and §6), the variant in published results. SPICE is left out, because it needs Java.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.core.errors import EnvironmentFault

Captions = Sequence[tuple[str, Sequence[str]]]
"""A caption with its references, for each photo."""
_N = 4  # the longest n-grams
_SIGMA = 6.0
"""Standard deviation, in words, of CIDEr-D's penalty on captions of another length."""
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words without punctuation."""
    return re.findall(r"\w+(?:['-]\w+)*", text.lower())


def bleu(captions: Captions) -> list[float]:
    """Compute corpus BLEU-1 to BLEU-4, 0..1, without smoothing (Papineni et al. 2002)."""
    score = _library("nltk.translate.bleu_score", "corpus_bleu")
    candidates = [words_of(c) for c, _ in captions]
    references = [[words_of(r) for r in group] for _, group in captions]
    weights = [tuple(1.0 / n if k < n else 0.0 for k in range(_N)) for n in range(1, _N + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns of n-grams that no caption shares
        return [float(v) for v in score(references, candidates, weights=weights)]


class _NoWordNet:
    """Takes the place of WordNet, in which METEOR looks up synonyms; it has none."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(caption: str, references: Sequence[str]) -> float:
    """Compute METEOR, 0..1, with exact and stem matches only (Banerjee and Lavie 2005)."""
    score = _library("nltk.translate.meteor_score", "meteor_score")
    return float(score([words_of(r) for r in references], words_of(caption), wordnet=_NoWordNet()))


def rouge_l(caption: str, references: Sequence[str]) -> float:
    """Compute ROUGE-L F1 against the nearest reference, 0..1 (Lin 2004)."""
    scorer = _library("rouge_score.rouge_scorer", "RougeScorer")(["rougeL"])
    candidate = " ".join(words_of(caption))
    return max(float(scorer.score(" ".join(words_of(r)), candidate)["rougeL"].fmeasure) for r in references)


def _grams(text: str) -> list[Counter[tuple[str, ...]]]:
    """Count the n-grams of a text, for n from 1 to 4."""
    words = words_of(text)
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, _N + 1)]


def cider(captions: Captions) -> list[float]:
    """Compute CIDEr-D of every caption, 0..10; document frequencies are those of these photos' references.

    With g_n the TF-IDF vector of a text's n-grams, h the caption and r a reference,
    CIDEr-D = 10/4 Σ_n mean_r exp(-(l(h)-l(r))²/2σ²) · min(g_n(h), g_n(r))·g_n(r) / (|g_n(h)| |g_n(r)|), σ = 6.
    """
    references = [[_grams(r) for r in group] for _, group in captions]
    frequency: Counter[tuple[str, ...]] = Counter()
    for group in references:
        frequency.update({g for r in group for counts in r for g in counts})
    total = math.log(len(captions)) if captions else 0.0

    def weigh(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        return {g: c * (total - math.log(max(1, frequency[g]))) for g, c in counts.items()}

    scores = []
    for (text, _), group in zip(captions, references, strict=True):
        grams = _grams(text)
        rows = [_compare(grams, r, weigh) for r in group]
        scores.append(10.0 * sum(rows) / len(rows))
    return scores


def _compare(
    caption: Sequence[Counter[tuple[str, ...]]],
    reference: Sequence[Counter[tuple[str, ...]]],
    weigh: Callable[[Counter[tuple[str, ...]]], dict[tuple[str, ...], float]],
) -> float:
    """Compute the inner sum of CIDEr-D over n, divided by their number, for one caption and one reference."""
    gap = sum(caption[0].values()) - sum(reference[0].values())
    similarity = 0.0
    for caption_counts, reference_counts in zip(caption, reference, strict=True):
        a, b = weigh(caption_counts), weigh(reference_counts)
        length = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        if length:
            similarity += sum(min(v, b[g]) * b[g] for g, v in a.items() if g in b) / length
    return similarity / _N * math.exp(-(gap**2) / (2 * _SIGMA**2))


def _library(module: str, name: str) -> Any:
    """Import a function of an optional library.

    Raises:
        EnvironmentFault: it is not installed.
    """
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except ImportError as err:
        raise EnvironmentFault(f"needs {module.split('.')[0]}", hint="Run: pip install 'myvlm[evaluate]'") from err
