"""Fast training equals the naive reference, and other programs where they follow the same rule."""

import json
import random

import pytest

from lmablate.errors import UserError
from lmablate.tokenizer import train_bpe
from lmablate.tokenizer.byte_alphabet import to_printable
from lmablate.tokenizer.ties import GreaterBytes, SmallerIds
from tests.tokenizer.helpers import SPECIAL, standard_library

ALPHABETS = ["ab", "a ", "abc \n", "a=", "xyz é中\u3000", "=-", "'st "]


def adversarial_corpus(seed: int) -> str:
    """Few characters and many repetitions: ties, runs, and tokens that two merges make."""
    source = random.Random(seed)
    if seed % 4 == 0:
        return " ".join(source.choice("a=") * source.randrange(1, 40) for _ in range(8))
    return "".join(source.choices(source.choice(ALPHABETS), k=source.randrange(1, 200)))


def assert_fast_equals_naive(seeds, folder):
    path = folder / "text.txt"
    for seed in seeds:
        path.write_bytes(adversarial_corpus(seed).encode())
        size = random.Random(seed).choice([257, 260, 280, 340])
        specials = ["ba", "bab"] if seed % 3 == 0 and size > 257 else []
        for tie in (GreaterBytes(), SmallerIds()):
            fast = train_bpe(path, size, specials, tie=tie)
            assert fast == train_bpe(path, size, specials, tie=tie, method="naive"), seed


def test_fast_equals_naive_on_adversarial_corpora(tmp_path):
    assert_fast_equals_naive(range(150), tmp_path)


@pytest.mark.slow
def test_fast_equals_naive_on_a_thousand_adversarial_corpora(tmp_path):
    assert_fast_equals_naive(range(150, 1150), tmp_path)


def test_fast_equals_naive_on_real_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(standard_library(60_000))
    assert train_bpe(path, 700, [SPECIAL]) == train_bpe(path, 700, [SPECIAL], method="naive")


def test_runs_of_one_character_give_every_token_once(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(" ".join("a" * n for n in range(1, 60)))
    vocab, merges = train_bpe(path, 400, [])
    assert len(set(vocab.values())) == len(vocab)
    assert {left + right for left, right in merges} == {vocab[i] for i in range(256, len(vocab))}


def test_ids_are_bytes_then_merges_then_special_tokens(trained):
    vocab, merges = trained
    assert [vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    made = list(dict.fromkeys(left + right for left, right in merges))
    assert [vocab[i] for i in range(256, 256 + len(made))] == made
    assert vocab[len(vocab) - 1] == SPECIAL.encode()
    assert len(vocab) == 3000


@pytest.mark.parametrize("threads", [2, 7])
def test_any_number_of_threads_gives_the_same(threads, corpus, trained):
    assert train_bpe(corpus, 3000, [SPECIAL], threads=threads) == trained


def test_words_longer_than_sixteen_bits_can_count(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab" * 40_000 + " " + "x" * 100_000 + " abab")
    vocab, merges = train_bpe(path, 262, [])
    assert (vocab, merges) == train_bpe(path, 262, [], method="naive")
    assert merges[:3] == [(b"x", b"x"), (b"xx", b"xx"), (b"a", b"b")]


def test_nothing_is_learnt_from_special_tokens_or_across_them(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"ab{SPECIAL}cd" * 50)
    _, merges = train_bpe(path, 300, [SPECIAL])
    assert {left + right for left, right in merges} == {b"ab", b"cd", b"cdab"}


def test_a_corpus_that_cannot_yield_the_vocabulary_gives_a_smaller_one_and_says_so(tmp_path, caplog):
    path = tmp_path / "text.txt"
    path.write_text("abc")
    vocab, merges = train_bpe(path, 1000, [SPECIAL])
    assert (len(vocab), len(merges)) == (259, 2)
    assert "259 tokens instead of 1000" in caplog.text


def hugging_face_merges(text: str, size: int) -> list[tuple[bytes, bytes]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.split(SPECIAL), trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def assert_equal_to_hugging_face(text: bytes, size: int, path):
    path.write_bytes(text)
    _, merges = train_bpe(path, size + 1, [SPECIAL], tie=SmallerIds())
    printable = [(to_printable(left), to_printable(right)) for left, right in merges]
    assert printable == hugging_face_merges(text.decode(), size)


def test_equals_hugging_face_under_its_tie_rule(tmp_path):
    assert_equal_to_hugging_face(standard_library(300_000), 1500, tmp_path / "text.txt")


@pytest.mark.slow
def test_equals_hugging_face_on_much_text(tmp_path):
    assert_equal_to_hugging_face(standard_library(6_000_000), 8000, tmp_path / "text.txt")


@pytest.mark.parametrize("size", [256, 65_537, 0, -5, "300", 300.0, True, None])
def test_a_bad_vocabulary_size_is_refused(size, corpus):
    with pytest.raises(UserError, match="vocab_size must be a whole number from 257 to 65536"):
        train_bpe(corpus, size, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"special_tokens": "<s>"}, "must be a list of strings"),
        ({"special_tokens": [""]}, "not empty"),
        ({"special_tokens": ["a", "a"]}, "must differ"),
        ({"special_tokens": [f"<{i}>" for i in range(50)]}, "vocab_size must hold"),
        ({"method": "quick"}, r"method must be one of \['fast', 'naive'\]"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_other_bad_arguments_are_refused(arguments, message, corpus):
    with pytest.raises(UserError, match=message):
        train_bpe(corpus, 300, **({"special_tokens": []} | arguments))


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.txt cannot be read"):
        train_bpe(tmp_path / "nowhere.txt", 300, [])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        train_bpe(tmp_path / "empty.txt", 300, [])
