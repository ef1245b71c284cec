"""Warnings of our own modules fail a test; those of other packages, which a new release may bring, do not."""

import warnings

import pytest


def warn_in(module, category=FutureWarning):
    """Warn as a call in `module` to something deprecated does."""
    warnings.warn_explicit("the old name goes away", category, f"{module}.py", 1, module=module, registry={})


@pytest.mark.parametrize("category", [FutureWarning, DeprecationWarning, UserWarning, ResourceWarning])
@pytest.mark.parametrize("module", ["engine", "engine.vlms.blip2", "myvlm_cli.main", "tests.repository.test_warnings"])
def test_a_warning_of_ours_is_an_error(module, category):
    with pytest.raises(category, match="the old name"):
        warn_in(module, category)


def test_a_deprecated_call_in_our_code_is_ours():
    with pytest.raises(DeprecationWarning):
        warnings.warn("attributed to the caller, which is this line", DeprecationWarning, stacklevel=1)


@pytest.mark.parametrize("module", ["transformers.generation.utils", "engineering", "numpy.tests.x", "other.engine"])
def test_a_warning_of_another_package_is_none(module):
    with warnings.catch_warnings(record=True) as caught:  # with the filters of the test run
        warn_in(module)
    assert [w.category for w in caught] == [FutureWarning]
