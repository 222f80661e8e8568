"""Batches are pure functions of their arguments; token files are what their manifests say."""

import json
import math
import tempfile
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmablate.data.tokens import TOKEN, Batch, Batches, EvalBatches, Manifest, open_tokens, windows
from lmablate.errors import UserError
from lmablate.files import JSON_LIMIT, sha256

IDS = np.arange(1000, dtype=TOKEN)

sizes = {"n": st.integers(2, 300), "context": st.integers(1, 40), "batch": st.integers(1, 9)}


def long_enough(n: int, context: int) -> np.ndarray:
    return np.arange(max(n, context + 1), dtype=TOKEN)


@given(**sizes, seed=st.integers(0, 2**64 - 1), step=st.integers(0, 10**9))
def test_targets_follow_inputs_in_the_text(n, context, batch, seed, step):
    x, y = Batches(long_enough(n, context), context, batch, seed).batch(step)
    assert x.shape == y.shape == (batch, context)
    assert x.dtype == y.dtype == torch.int64
    assert torch.equal(y, x + 1)
    assert torch.equal(x - x[:, :1], torch.arange(context).expand(batch, context))


def test_a_batch_depends_on_seed_and_step_alone():
    straight = [Batches(IDS, 16, 4, seed=3).batch(step) for step in range(8)]
    backwards = Batches(IDS, 16, 4, seed=3)
    for step in reversed(range(8)):
        x, y = backwards.batch(step)
        assert torch.equal(x, straight[step][0])
        assert torch.equal(y, straight[step][1])
    assert not torch.equal(straight[0][0], straight[1][0])
    assert not torch.equal(straight[0][0], Batches(IDS, 16, 4, seed=4).batch(0)[0])


