"""From a corpus to token files: text -> tokenizer -> ids, each made once.

    <data_dir>/<corpus>-<identity hash>/train.txt, valid.txt, corpus.json
                                        tokenizer-<vocab_size>/tokenizer.json, {train,valid}.{bin,json}

Every file is whole or absent, so an interrupted preparation continues where it stopped. A lock per corpus makes the
processes of a job array do the work once. A second preparation finds every file and makes none.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from lmablate.data.corpora import END_OF_TEXT, Corpus, Split
from lmablate.data.tokens import Manifest, TokenFile, open_tokens
from lmablate.errors import UserError
from lmablate.files import (
    COUNT,
    SHA256,
    atomic_write,
    checked_name,
    disk_errors_named,
    locked,
    read_record,
    sha256,
    write_json,
)
from lmablate.machine import available_cores
from lmablate.tokenizer import Tokenizer, train_bpe

log = logging.getLogger(__name__)

SPLITS: tuple[Split, Split] = ("train", "valid")
CORPUS_FORMAT_VERSION = 1
TEXT_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["bytes", "sha256"],
    "properties": {"bytes": COUNT, "sha256": SHA256},
}
CORPUS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["format_version", "identity", "provenance", "fingerprint", *SPLITS],
    "properties": {
        "format_version": {"const": CORPUS_FORMAT_VERSION},
        "identity": {"type": "object"},
        "provenance": {"type": "object"},
        "fingerprint": SHA256,
        "train": TEXT_SCHEMA,
        "valid": TEXT_SCHEMA,
    },
}


class HasVocabSize(Protocol):
    """The part of the `tokenizer` config that preparing needs.

    Attributes:
        vocab_size: tokens of the vocabulary, with `<|endoftext|>` among them.
    """

    vocab_size: int


@dataclass(frozen=True)
class PreparedData:
    """Everything that training needs to know about its data.

    Attributes:
        train: the training tokens.
        valid: the validation tokens.
        tokenizer_path: the tokenizer.json that encoded both.
        fingerprint: SHA-256 over the two splits' SHA-256 sums: it changes with any byte of text, and if text
            moves from one split to the other.
    """

    train: TokenFile
    valid: TokenFile
    tokenizer_path: Path
    fingerprint: str


def prepare_data(
    corpus: Corpus, tokenizer_cfg: HasVocabSize, data_dir: Path | str, verify: bool = True
) -> PreparedData:
    """Return the corpus's tokenizer and token files, making below `data_dir` whatever does not exist yet.

    Args:
        corpus: the source of the text.
        tokenizer_cfg: the size of the vocabulary.
        data_dir: the folder of all prepared data.
        verify: compare token files that already exist with their SHA-256 sums.

    Raises:
        UserError: if the source text is bad or does not yield the vocabulary, if a file is corrupted, or if
            `data_dir` is full or not writable.
    """
    identity = corpus.identity()
    folder = Path(data_dir).absolute() / f"{checked_name('data.name', corpus.name)}-{_key(identity)}"
    preparation = _Preparation(corpus, identity, folder, tokenizer_cfg.vocab_size)
    with disk_errors_named("data_dir", data_dir):
        if preparation.is_complete() and not (os.access(folder, os.W_OK) and _part_files(folder)):
            return preparation.run(verify)  # nothing is written, so whoever may read the files can use them
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            _remove_part_files(folder)
            return preparation.run(verify)


class _Preparation:
    """The steps of one preparation; a step whose result already exists does nothing."""

    def __init__(self, corpus: Corpus, identity: dict[str, Any], folder: Path, vocab_size: int):
        self.corpus, self.identity, self.folder, self.vocab_size = corpus, identity, folder, vocab_size
        self.threads = available_cores()
        self.tokenizer_folder = folder / f"tokenizer-{vocab_size}"
        self.tokenizer_path = self.tokenizer_folder / "tokenizer.json"

    def is_complete(self) -> bool:
        """Return whether every file that `run` would make exists, whole and made from this text and tokenizer."""
        if not (self.folder / "corpus.json").is_file() or not self.tokenizer_path.is_file():
            return False
        facts, tokenizer = self._text(), self._tokenizer({})
        return all(self._has_tokens(split, facts, tokenizer) for split in SPLITS)

    def run(self, verify: bool) -> PreparedData:
        facts = self._text()
        tokenizer = self._tokenizer(facts)
        train, valid = (self._tokens(split, facts, tokenizer, verify) for split in SPLITS)
        return PreparedData(train, valid, self.tokenizer_path, facts["fingerprint"])

    def _text(self) -> dict[str, Any]:
        """Write both splits, then `corpus.json`, whose presence says that they are whole. Return its content."""
        record = self.folder / "corpus.json"
        if record.exists():
            return read_record(record, CORPUS_SCHEMA)
        splits = {split: self._write_split(split) for split in SPLITS}
        if self.corpus.identity() != self.identity:
            raise UserError(f"The source of data={self.corpus.name} changed while it was being read: start again.")
        facts = {
            "format_version": CORPUS_FORMAT_VERSION,
            "identity": self.identity,
            "provenance": self.corpus.provenance(),
            "fingerprint": hashlib.sha256("".join(s["sha256"] for s in splits.values()).encode()).hexdigest(),
            **splits,
        }
        write_json(record, facts)
        return facts

    def _write_split(self, split: Split) -> dict[str, Any]:
        log.info("writing the %s text of %s to %s", split, self.corpus.name, self.folder)
        with atomic_write(self.folder / f"{split}.txt") as part, part.open("xb") as file:
            out = _Measured(file)
            self.corpus.write(split, cast(BinaryIO, out))
            if out.bytes == 0:
                raise UserError(f"data={self.corpus.name} has no text in its {split} split.")
        return {"bytes": out.bytes, "sha256": out.digest.hexdigest()}

    def _tokenizer(self, facts: dict[str, Any]) -> Tokenizer:
        if not self.tokenizer_path.exists():
            text = self._checked_text("train", facts)
            log.info("training a tokenizer of %d tokens on %s", self.vocab_size, text)
            vocab, merges = train_bpe(text, self.vocab_size, [END_OF_TEXT], threads=self.threads, progress=True)
            self.tokenizer_folder.mkdir(exist_ok=True)
            with atomic_write(self.tokenizer_path) as part:
                Tokenizer(vocab, merges, [END_OF_TEXT]).save(part)
        tokenizer = Tokenizer.from_files(self.tokenizer_path)
        if tokenizer.vocab_size != self.vocab_size:  # the model would have rows that no token trains
            raise UserError(
                f"tokenizer.vocab_size={self.vocab_size} cannot be reached: {self.tokenizer_path} has "
                f"{tokenizer.vocab_size} tokens, all that the train text yields; ask for at most that many."
            )
        return tokenizer

    def _tokens(self, split: Split, facts: dict[str, Any], tokenizer: Tokenizer, verify: bool) -> TokenFile:
        """Encode one split, then write the manifest, whose presence says that the token file is whole."""
        path = self.tokenizer_folder / f"{split}.bin"
        if self._has_tokens(split, facts, tokenizer):
            return open_tokens(path, verify)
        text = self._checked_text(split, facts)
        log.info("encoding %s", text)
        record = path.with_suffix(".json")
        record.unlink(missing_ok=True)
        with atomic_write(path) as part:
            count = tokenizer.encode_file(text, part, threads=self.threads)
            digest = sha256(part)
        made_from = self._made_from(split, facts, tokenizer)
        Manifest(file=path.name, sha256=digest, tokens=count, **made_from).save(record)
        return open_tokens(path)

    def _has_tokens(self, split: Split, facts: dict[str, Any], tokenizer: Tokenizer) -> bool:
        """Return whether the split is encoded already, from this text and by this tokenizer."""
        record = self.tokenizer_folder / f"{split}.json"
        return record.exists() and (
            self._made_from(split, facts, tokenizer).items() <= asdict(Manifest.load(record)).items()
        )

    def _made_from(self, split: Split, facts: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
        """Return what a split's token file depends on."""
        return {
            "text_bytes": facts[split]["bytes"],
            "text_sha256": facts[split]["sha256"],
            "tokenizer": tokenizer.fingerprint,
            "source": facts["identity"],
        }

    def _checked_text(self, split: Split, facts: dict[str, Any]) -> Path:
        path = self.folder / f"{split}.txt"
        if not path.exists() or sha256(path) != facts[split]["sha256"]:
            raise UserError(f"{path} is missing or corrupted: delete {self.folder} and prepare the data again.")
        return path


class _Measured:
    """A binary stream that counts and hashes the bytes written to it."""

    def __init__(self, file: BinaryIO):
        self.file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.bytes += len(block)
        self.digest.update(block)
        return self.file.write(block)

    def writelines(self, blocks: Iterator[bytes]) -> None:
        for block in blocks:
            self.write(block)


def _key(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _remove_part_files(folder: Path) -> None:
    """Remove the unfinished files of a killed process; the caller holds the folder's lock."""
    for part in _part_files(folder):
        part.unlink(missing_ok=True)


def _part_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))
