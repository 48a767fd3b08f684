"""A character model: what it learns, how it's measured, kept and restored."""

import numpy as np
import pytest

from numgru._files import save_arrays
from numgru.data import DataError, counts
from numgru.data.text import Text
from numgru.language import CharacterModel, Settings, model
from tests.cases import assert_same_bits, count_compiled, run_elsewhere, sentences


def test_it_learns_more_than_counts(trained, text):
    bits, baselines = trained.bits_per_character(text), counts.bits_per_character(text)
    assert 0.3 < bits < baselines["counts after 2 characters"]


def test_the_tail_is_not_seen_in_training(text, settings):
    content = text.vocabulary.decode(text.tokens)
    other = Text.of("t", content[: text.validation_end] + "a" * len(text.tail))
    subject = CharacterModel.untrained(settings, text)
    for pair, same in zip(subject._examples(text), subject._examples(other), strict=True):
        assert_same_bits(dict(enumerate(pair)), dict(enumerate(same)))


@pytest.mark.parametrize(("window", "chunk"), [(16, 1024), (16, 7), (10_000, 100)])
def test_bits_per_character_is_the_definition(trained, text, window, chunk, monkeypatch):
    monkeypatch.setattr(model, "_CHUNK", chunk)
    subject = CharacterModel(Settings(hidden_size=24, window=window), text.vocabulary)
    subject.model.load_state_dict(trained.model.state_dict())
    first = max(0, text.validation_end - 1 - window)
    logits = subject.model(text.tokens[first:-1, None])[-len(text.tail) :, 0].astype(np.float64)
    likelihood = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log2(likelihood[np.arange(len(text.tail)), text.tail]).mean()
    assert subject.bits_per_character(text) == pytest.approx(expected, rel=1e-9)


def test_a_saved_model_is_restored(trained, text, tmp_path):
    trained.save(tmp_path / "model.npz")
    again = CharacterModel.load(tmp_path / "model.npz")
    assert (again.settings, again.vocabulary) == (trained.settings, text.vocabulary)
    assert_same_bits(again.model.parameters, trained.model.parameters)


@pytest.mark.parametrize(
    ("metadata", "got"),
    [({"kind": "numgru forecaster 1"}, "got numgru forecaster 1"), ({}, "got another kind of file")],
)
def test_another_file_is_refused(tmp_path, metadata, got):
    save_arrays(tmp_path / "model.npz", {}, metadata)
    with pytest.raises(ValueError, match=f"expected a character model that numgru train wrote, {got}"):
        CharacterModel.load(tmp_path / "model.npz")


@pytest.mark.parametrize(("batch", "window", "needed"), [(4, 16, 82), (1, 1, 20), (32, 64, 2562)])
def test_the_shortest_text(batch, window, needed):
    settings = Settings(hidden_size=2, epochs=1, batch_size=batch, window=window)
    content = sentences(200)
    text = Text.of("t", content[:needed])
    subject = CharacterModel.untrained(settings, text)
    assert len(subject.train(text)) == 1
    assert np.isfinite(subject.bits_per_character(text))
    with pytest.raises(DataError, match=f"{needed - 1} characters are too few .* which need {needed}; give a smaller"):
        CharacterModel.untrained(settings, Text.of("t", content[: needed - 1]))


def test_nothing_is_compiled_in_training_after_compile_kernels():
    code = "from tests.language.test_model import compiled_later; compiled_later()"
    assert run_elsewhere(code).split() == ["0"]


def compiled_later():
    settings, text = Settings(hidden_size=8, epochs=2, batch_size=4, window=16), Text.of("t", sentences(20))
    subject, untouched = (CharacterModel.untrained(settings, text) for _ in range(2))
    subject.compile_kernels(text)
    assert_same_bits(subject.model.parameters, untouched.model.parameters)
    before = count_compiled()
    subject.train(text)
    print(count_compiled() - before)
