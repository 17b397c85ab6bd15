import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.synth.sampling import cumulative_weights, sample_index


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_samples_as_generator_choice(seed: int, weights: list[float]) -> None:
    p = np.array(weights) / np.sum(weights)
    ours, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(20):
        assert sample_index(cumulative_weights(*p), ours) == theirs.choice(len(p), p=p)
