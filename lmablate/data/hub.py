"""Corpora from the Hugging Face hub: downloaded once, resumed when cut off, verified, and pinned to one commit.

The hub's own client checks only a file's size, and after an interruption it starts again from the first byte. So
this module downloads with the client's `http_get` into a part file that outlives the process, and compares the
result with the SHA-256 that the hub itself keeps for the file (Git LFS).
"""

import gzip
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from lmablate.data.corpora import Corpus, Split, checked_max_bytes, head, normalised
from lmablate.errors import UserError
from lmablate.files import COUNT, SHA256, disk_errors_named, locked, publish, read_record, sha256, user_path, write_json

log = logging.getLogger(__name__)

PIN_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["commit", "sha256", "bytes"],
    "properties": {
        "commit": {"type": "string", "pattern": r"^[0-9a-f]{40}\Z"},
        "sha256": SHA256,
        "bytes": COUNT,
    },
}


class HubCorpus(Corpus):
    """Two text files, plain or gzip, of a dataset repository on the Hugging Face hub.

    Bytes that are not UTF-8 become U+FFFD, since a user cannot repair them.

    Args:
        name: the corpus's name; the name of its cache folder begins with it.
        repo: the repository, "owner/dataset".
        revision: a commit, or a branch name, which is resolved to its commit once and pinned to it from then on.
        train: path of the training text in the repository; a file that ends in `.gz` is decompressed.
        valid: path of the validation text in the repository, likewise.
        download_dir: folder of the downloaded files, kept byte for byte as the hub sent them.
        max_bytes: the most bytes of text of each split, cut between documents; None for all.

    Raises:
        UserError: if a name could lead out of its folder, or `max_bytes` is out of range.
    """

    def __init__(
        self,
        name: str,
        repo: str,
        revision: str,
        train: str,
        valid: str,
        download_dir: str | Path,
        max_bytes: int | None = None,
    ):
        self.name = _checked_name("data.name", name)
        self.repo = _checked_name("data.repo", repo)
        self.revision = _checked_name("data.revision", revision)
        self.paths: dict[Split, str] = {
            "train": _checked_name("data.train", train),
            "valid": _checked_name("data.valid", valid),
        }
        self.max_bytes = checked_max_bytes(max_bytes)
        self.download_dir = user_path("data.download_dir", download_dir).absolute()

    def identity(self) -> dict[str, Any]:
        """Return the repository, the revision, the two paths, and the settings; nothing is asked of the hub."""
        return {
            "corpus": self.name,
            "repo": self.repo,
            "revision": self.revision,
            "train": self.paths["train"],
            "valid": self.paths["valid"],
            "max_bytes": self.max_bytes,
        }

    def provenance(self) -> dict[str, Any]:
        """Return the commit, SHA-256 and size of each split's file."""
        return {split: self.file(split).pinned() for split in self.paths}

    def write(self, split: Split, out: BinaryIO) -> None:
        """Download the file of one split if needed, and stream it to `out` as normalised text.

        Raises:
            UserError: if the download fails, or `download_dir` is full or not writable.
        """
        with disk_errors_named("data.download_dir", self.download_dir):
            path = self.file(split).download()
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as source:
            out.writelines(head(normalised(source, str(path), errors="replace"), self.max_bytes))

    def file(self, split: Split) -> "HubFile":
        """Return the file of one split."""
        return HubFile(self.repo, self.paths[split], self.revision, self.download_dir)


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository, and its place in the download folder.

    Attributes:
        repo: the repository, "owner/dataset".
        path: the file's path in the repository.
        revision: a commit or a branch name.
        download_dir: folder of the downloaded files.
    """

    repo: str
    path: str
    revision: str
    download_dir: Path

    @property
    def local(self) -> Path:
        """The path of the downloaded file."""
        parts = (self.repo, self.revision, self.path)
        return self.download_dir.joinpath(*(part.replace("/", "--") for part in parts))

    def download(self) -> Path:
        """Download the file unless it exists, and return its local path; its content has the hub's SHA-256.

        Raises:
            UserError: if the hub has no such file, cannot be reached, may not be reached (HF_HUB_OFFLINE is set), or
                sent other bytes than it announced.
        """
        self.local.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.local.with_name(f"{self.local.name}.lock")):
            pin = self.pinned()
            if self.local.exists() and sha256(self.local) != pin["sha256"]:
                log.warning("%s is corrupted: downloading it again", self.local)
                self.local.unlink()
            if not self.local.exists():
                self._fetch(pin)
        return self.local

    def pinned(self) -> dict[str, Any]:
        """Return the commit, SHA-256 and size in bytes that the hub gave when it was first asked about the file.

        The answer is kept beside the file, so a branch that moves later changes nothing.

        Raises:
            UserError: if the hub must be asked and does not give all three.
        """
        record = self.local.with_name(f"{self.local.name}.pin.json")
        if not record.exists():
            write_json(record, self._ask_hub())
        return read_record(record, PIN_SCHEMA)

    def _ask_hub(self) -> dict[str, Any]:
        with self._hub_errors_named():
            found = get_hf_file_metadata(self._url(self.revision), retry_on_errors=True)
        if not (found.commit_hash and found.size and re.fullmatch("[0-9a-f]{64}", found.etag or "")):
            raise UserError(f"The hub keeps no commit, size and SHA-256 for {self}, so it cannot be verified.")
        return {"commit": found.commit_hash, "sha256": found.etag, "bytes": found.size}

    def _fetch(self, pin: dict[str, Any]) -> None:
        part = self.local.with_name(f"{self.local.name}.{pin['sha256'][:12]}.part")
        if part.exists() and part.stat().st_size > pin["bytes"]:
            part.unlink()
        log.info("downloading %s, %.2f GB, to %s", self, pin["bytes"] / 1e9, self.local)
        with self._hub_errors_named(), part.open("ab") as out:
            http_get(
                self._url(pin["commit"]),
                out,
                resume_size=out.tell(),
                headers=build_hf_headers(),
                expected_size=pin["bytes"],
                displayed_filename=self.path,
            )
        if (digest := sha256(part)) != pin["sha256"]:
            part.unlink()
            raise UserError(
                f"The download of {self} is corrupted: its sha256 is {digest}, "
                f"but the hub's is {pin['sha256']}; it was deleted, run the same command again."
            )
        publish(part, self.local)

    def _url(self, revision: str) -> str:
        return hf_hub_url(self.repo, self.path, repo_type="dataset", revision=revision)

    @contextmanager
    def _hub_errors_named(self) -> Iterator[None]:
        try:
            yield
        except OfflineModeIsEnabled:
            raise UserError(
                f"HF_HUB_OFFLINE is set, but {self} is not downloaded yet: unset it, "
                "or prepare the data where there is a network."
            ) from None
        except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
            raise UserError(f"The hub at {constants.ENDPOINT} has no {self}.") from None
        except (httpx2.HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError(
                f"The download of {self} from {constants.ENDPOINT} failed ({_first_line(error)}); "
                "run the same command again to resume it."
            ) from error

    def __str__(self) -> str:
        return f"{self.path} of dataset {self.repo} at revision {self.revision}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked_name(key: str, value: Any) -> str:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", str(value), re.ASCII):
        raise UserError(f"{key}={value!r} must be letters, digits, '_', '.', '-' and '/' between names.")
    return str(value)
