"""How well a caption fits a photo (CLIPScore) and a ground-truth caption (sentence transformer), as in Table 2.

Both models are used from this disk only; what is not there is a reason, not an error.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.experiments import Parts
from engine.core.errors import EnvironmentFault
from engine.core.files import sha256_of
from engine.photos.decode import load_photo

CLIP, CLIP_REPO = "ViT-L-14-336", "timm/vit_large_patch14_clip_336.openai"
SENTENCES = "sentence-transformers/all-MiniLM-L6-v2"
_BATCH = 16


class Scores:
    """Scores of a model that is loaded when it is first needed, each list kept as a partial result."""

    def __init__(self, model: "type[ClipScore] | type[SentenceScore]", parts: Parts, device: str) -> None:
        self._make, self._parts, self._device = model, parts, device
        self._model: ClipScore | SentenceScore | None = None

    def of(self, name: str, digest: str, left: Sequence[Any], right: Sequence[Any]) -> list[float]:
        """The model's scores of pairs.

        Raises:
            EnvironmentFault: the model is not on this disk, or its library is not installed.
        """
        own = sha256_of(repr((digest, list(map(str, left)), right)).encode())[:16]
        found: list[float] = self._parts.get(f"scores-{name}", own, lambda: {"scores": self._measure(left, right)})[
            "scores"
        ]
        return found

    def _measure(self, left: Sequence[Any], right: Sequence[Any]) -> list[float]:
        from engine.core.device import pick_device

        try:
            if self._model is None:
                self._model = self._make(str(pick_device(self._device)))
            return self._model.scores(left, right)
        except ImportError as err:
            raise EnvironmentFault(f"needs {err.name}", hint="Run: pip install 'myvlm[evaluate]'") from err
        except OSError as err:
            raise EnvironmentFault(f"cannot be loaded: {str(err).splitlines()[0]}") from err


def _on_disk(repo: str, files: Sequence[str]) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, f) for f in files)
    return next((f for f in found if isinstance(f, str)), None)


class ClipScore:
    """100 · max(cos(photo, caption), 0) with CLIP ViT-L/14 at 336 px (Hessel et al. 2021, without their factor 2.5,
    as the paper's table reads).
    """

    def __init__(self, device: str = "cpu") -> None:
        """Load CLIP.

        Raises:
            EnvironmentFault: its weights are not on this disk.
        """
        weights = _on_disk(CLIP_REPO, ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))
        if weights is None:
            raise EnvironmentFault("the weights of CLIP ViT-L/14@336 are not on this disk")
        import engine.core.device  # noqa: F401, I001
        import open_clip

        self._model, _, self._prepare = open_clip.create_model_and_transforms(
            CLIP, pretrained=weights, force_quick_gelu=True, device=device
        )
        self._model.eval()
        self._device = device
        self._tokenize = open_clip.get_tokenizer(CLIP)

    def scores(self, paths: Sequence[Path], texts: Sequence[str]) -> list[float]:
        """One score a photo and caption, 0..100."""
        import torch

        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(paths), _BATCH):
                pixels = [self._prepare(load_photo(p).image) for p in paths[start : start + _BATCH]]
                seen = self._model.encode_image(torch.stack(pixels).to(self._device), normalize=True)
                tokens = self._tokenize(list(texts[start : start + _BATCH])).to(self._device)
                said = self._model.encode_text(tokens, normalize=True)
                found += (100.0 * (seen * said).sum(-1).clamp_min(0.0)).tolist()
        return found


class SentenceScore:
    """100 · cosine of two captions' sentence embeddings: token embeddings averaged (Reimers and Gurevych 2019)."""

    def __init__(self, device: str = "cpu") -> None:
        """Load the sentence transformer.

        Raises:
            EnvironmentFault: its weights are not on this disk.
        """
        if not _on_disk(SENTENCES, ("model.safetensors", "pytorch_model.bin")):
            raise EnvironmentFault(f"the weights of {SENTENCES} are not on this disk")
        import engine.core.device  # noqa: F401, I001
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(SENTENCES, local_files_only=True)
        self._model = AutoModel.from_pretrained(SENTENCES, local_files_only=True).eval().to(device)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                batch = self._tokenizer(list(texts[start : start + _BATCH]), padding=True, return_tensors="pt").to(
                    self._model.device
                )
                states = self._model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                rows.append(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
        found = np.concatenate(rows)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """One score a caption: against its nearest reference."""
        ends = np.cumsum([len(r) for r in references])[:-1]
        known = np.split(self._embed([r for own in references for r in own]), ends)
        said = self._embed(texts)
        return [float(100.0 * (own @ v).max()) for own, v in zip(known, said, strict=True)]
