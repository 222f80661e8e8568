"""Measure the tokenizer beside its peers, in one run, and print the tables of docs/tokenizer.md.

    python scripts/bench_tokenizer.py [--repeats 3] [--folder /tmp/bench] [--only pretokenize encode ...]

Every measurement is a process of its own, so that it has its own peak memory and cold caches. Repeats of different
measurements take turns, so that a busy moment affects all of them alike. Ratios compare CPU seconds, which other jobs
on the machine disturb less than wall time; judge a row with two threads by its wall time. Peers that are not installed
are left out: pip install tiktoken tokenizers gigatoken rustbpe bpeasy. bench_tokenizer_text.py says what the text is.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from bench_tokenizer_text import CORPUS_BYTES, SPECIAL, make_corpus, make_word_stream, prefix
from machine import describe, peak_bytes

LARGE = 32_000


class Stopwatch:
    """Wall and CPU seconds of blocks, by the name of the block."""

    def __init__(self):
        self.parts: dict[str, tuple[float, float]] = {}

    @contextmanager
    def measure(self, part: str = "all") -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.parts[part] = (time.perf_counter() - wall, time.process_time() - cpu)


def warm_up(folder: Path) -> None:
    """Compile every kernel, or load it from the cache, so that no measurement includes that."""
    from lmablate.tokenizer import Tokenizer, train_bpe
    from lmablate.tokenizer.native.wordtable import empty_entries, rehash

    rehash(empty_entries(2), empty_entries(8))
    small = folder / f"small-{os.getpid()}"
    small.write_text(f"warm up{SPECIAL}" * 50)
    vocab, merges = train_bpe(small, 265, [SPECIAL], threads=2)
    Tokenizer(vocab, merges, [SPECIAL]).encode_file(small, small.with_suffix(".bin"))
    small.unlink()
    small.with_suffix(".bin").unlink()


def train_ours(folder, clock, corpus: str, size: int, threads: int = 1):
    from lmablate.tokenizer import Tokenizer, train_bpe

    warm_up(folder)
    with clock.measure():
        vocab, merges = train_bpe(folder / corpus, size, [SPECIAL], threads=threads)
    Tokenizer(vocab, merges, [SPECIAL]).save(folder / f"{corpus}-{size}.json")


def train_naive(folder, clock, corpus: str, size: int, merges: int = 20):
    """Measure only the first merges, and extrapolate to all of them."""
    from lmablate.tokenizer import naive
    from lmablate.tokenizer.learn.ties import GreaterBytes

    with clock.measure("words"):
        words = naive.count_words_naive((folder / corpus).read_bytes(), [SPECIAL.encode()])
    with clock.measure("merges"):
        naive.learn_merges_naive(words, 256 + merges, GreaterBytes())
    words_time, merge_time = clock.parts.pop("words"), clock.parts.pop("merges")
    scale = (size - 257) / merges
    clock.parts["all"] = (words_time[0] + scale * merge_time[0], words_time[1] + scale * merge_time[1])


def our_tokenizer(folder):
    from lmablate.tokenizer import Tokenizer

    return Tokenizer.from_files(folder / f"mix-{LARGE}.json")


def encode_ours(folder, clock, threads: int = 1, corpus: str = "mix"):
    warm_up(folder)
    tokenizer = our_tokenizer(folder)
    tokenizer.encode_bytes(b"")
    tokenizer._encoder._idle_caches.clear()  # a cold start, though the kernels are loaded
    with clock.measure():
        tokenizer.encode_file(folder / corpus, folder / f"ids-{threads}", threads=threads)


def encode_naive(folder, clock):
    from lmablate.tokenizer.naive import NaiveEncoder

    tokenizer = our_tokenizer(folder)
    ids = {token: i for i, token in tokenizer.vocab.items()}
    encoder = NaiveEncoder(ids, tokenizer.merges, [SPECIAL.encode()])
    text = prefix(folder / "mix", 1_000_000).encode()
    with clock.measure():
        encoder.encode(text)


def pretokenize_ours(folder, clock, kernel: str):
    import numba

    from lmablate.tokenizer.split.pattern import STARTS_CAPACITY, split_scalar
    from lmablate.tokenizer.split.text import padded
    from lmablate.tokenizer.split.unicode_classes import class_table
    from lmablate.tokenizer.split.vector import split_vector

    split = {"scalar": split_scalar, "vector": split_vector}[kernel]

    @numba.njit(nogil=True)
    def count(text, size, classes):
        starts = np.empty(STARTS_CAPACITY, np.int64)
        total, at = 0, 0
        while at < size:
            found, at = split(text, at, size, classes, starts, 0)
            total += found
        return total

    text = prefix(folder / "mix", 20_000_000).encode()
    array, table = padded(text), class_table()
    count(array, 100, table)
    with clock.measure():
        count(array, len(text), table)


def pretokenize_regex(folder, clock):
    import regex

    from lmablate.tokenizer.split.pattern import PATTERN

    pattern, text = regex.compile(PATTERN), prefix(folder / "mix", 20_000_000)
    with clock.measure():
        pattern.findall(text)


def train_hugging_face(folder, clock, corpus: str, size: int):
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    with clock.measure():
        tokenizer.train_from_iterator((folder / corpus).read_bytes().decode().split(SPECIAL), trainer)


def train_gigatoken(folder, clock, corpus: str, size: int):
    gigatoken = import_module("gigatoken")

    with clock.measure():
        gigatoken.train_bpe(folder / corpus, size, [SPECIAL])


def train_rustbpe(folder, clock, corpus: str, size: int):
    from lmablate.tokenizer.split.pattern import PATTERN

    rustbpe = import_module("rustbpe")
    with clock.measure():
        texts = (folder / corpus).read_bytes().decode().split(SPECIAL)
        rustbpe.Tokenizer().train_from_iterator(iter(texts), size, pattern=PATTERN)


def train_bpeasy(folder, clock, corpus: str, size: int):
    from lmablate.tokenizer.split.pattern import PATTERN

    bpeasy = import_module("bpeasy")
    with clock.measure():
        texts = (folder / corpus).read_bytes().decode().split(SPECIAL)
        bpeasy.train_bpe(iter(texts), PATTERN, 128, size)


def encode_tiktoken(folder, clock, corpus: str = "mix"):
    import tiktoken

    from lmablate.tokenizer.split.pattern import PATTERN

    ours = our_tokenizer(folder)
    ranks = {token: i for i, token in ours.vocab.items() if token != SPECIAL.encode()}
    encoding = tiktoken.Encoding(
        "ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={SPECIAL: ours.vocab_size - 1}
    )
    text = (folder / corpus).read_bytes().decode()
    with clock.measure():
        np.array(encoding.encode(text, allowed_special="all"), np.uint16).tofile(folder / "ids-tiktoken")


def encode_hugging_face(folder, clock):
    import tokenizers

    from lmablate.tokenizer.interchange import save_hugging_face

    save_hugging_face(our_tokenizer(folder), folder / "hugging_face.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "hugging_face.json"))
    texts = prefix(folder / "mix", 20_000_000).split(SPECIAL)
    with clock.measure():
        encodings = tokenizer.encode_batch_fast(texts)
        np.concatenate([np.array(e.ids, np.uint16) for e in encodings]).tofile(folder / "ids-hf")


def encode_gigatoken(folder, clock):
    from lmablate.tokenizer.interchange import save_hugging_face

    gigatoken = import_module("gigatoken")
    save_hugging_face(our_tokenizer(folder), folder / "gigatoken.json")
    tokenizer = gigatoken.Tokenizer.from_json((folder / "gigatoken.json").read_text())
    source = gigatoken.TextFileSource([folder / "mix"], separator=SPECIAL.encode())
    with clock.measure():
        layout: Any = tokenizer.encode_files(source, parallel=False).layout
        np.asarray(layout.content.data, np.uint16).tofile(folder / "ids-gigatoken")


def scale(folder, clock):
    from lmablate.tokenizer.learn.counting import count_words
    from lmablate.tokenizer.learn.merge import learn_merges
    from lmablate.tokenizer.learn.ties import GreaterBytes
    from lmablate.tokenizer.learn.words import pack_words
    from lmablate.tokenizer.split.chunks import read_chunks
    from lmablate.tokenizer.split.specials import SpecialTokens

    warm_up(folder)
    with clock.measure("count"), (folder / "words").open("rb", buffering=0) as file:
        counter = count_words(read_chunks(file, SpecialTokens([])), [], 1, lambda size: None)
    with clock.measure("merge"):
        words = pack_words(counter.counts)
        del counter
        learn_merges(words, LARGE, GreaterBytes(), lambda merges: None)


MEASUREMENTS: dict[str, dict[str, tuple[Callable, dict, int]]] = {
    # section: {row: (function, arguments, bytes of text)}
    "train 4096": {},
    "train 10000": {},
    "train 32000": {},
    "train report": {
        "naive (extrapolated), 20 MB, V 4096": (train_naive, {"corpus": "mix20", "size": 4096}, 20_000_000),
        "fast, 20 MB, V 4096": (train_ours, {"corpus": "mix20", "size": 4096}, 20_000_000),
        "naive (extrapolated), 100 MB, V 32000": (
            train_naive,
            {"corpus": "mix", "size": LARGE},
            CORPUS_BYTES,
        ),
        "fast, 100 MB, V 32000": (train_ours, {"corpus": "mix", "size": LARGE}, CORPUS_BYTES),
    },
    "pretokenize": {
        "vector kernel": (pretokenize_ours, {"kernel": "vector"}, 20_000_000),
        "scalar kernel": (pretokenize_ours, {"kernel": "scalar"}, 20_000_000),
        "regex.findall": (pretokenize_regex, {}, 20_000_000),
    },
    "encode": {
        "fast, 1 thread": (encode_ours, {}, CORPUS_BYTES),
        "fast, 2 threads": (encode_ours, {"threads": 2}, CORPUS_BYTES),
        "gigatoken": (encode_gigatoken, {}, CORPUS_BYTES),
        "tiktoken": (encode_tiktoken, {}, CORPUS_BYTES),
        "HF tokenizers": (encode_hugging_face, {}, 20_000_000),
        "naive": (encode_naive, {}, 1_000_000),
    },
    "scale": {"6.6 M distinct words, V 32000": (scale, {}, 0)},
}
for _size in (4096, 10_000, LARGE):
    _arguments = {"corpus": "mix", "size": _size}
    MEASUREMENTS[f"train {_size}"] = {
        "fast, 1 thread": (train_ours, _arguments, CORPUS_BYTES),
        "fast, 2 threads": (train_ours, _arguments | {"threads": 2}, CORPUS_BYTES),
        "gigatoken": (train_gigatoken, _arguments, CORPUS_BYTES),
        "rustbpe": (train_rustbpe, _arguments, CORPUS_BYTES),
        "bpeasy": (train_bpeasy, _arguments, CORPUS_BYTES),
        "HF tokenizers": (train_hugging_face, _arguments, CORPUS_BYTES),
    }
for _size in (1_000_000, 14_000_000):
    _arguments = {"corpus": f"mix{_size // 1_000_000}"}
    MEASUREMENTS[f"encode {_size // 1_000_000} MB"] = {
        "fast, 1 thread": (encode_ours, _arguments, _size),
        "fast, 2 threads": (encode_ours, _arguments | {"threads": 2}, _size),
        "tiktoken": (encode_tiktoken, _arguments, _size),
    }
PACKAGES = {"gigatoken": "gigatoken", "rustbpe": "rustbpe", "bpeasy": "bpeasy"}
PACKAGES |= {"tiktoken": "tiktoken", "HF tokenizers": "tokenizers"}
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def measure_here(section: str, row: str, folder: Path) -> None:
    """Measure in this process, and print the result as JSON."""
    clock = Stopwatch()
    function, arguments, _ = MEASUREMENTS[section][row]
    function(folder, clock, **arguments)
    print(json.dumps({"parts": clock.parts, "peak": peak_bytes() / 1e9}))


def measure(section: str, row: str, folder: Path) -> dict:
    command = [sys.executable, __file__, "--folder", str(folder), "--measure", section, row]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{section}, {row} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_section(section: str, folder: Path, repeats: int) -> dict[str, float]:
    """Measure and print a section, and return the CPU seconds of each of its rows."""
    rows = [row for row in MEASUREMENTS[section] if row not in PACKAGES or importlib.util.find_spec(PACKAGES[row])]
    results: dict[str, list[dict]] = {row: [] for row in rows}
    for _ in range(repeats):
        for row in rows:
            results[row].append(measure(section, row, folder))
    print(f"\n### {section}\n\n| | CPU s | wall s | MB/s of CPU | CPU time, first row = 1 | peak GB |")
    print("|---|---|---|---|---|---|")
    first, seconds = None, {}
    for row in rows:
        size = MEASUREMENTS[section][row][2]
        for part in results[row][0]["parts"]:
            wall, cpu = (statistics.median(r["parts"][part][i] for r in results[row]) for i in (0, 1))
            peak = statistics.median(result["peak"] for result in results[row])
            cost = cpu / size if size else cpu
            first = first or cost
            name = row if part == "all" else f"{row}: {part}"
            seconds[name] = cpu
            speed = f"{size / 1e6 / cpu:.1f}" if size else ""
            print(f"| {name} | {cpu:.2f} | {wall:.2f} | {speed} | {cost / first:.2f} | {peak:.2f} |", flush=True)
    return seconds


# The figures of the report that this project re-implements, measured on 16 to 19 processes, as (measurement, naive,
# fast, gain), and our rows for the same on this machine's text, as (section, naive, fast).
REPORTED = [
    (
        ("training, 21 MB of TinyStories, V 4096", "6.18 s + 298 merges/s", "0.4 s + 13,450 merges/s", "48 x"),
        ("train report", "naive (extrapolated), 20 MB, V 4096", "fast, 20 MB, V 4096"),
    ),
    (
        ("training, 100 MB of OpenWebText, V 32000", "30.02 s + 7 merges/s", "1.89 s + 1,827 merges/s", "210 x"),
        ("train report", "naive (extrapolated), 100 MB, V 32000", "fast, 100 MB, V 32000"),
    ),
    (
        ("training, 11.9 GB, 6.6 M distinct words, V 32000", "", "157 s + 535 s, 23.78 GB peak", ""),
        ("scale", "", "6.6 M distinct words, V 32000: merge"),
    ),
    (
        ("encoding, 2.23 GB of TinyStories", "219.56 s", "35.21 s, 63 MB/s", "6 x"),
        ("encode", "naive", "fast, 1 thread"),
    ),
    (
        ("encoding, 11.1 GB of OpenWebText", "2169.38 s", "212.79 s, 52 MB/s", "10 x"),
        ("encode", "naive", "fast, 1 thread"),
    ),
]


def print_beside_report(seconds: dict[str, dict[str, float]]) -> None:
    """Print the report's figures, each row with ours if we measured it."""
    print("\n### beside the report\n")
    print("| | report: naive | fast | gain | ours, one core: naive | fast | gain |\n|---|---|---|---|---|---|---|")
    for reported, (section, naive, fast) in REPORTED:
        ours = ["", ""]
        if section in seconds:
            ours = [f"{seconds[section][row]:.1f} s" if row else "" for row in (naive, fast)]
        if section in seconds and naive:  # the naive encoder has less text
            cost = {row: seconds[section][row] / MEASUREMENTS[section][row][2] for row in (naive, fast)}
            ours.append(f"{cost[naive] / cost[fast]:,.0f} x")
        print("| " + " | ".join([*reported, *ours, ""][:7]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the tokenizer beside its peers.")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lmablate-bench"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--measure", nargs=2, metavar=("SECTION", "ROW"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        section, row = arguments.measure
        measure_here(section, row, arguments.folder)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    mix, words = (arguments.folder / name for name in ("mix", "words"))
    if not mix.exists():
        make_corpus(mix)
    for size in (1, 14, 20):
        (arguments.folder / f"mix{size}").write_bytes(prefix(mix, size * 1_000_000).encode())
    if "scale" in arguments.only and not words.exists():
        make_word_stream(words)
    if not (arguments.folder / f"mix-{LARGE}.json").exists():
        measure("train 32000", "fast, 1 thread", arguments.folder)
    print(f"{describe()}, medians of {arguments.repeats}")
    print_beside_report(
        {section: run_section(section, arguments.folder, arguments.repeats) for section in arguments.only}
    )


if __name__ == "__main__":
    main()