def philox_4x64(key: tuple[int, int], count: int) -> list[int]:
    """The first outputs of Philox4x64-10, written out after Salmon et al. 2011; the counter begins at 1."""
    mask, outputs = 2**64 - 1, []
    for counter in range(1, -(-count // 4) + 1):
        (k0, k1), (a, b, c, d) = key, (counter, 0, 0, 0)
        for _ in range(10):
            left, right = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b, c, d = (right >> 64) ^ b ^ k0, right & mask, (left >> 64) ^ d ^ k1, left & mask
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        outputs += [a, b, c, d]
    return outputs[:count]


@given(seed=st.integers(0, 2**64 - 1), step=st.integers(0, 10**9))
def test_starts_are_philox_keyed_with_seed_and_step(seed, step):
    starts = Batches(IDS, 1, 7, seed).batch(step)[0][:, 0].tolist()
    assert starts == [draw % 999 for draw in philox_4x64((seed, step), 7)]


@given(batch=st.integers(1, 12), world=st.integers(1, 5))
def test_ranks_share_out_the_global_batch(batch, world):
    batches = Batches(IDS, 8, batch, seed=0)
    whole = batches.batch(5)[0]
    for rank in range(world):
        assert torch.equal(batches.batch(5, rank, world)[0], whole[rank::world])


def test_every_start_is_drawn_about_equally_often():
    n_starts, draws = 12, 12_000
    batches = Batches(np.arange(n_starts + 4, dtype=TOKEN), 4, 100, seed=7)
    starts = torch.cat([batches.batch(step)[0][:, 0] for step in range(draws // 100)])
    counts = torch.bincount(starts, minlength=n_starts).double()
    assert len(counts) == n_starts
    chi_squared = ((counts - draws / n_starts) ** 2 / (draws / n_starts)).sum()
    assert chi_squared < 31.3  # the 99.9 % quantile with 11 degrees of freedom


@given(**sizes, n_batches=st.integers(1, 9))
def test_evaluation_windows_are_fixed_spread_and_disjoint(n, context, batch, n_batches):
    tokens = long_enough(n, context)
    batches = EvalBatches(tokens, context, batch, n_batches)
    first, again = list(batches), list(batches)
    assert len(first) == len(batches) <= n_batches
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    targets = torch.cat([y.flatten() for _, y in first])
    assert len(targets.unique()) == len(targets) == min(batch * n_batches, (len(tokens) - 1) // context) * context
    gaps = np.diff(batches.starts)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= context


@given(**sizes)
def test_windows_predict_every_token_but_the_first_once(n, context, batch):
    tokens = long_enough(n, context)
    pairs = list(windows(tokens, context, batch))
    assert torch.cat([y.flatten() for _, y in pairs]).tolist() == list(range(1, len(tokens)))
    assert torch.cat([x.flatten() for x, _ in pairs]).tolist() == list(range(len(tokens) - 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: Batches(ids, 10, 1, 0),
        lambda ids: EvalBatches(ids, 10, 1, 1),
        lambda ids: next(windows(ids, 10)),
    ],
)
def test_a_text_shorter_than_the_context_is_named_with_both_numbers(make):
    with pytest.raises(UserError, match=r"has 10 tokens, but model\.context_length=10 needs at least 11"):
        make(IDS[:10])
    make(IDS[:11])


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("model.context_length=0", lambda: Batches(IDS, 0, 1, 0)),
        ("model.context_length=2.5", lambda: EvalBatches(IDS, 2.5, 1, 1)),  # pyright: ignore[reportArgumentType]
        ("model.context_length='8'", lambda: next(windows(IDS, "8"))),  # pyright: ignore[reportArgumentType]
        ("model.context_length=True", lambda: Batches(IDS, True, 1, 0)),
        ("train.batch_size=-1", lambda: Batches(IDS, 1, -1, 0)),
        ("train.batch_size=None", lambda: Batches(IDS, 1, None, 0)),  # pyright: ignore[reportArgumentType]
        ("batch_size=0", lambda: next(windows(IDS, 1, 0))),
        ("seed=-1", lambda: Batches(IDS, 1, 1, -1)),
        ("seed=18446744073709551616", lambda: Batches(IDS, 1, 1, 2**64)),
        ("seed=1.0", lambda: Batches(IDS, 1, 1, 1.0)),  # pyright: ignore[reportArgumentType]
        ("seed=None", lambda: Batches(IDS, 1, 1, None)),  # pyright: ignore[reportArgumentType]
        ("train.eval_batches=0", lambda: EvalBatches(IDS, 1, 1, 0)),
        ("step=-1", lambda: Batches(IDS, 1, 1, 0).batch(-1)),
        ("step=0.5", lambda: Batches(IDS, 1, 1, 0).batch(0.5)),  # pyright: ignore[reportArgumentType]
        ("rank=2", lambda: Batches(IDS, 1, 4, 0).batch(0, 2, 2)),
        ("rank=-1", lambda: Batches(IDS, 1, 4, 0).batch(0, -1, 2)),
        ("world_size=0", lambda: Batches(IDS, 1, 4, 0).batch(0, 0, 0)),
    ],
)
def test_numbers_out_of_range_are_named(key, make):
    with pytest.raises(UserError, match=key):
        make()


class Mapped:
    """Ids in a file that is mapped into memory."""

    def __new__(cls, dtype: str) -> np.ndarray:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(IDS.astype(dtype).tobytes())
            return np.memmap(file.name, dtype=dtype, mode="r")


TOKENS: dict[str, Callable[[], Any]] = {
    "a list": lambda: IDS.tolist(),
    "a tuple": lambda: tuple(IDS.tolist()),
    "a range": lambda: range(1000),
    "an array of its own": lambda: array("H", IDS.tolist()),
    "bytes as numbers": lambda: memoryview(array("H", IDS.tolist())),
    "numbers of numpy": lambda: [*IDS],
    "int64": lambda: IDS.astype(np.int64),
    "int32": lambda: IDS.astype(np.int32),
    "uint32": lambda: IDS.astype(np.uint32),
    "uint64": lambda: IDS.astype(np.uint64),
    "the other byte order": lambda: IDS.astype(">u2"),
    "every second number": lambda: np.repeat(IDS, 2)[::2],
    "read-only": lambda: np.frombuffer(IDS.tobytes(), TOKEN),
    "a mapped file": lambda: Mapped("<u2"),
    "a mapped file of int32": lambda: Mapped("<i4"),
    "a tensor": lambda: torch.arange(1000),
    "a tensor of int32": lambda: torch.arange(1000, dtype=torch.int32),
    "a tensor of uint16": lambda: torch.from_numpy(IDS.copy()),
    "a tensor's view": lambda: torch.arange(2000).view(1000, 2)[:, 0] // 2,
    "a series of pandas": lambda: pd.Series(IDS),
}
MAKERS: list[Callable[[Any], list[Batch]]] = [
    lambda ids: [Batches(ids, 16, 4, seed=3).batch(step) for step in range(3)],
    lambda ids: list(EvalBatches(ids, 16, 4, 3)),
    lambda ids: list(windows(ids, 16, 4)),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("tokens", TOKENS.values(), ids=TOKENS.keys())
def test_tokens_may_come_in_any_form(make, tokens):
    for got, expected in zip(make(tokens()), make(IDS), strict=True):
        assert all(x.dtype == torch.int64 for x in got)
        assert all(map(torch.equal, got, expected))


def test_a_mapped_file_is_not_read_as_a_whole():
    mapped = Mapped("<u2")
    assert Batches(mapped, 16, 4, seed=0).tokens is mapped
    assert EvalBatches(mapped, 16, 4, 1).tokens is mapped


NO_TOKENS: dict[str, tuple[Callable[[], Any], str]] = {
    "floats": (lambda: IDS.astype(np.float32), r"are float32 in the shape \[1000\]"),
    "a list of floats": (lambda: [1.0] * 1000, "are float64"),
    "True and False": (lambda: np.ones(1000, bool), "are bool"),
    "texts": (lambda: ["a"] * 1000, "are <U1"),
    "one text": (lambda: "a" * 1000, r"in the shape \[\]"),
    "bytes": (lambda: b"a" * 1000, r"in the shape \[\]"),
    "a path": (lambda: Path("train.bin"), "are object"),
    "nothing": (lambda: None, "are object"),
    "one number": (lambda: 7, r"are int64 in the shape \[\]"),
    "a generator": (lambda: (i for i in range(1000)), "are object"),
    "a dict": (lambda: {1: 2}, "are object"),
    "rows": (lambda: IDS.reshape(10, 100), r"in the shape \[10, 100\]"),
    "a tensor of rows": (lambda: torch.arange(1000).view(100, 10), r"in the shape \[100, 10\]"),
    "a tensor of floats": (lambda: torch.ones(1000, requires_grad=True), "are float32"),
    "a tensor of bfloat16": (lambda: torch.ones(1000, dtype=torch.bfloat16), "are no array"),
    "rows of unequal length": (lambda: [[1, 2], [3]], "are no array"),
    "numbers of more than 64 bits": (lambda: [2**70] * 1000, "are object"),
    "an empty list": (list, "The text has 0 tokens"),
    "an empty tensor": (lambda: torch.zeros(0), "The text has 0 tokens"),
    "too few": (lambda: [1, 2, 3], r"The text has 3 tokens, but model\.context_length=16 needs at least 17"),
    "just too few": (lambda: torch.arange(16), "has 16 tokens"),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("tokens", "message"), NO_TOKENS.values(), ids=NO_TOKENS.keys())
def test_what_are_no_tokens_is_refused_in_a_sentence(make, tokens, message):
    with pytest.raises(UserError, match=message) as refusal:
        make(tokens())
    assert "\n" not in str(refusal.value)


@pytest.fixture
def token_path(tmp_path) -> Path:
    path = tmp_path / "train.bin"
    path.write_bytes(IDS.tobytes())
    Manifest("train.bin", sha256(path), len(IDS), 4000, "0" * 64, "fingerprint", {"corpus": "x"}).save(
        path.with_suffix(".json")
    )
    return path


def test_a_token_file_is_mapped_and_read_only(token_path):
    tokens = open_tokens(token_path, verify=True)
    assert np.array_equal(tokens.array, IDS)
    assert isinstance(tokens.array, np.memmap)
    assert tokens.n_tokens == 1000
    assert tokens.bytes_per_token == 4.0
    with pytest.raises(ValueError, match="read-only"):
        tokens.array[0] = 1


def test_a_path_may_be_text(token_path):
    assert np.array_equal(open_tokens(str(token_path)).array, IDS)
    manifest = Manifest.load(str(token_path.with_suffix(".json")))
    manifest.save(str(token_path.with_suffix(".json")))
    assert open_tokens(token_path).manifest == manifest


def test_a_token_file_may_be_empty(tmp_path):
    path = tmp_path / "none.bin"
    path.write_bytes(b"")
    Manifest("none.bin", sha256(path), 0, 0, "0" * 64, "fingerprint", {}).save(path.with_suffix(".json"))
    tokens = open_tokens(path, verify=True)
    assert tokens.array.shape == (0,)
    assert math.isnan(tokens.bytes_per_token)
    with pytest.raises(UserError, match="The text has 0 tokens"):
        Batches(tokens.array, 1, 1, 0)


def test_a_truncated_token_file_is_reported(token_path):
    token_path.write_bytes(IDS.tobytes()[:-1])
    with pytest.raises(UserError, match=r"train\.bin is corrupted: it has 1999 bytes instead of 2000"):
        open_tokens(token_path)


def test_a_flipped_bit_is_reported(token_path):
    content = bytearray(token_path.read_bytes())
    content[777] ^= 1
    token_path.write_bytes(content)
    open_tokens(token_path)
    with pytest.raises(UserError, match=r"train\.bin is corrupted: its sha256 is"):
        open_tokens(token_path, verify=True)


def test_missing_parts_are_reported(token_path):
    token_path.unlink()
    with pytest.raises(UserError, match=r"train\.bin is missing"):
        open_tokens(token_path)
    token_path.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"train\.json is missing"):
        open_tokens(token_path)


def change_manifest(path: Path, **changes) -> None:
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


@pytest.mark.parametrize("file", ["../train.bin", "/etc/passwd", "a/train.bin", "..", ".hidden", "", "a\0b", "a\n"])
def test_a_manifest_names_no_file_outside_its_folder(token_path, file):
    change_manifest(token_path, file=file)
    with pytest.raises(UserError, match=r"malformed at \$\.file"):
        open_tokens(token_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens", -1),
        ("tokens", "3"),
        ("tokens", 2**60),
        ("sha256", "abc"),
        ("format_version", 2),
        ("source", []),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_reported(token_path, field, value):
    change_manifest(token_path, **{field: value})
    with pytest.raises(UserError, match=rf"malformed at \$\.{field}"):
        open_tokens(token_path)


def test_a_manifest_of_another_file_is_reported(token_path):
    change_manifest(token_path, file="valid.bin")
    with pytest.raises(UserError, match=r"describes valid\.bin, not train\.bin"):
        open_tokens(token_path)


def test_an_oversized_manifest_is_not_read(token_path):
    token_path.with_suffix(".json").write_bytes(b" " * (JSON_LIMIT + 1))
    with pytest.raises(UserError, match=f"larger than {JSON_LIMIT} bytes"):
        open_tokens(token_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
manifests = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(Manifest.__dataclass_fields__, json_values) | {"extra": json_values},
).map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def fuzzed_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "train.bin"
    path.write_bytes(IDS.tobytes())
    return path


@given(content=st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()) | manifests)
def test_no_manifest_crashes_the_reader(fuzzed_path, content):
    fuzzed_path.with_suffix(".json").write_bytes(content)
    with pytest.raises(UserError):
        open_tokens(fuzzed_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5000, b"\xff\xfe", b'{"tokens": NaN}', b""])
def test_hostile_json_is_reported(token_path, content):
    token_path.with_suffix(".json").write_bytes(content)
    with pytest.raises(UserError):
        open_tokens(token_path)
