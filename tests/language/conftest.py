"""A text with structure, and a model small enough to train on it in a moment."""

import pytest

from numgru.data.text import Text
from numgru.language import CharacterModel, Settings
from tests.cases import sentences


@pytest.fixture(scope="session")
def text():
    return Text.of("sentences", sentences())


@pytest.fixture(scope="session")
def settings():
    return Settings(hidden_size=24, epochs=6, batch_size=4, window=16, learning_rate=0.02)


@pytest.fixture(scope="session")
def trained(text, settings):
    learner = CharacterModel.untrained(settings, text)
    learner.train(text)
    return learner
