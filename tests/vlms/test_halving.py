import pytest

from engine.vlms.halving import BatchLimit


def doubles(most, tried):
    def run(batch):
        tried.append(len(batch))
        if len(batch) > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return [2 * item for item in batch]

    return run


def test_the_size_that_fits_is_found_once():
    limit, tried = BatchLimit(), []
    assert limit.run(doubles(3, tried), list(range(8))) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert tried == [8, 4, 2, 2, 2, 2]
    tried.clear()
    assert limit.run(doubles(3, tried), [1, 2, 3]) == [2, 4, 6]
    assert tried == [2, 1]


def test_a_photo_that_does_not_fit_alone_and_other_errors_are_raised():
    with pytest.raises(RuntimeError, match="out of memory"):
        BatchLimit().run(doubles(0, []), [1, 2])

    def broken(batch):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        BatchLimit().run(broken, [1, 2])
