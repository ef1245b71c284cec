"""How close a caption is to ground-truth captions: BLEU, ROUGE-L, METEOR, CIDEr (Table 6).

BLEU and METEOR are nltk's, ROUGE-L is rouge-score's. METEOR matches exact words and stems, not synonyms: WordNet is a
download. CIDEr is computed here, because no light library has it: CIDEr-D (Vedantam et al. 2015, §5 and §6), the
variant that published figures report. SPICE needs Java.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.core.errors import EnvironmentFault

Captions = Sequence[tuple[str, Sequence[str]]]
"""A caption and its references, for each photo."""
_N = 4
_SIGMA = 6.0
"""Of CIDEr-D's penalty on captions of another length."""
NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, as the captioning literature counts them."""
    return re.findall(r"\w+(?:['-]\w+)*", text.lower())


def bleu(captions: Captions) -> list[float]:
    """Corpus BLEU-1 to BLEU-4, 0..1 (Papineni et al. 2002), without smoothing."""
    score = _library("nltk.translate.bleu_score", "corpus_bleu")
    said = [words_of(c) for c, _ in captions]
    references = [[words_of(r) for r in own] for _, own in captions]
    weights = [tuple(1.0 / n if k < n else 0.0 for k in range(_N)) for n in range(1, _N + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns of n-grams that no caption shares
        return [float(v) for v in score(references, said, weights=weights)]


class _NoWordNet:
    """Stands where METEOR looks up synonyms."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(caption: str, references: Sequence[str]) -> float:
    """METEOR, 0..1, with exact and stem matches only (Banerjee and Lavie 2005)."""
    score = _library("nltk.translate.meteor_score", "meteor_score")
    return float(score([words_of(r) for r in references], words_of(caption), wordnet=_NoWordNet()))


def rouge_l(caption: str, references: Sequence[str]) -> float:
    """ROUGE-L F1 against the nearest reference, 0..1 (Lin 2004)."""
    scorer = _library("rouge_score.rouge_scorer", "RougeScorer")(["rougeL"])
    said = " ".join(words_of(caption))
    return max(float(scorer.score(" ".join(words_of(r)), said)["rougeL"].fmeasure) for r in references)


def _grams(text: str) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram occurs, for n from 1 to 4."""
    found = words_of(text)
    return [Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1)) for n in range(1, _N + 1)]


def cider(captions: Captions) -> list[float]:
    """CIDEr-D of every caption, 0..10; document frequencies are those of these photos' references.

    With g_n the TF-IDF vector of a text's n-grams, h the caption and r a reference,
    CIDEr-D = 10/4 Σ_n mean_r exp(-(l(h)-l(r))²/2σ²) · min(g_n(h), g_n(r))·g_n(r) / (|g_n(h)| |g_n(r)|), σ = 6.
    """
    references = [[_grams(r) for r in own] for _, own in captions]
    seen: Counter[tuple[str, ...]] = Counter()
    for own in references:
        seen.update({g for r in own for counts in r for g in counts})
    total = math.log(len(captions)) if captions else 0.0

    def weigh(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        return {g: c * (total - math.log(max(1, seen[g]))) for g, c in counts.items()}

    scores = []
    for (text, _), own in zip(captions, references, strict=True):
        said = _grams(text)
        rows = [_compare(said, r, weigh) for r in own]
        scores.append(10.0 * sum(rows) / len(rows))
    return scores


def _compare(
    said: Sequence[Counter[tuple[str, ...]]],
    reference: Sequence[Counter[tuple[str, ...]]],
    weigh: Callable[[Counter[tuple[str, ...]]], dict[tuple[str, ...], float]],
) -> float:
    gap = sum(said[0].values()) - sum(reference[0].values())
    found = 0.0
    for own, other in zip(said, reference, strict=True):
        a, b = weigh(own), weigh(other)
        length = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        if length:
            found += sum(min(v, b[g]) * b[g] for g, v in a.items() if g in b) / length
    return found / _N * math.exp(-(gap**2) / (2 * _SIGMA**2))


def _library(module: str, name: str) -> Any:
    """A function of an optional library.

    Raises:
        EnvironmentFault: it is not installed.
    """
    from importlib import import_module

    try:
        return getattr(import_module(module), name)
    except ImportError as err:
        raise EnvironmentFault(f"needs {module.split('.')[0]}", hint="Run: pip install 'myvlm[evaluate]'") from err
