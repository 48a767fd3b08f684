"""Vocabulary, parts, streams and the counts that a model has to beat."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numgru.data import DataError
from numgru.data.counts import bits_per_character, probabilities
from numgru.data.text import UNKNOWN, Text, Vocabulary, read_text, streams

characters = st.text(
    st.characters(exclude_categories=()), max_size=50
)  # surrogates, too, as a command line may hold them


@given(characters, characters)
def test_encode_and_decode(known, text):
    vocabulary = Vocabulary.of(known)
    tokens = vocabulary.encode(text)
    assert tokens.tolist() == [known_at if (known_at := vocabulary.characters.find(c)) >= 0 else -1 % len(vocabulary)
                               for c in text]  # fmt: skip
    assert vocabulary.decode(tokens) == "".join(c if c in known else UNKNOWN for c in text)
    assert vocabulary.unseen(text) == "".join(sorted(set(text) - set(known)))
    assert vocabulary.decode(vocabulary.encode(known)) == known


def test_the_characters_are_sorted():
    assert Vocabulary.of("hello\n").characters == "\nehlo"
    assert Vocabulary.of("hello\n").encode("lo\0\U0001f600 ").tolist() == [3, 4, 5, 5, 5]


def test_parts_and_note():
    text = Text.of("t", "abab" * 20 + "a" * 10 + "abé\N{SNOWMAN}" + "a" * 6)
    assert (len(text.fit), len(text.validation), len(text.tail)) == (80, 10, 10)
    assert text.vocabulary.characters == "ab"
    assert text.tail.tolist() == [0, 1, 2, 2, 0, 0, 0, 0, 0, 0]
    assert text.note == "100 characters, 2 different ones in the fitted 80; 2 of the others aren't among them"
    assert Text.of("t", "ab" * 10).note == "20 characters, 2 different ones in the fitted 16"


def test_the_vocabulary_is_that_of_the_fitted_part():
    assert Text.of("t", "ab" * 40 + "c" * 10 + "ab" * 5).vocabulary.characters == "ab"


def test_crc32_tells_texts_apart():
    crcs = [Text.of("t", content).crc32() for content in ("ab" * 10, "ab" * 9 + "ba", "ac" * 10)]
    assert len(set(crcs)) == 3
    assert Text.of("other", "ab" * 10).crc32() == crcs[0]


@pytest.mark.parametrize(("n", "count"), [(13, 3), (12, 3), (2, 1), (100, 7)])
def test_streams_are_contiguous(n, count):
    tokens = np.arange(n, dtype=np.int32)
    x, y = streams(tokens, count)
    steps = (n - 1) // count
    assert x.shape == y.shape == (steps, count)
    assert (y == x + 1).all() and (x.T.ravel() == np.arange(steps * count)).all()


def test_read_text(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_bytes("\N{BYTE ORDER MARK}one é\r\ntwo\rthree\n".encode() * 3)
    text = read_text(path)
    assert text.name == "poem.txt"
    assert "\n" in text.vocabulary.characters and "\r" not in text.vocabulary.characters


def test_a_byte_order_mark_is_no_character(tmp_path):
    (tmp_path / "a.txt").write_text("ab" * 50, "utf-8-sig")
    text = read_text(tmp_path / "a.txt")
    assert (len(text), text.vocabulary.characters) == (100, "ab")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "text: no such file"),
        (b"", "text: expected a text, got 0 characters"),
        (b"abc", "text: expected a text, got 3 characters"),
        (b"caf\xe9 " * 9, "text: expected a text in UTF-8, got something else"),
    ],
)
def test_what_is_no_text(tmp_path, content, message):
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(tmp_path / "text")
    with pytest.raises(DataError, match="can't be read"):
        read_text(tmp_path)


def by_counting(text, order, at):
    """The probability of every token at a place, by the definition."""
    fitted, tokens = text.fit.tolist(), text.tokens.tolist()
    p = np.full(len(text.vocabulary), 1 / len(text.vocabulary))
    for k in range(order + 1):
        ends = [i for i in range(k, len(fitted)) if fitted[i - k : i] == tokens[at - k : at]]
        following = Counter(fitted[i] for i in ends)
        if ends:
            seen = np.array([following[c] for c in range(len(p))])
            p = (seen + len(following) * p) / (len(ends) + len(following))
    return p


@pytest.mark.parametrize("order", [0, 1, 2, 4])
def test_probabilities_are_the_definition(order):
    rng = np.random.default_rng(order)
    text = Text.of("t", "".join(rng.choice(list("abc"), 80)) + "".join(rng.choice(list("abcd"), 20)))
    p = next(islice(probabilities(text), order, None))
    for at in range(80, 100):
        expected = by_counting(text, order, at)
        assert expected.sum() == pytest.approx(1)
        assert p[at] == pytest.approx(expected[text.tokens[at]])


def test_bits_per_character():
    text = Text.of("t", "abcd" * 100)
    bits = bits_per_character(text)
    assert list(bits)[-1] == "uniform" and bits["uniform"] == math.log2(5)
    assert bits["counts of characters"] == pytest.approx(2, abs=0.02)
    assert bits["counts after 2 characters"] < 0.05


def test_counts_are_measured_on_the_tail():
    rng = np.random.default_rng(0)
    text = Text.of("t", "".join(rng.choice(list("abc"), 900)) + "ab" * 50)
    p = list(islice(probabilities(text), 5))
    bits = bits_per_character(text)
    for name, order in {
        "counts after 4 characters": 4,
        "counts after 2 characters": 2,
        "counts of characters": 0,
    }.items():
        assert bits[name] == pytest.approx(-np.log2(p[order][text.validation_end :]).mean())
    assert len(set(bits.values())) == 4
