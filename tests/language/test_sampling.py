"""Writing: the draws, and that one character at a time is as good as the whole text anew."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from numgru.data.text import UNKNOWN
from numgru.language import sample


def write(learner, prompt="", length=60, **options):
    return "".join(sample(learner, prompt, length=length, **options))


def probabilities(learner, prompt, temperature=1.0):
    """Of the next character, from the whole text before it; the unknown token can't follow."""
    logits = learner.model(learner.vocabulary.encode(prompt)[:, None])[-1, 0, :-1].astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def test_the_seed_decides(trained):
    texts = {write(trained, "the ", seed=seed) for seed in range(5)}
    assert len(texts) == 5
    assert write(trained, "the ", seed=3) in texts
    assert all(len(text) == 60 and set(text) <= set(trained.vocabulary.characters) for text in texts)


def test_the_unknown_is_never_written(trained):
    subject = copy.deepcopy(trained)
    subject.model.parameters["2.bias"][-1] = 50
    assert UNKNOWN not in write(subject, "the ", seed=0)


def test_without_a_prompt_it_begins_after_the_first_character(trained):
    assert trained.vocabulary.characters[0] == "\n"
    assert write(trained, seed=1) == write(trained, "\n", seed=1)


@pytest.mark.parametrize("temperature", [1e-6, 1e-320])
def test_cold_is_the_likeliest(trained, temperature):
    written = "the "
    for character in write(trained, written, temperature=temperature, length=30):
        assert character == trained.vocabulary.characters[probabilities(trained, written).argmax()]
        written += character


def test_step_by_step_as_from_the_whole_text_anew(trained):
    rng, written = np.random.default_rng(7), "the "
    for character in write(trained, written, length=30, seed=7, temperature=0.7):
        before = np.append(0, probabilities(trained, written, 0.7).cumsum())
        drawn = rng.random()
        (place,) = [i for i, (low, high) in enumerate(pairwise(before)) if low <= drawn < high]
        assert character == trained.vocabulary.characters[place]
        written += character


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_follow_the_probabilities(trained, temperature):
    expected = probabilities(trained, "the ", temperature)
    drawn = [write(trained, "the ", 1, seed=seed, temperature=temperature) for seed in range(2000)]
    shares = np.array([drawn.count(c) / 2000 for c in trained.vocabulary.characters])
    assert np.abs(shares - expected).max() < 0.045  # four standard deviations of the least certain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "the Ü?"}, r"prompt: expected characters that the model knows, got '\?Ü'"),
        ({"temperature": 0}, "temperature: expected a finite number above 0, got 0"),
        ({"temperature": float("nan")}, "temperature: expected a finite number above 0, got nan"),
    ],
)
def test_bad_arguments(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(trained, length=1, **arguments)
