"""Score how well a caption fits a photo (CLIPScore) and a ground-truth caption (sentence transformer), for Table 2.

Both models are loaded from this disk only; where one is missing, its cells say so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.benchmarks.experiments import MeasurementStore
from engine.core.errors import EnvironmentFault
from engine.core.files import sha256_of
from engine.photos.decode import load_photo

CLIP, CLIP_REPO = "ViT-L-14-336", "timm/vit_large_patch14_clip_336.openai"
SENTENCES = "sentence-transformers/all-MiniLM-L6-v2"
_BATCH = 16


class Scores:
    """Scores of a model that is loaded when it is first needed; each list of scores is stored as a measurement."""

    def __init__(self, model: "type[ClipScore] | type[SentenceScore]", store: MeasurementStore, device: str) -> None:
        self._make, self._store, self._device = model, store, device
        self._model: ClipScore | SentenceScore | None = None

    def of(self, name: str, digest: str, left: Sequence[Any], right: Sequence[Any]) -> list[float]:
        """Return the model's scores of pairs.

        Raises:
            EnvironmentFault: the model is not on this disk, or its library is not installed.
        """
        pairs_digest = sha256_of(repr((digest, list(map(str, left)), right)).encode())[:16]
        stored = self._store.get(f"scores-{name}", pairs_digest, lambda: {"scores": self._measure(left, right)})
        return stored["scores"]

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

    paths = (try_to_load_from_cache(repo, f) for f in files)
    return next((p for p in paths if isinstance(p, str)), None)


class ClipScore:
    """100 · max(cos(photo, caption), 0) with CLIP ViT-L/14 at 336 px (Hessel et al. 2021).

    Their factor of 2.5 is left out, as in the paper's table.
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
        """Score each photo with its caption, 0..100."""
        import torch

        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(paths), _BATCH):
                pixels = [self._prepare(load_photo(p).image) for p in paths[start : start + _BATCH]]
                images = self._model.encode_image(torch.stack(pixels).to(self._device), normalize=True)  # (B, D)
                tokens = self._tokenize(list(texts[start : start + _BATCH])).to(self._device)
                captions = self._model.encode_text(tokens, normalize=True)  # (B, D)
                scores += (100.0 * (images * captions).sum(-1).clamp_min(0.0)).tolist()
        return scores


class SentenceScore:
    """100 · cosine of two captions' embeddings, each the mean of token embeddings (Reimers and Gurevych 2019)."""

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
        embeddings = np.concatenate(rows)  # (N, D)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def scores(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """Score each caption against its nearest reference."""
        ends = np.cumsum([len(r) for r in references])[:-1]
        by_caption = np.split(self._embed([r for group in references for r in group]), ends)  # (R_i, D) each
        captions = self._embed(texts)
        return [float(100.0 * (group @ v).max()) for group, v in zip(by_caption, captions, strict=True)]
