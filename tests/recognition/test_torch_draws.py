import numpy as np
import pytest
import torch

from engine.recognition.torch_draws import TorchDraws


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**33 + 5])
@pytest.mark.parametrize("width", [8, 64, 67, 1280])
def test_the_draws_are_those_of_torch(seed, width):
    theirs, ours = torch.Generator().manual_seed(seed), TorchDraws(seed)
    normal = torch.empty(2, width).normal_(0, 0.01, generator=theirs).numpy()
    assert ours.normal((2, width), 0.01) == pytest.approx(normal, abs=1e-8)
    weights = torch.where(torch.arange(500) < 30, 0.5 / 30, 0.5 / 470)
    for some in (weights, torch.ones(313), weights[:31]):
        drawn = torch.cat([torch.multinomial(some, 16, replacement=True, generator=theirs) for _ in range(50)])
        assert np.array_equal(ours.rows(some.numpy(), 16 * 50), drawn.numpy())


def test_fewer_normal_numbers_than_a_block_are_refused():
    with pytest.raises(ValueError, match="fewer than 16"):
        TorchDraws(0).normal((2, 7), 1.0)
