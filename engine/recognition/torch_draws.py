"""Draw the random numbers that `torch.Generator` draws on a CPU, without torch, which takes seconds to import.

Both use the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998) with its original seeding. Tests compare the draws
with torch's: those of rows are equal, normal ones up to the last bits of logarithm and cosine.
"""

import math

import numpy as np

_LANES = 8
"""Normal numbers are made in blocks of 16: 8 radii and 8 angles (Box and Muller 1958)."""
_FLOAT_BITS, _DOUBLE_BITS = 24, 53
"""Bits of a uniform number in [0, 1): the width of the significand."""


class TorchDraws:
    """The stream of `torch.Generator().manual_seed(seed)` on a CPU."""

    def __init__(self, seed: int) -> None:
        """Start the stream; of the seed the lowest 32 bits count."""
        self._twister = np.random.RandomState(seed & 0xFFFFFFFF)

    def normal(self, shape: tuple[int, int], deviation: float) -> np.ndarray:
        """Return what `torch.empty(shape).normal_(0, deviation)` holds, float32; at least 16 numbers.

        Raises:
            ValueError: there are fewer, which torch draws in another way.
        """
        count, block = math.prod(shape), 2 * _LANES
        if count < block:
            raise ValueError(f"{count} normal numbers are fewer than {block}")
        uniform, whole = self._floats(count), count // block * block
        found = np.empty(count, np.float32)
        found[:whole] = _box_muller(uniform[:whole], deviation)
        if whole < count:  # the last block is drawn again, over the end of the one before
            found[-block:] = _box_muller(self._floats(block), deviation)
        return found.reshape(shape)

    def rows(self, weights: np.ndarray, count: int) -> np.ndarray:
        """Return what `torch.multinomial(weights, count, replacement=True)` returns, (count,) int.

        weights: (N,) float32, not normalised.
        """
        bounds = np.cumsum(weights, dtype=np.float32)
        high, low = self._words(2 * count).astype(np.uint64).reshape(count, 2).T
        bits = ((high << np.uint64(32)) | low) & np.uint64(2**_DOUBLE_BITS - 1)
        found = np.searchsorted(bounds / bounds[-1], bits.astype(np.float64) * 2.0**-_DOUBLE_BITS)
        return np.minimum(found, len(weights) - 1)

    def _floats(self, count: int) -> np.ndarray:
        """Return uniform numbers in [0, 1), (count,) float32."""
        bits = self._words(count) & np.uint32(2**_FLOAT_BITS - 1)
        return bits.astype(np.float32) * np.float32(2.0**-_FLOAT_BITS)

    def _words(self, count: int) -> np.ndarray:
        return np.frombuffer(self._twister.bytes(4 * count), "<u4")


def _box_muller(uniform: np.ndarray, deviation: float) -> np.ndarray:
    """Turn blocks of 16 uniform numbers into normal ones with mean 0, in single precision as torch does."""
    first, second = uniform.reshape(-1, 2, _LANES).swapaxes(0, 1)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - first)) * np.float32(deviation)
    angle = np.float32(2 * math.pi) * second
    found: np.ndarray = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return found
