"""Corpora from the Hugging Face hub: downloaded once, resumed when cut off, verified, and pinned for ever.

The hub's client checks sizes only, and starts again from nothing after an interruption. So the files are
fetched here, with the client's `http_get`, into a part file that outlives the process, and compared with the
SHA-256 that the hub itself keeps for them (Git LFS).
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
from lmablate.data.records import COUNT, SHA256, read_record
from lmablate.errors import UserError
from lmablate.files import disk_errors_named, locked, publish, sha256, write_json

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
        name: what the cache folder is called.
        repo: "owner/dataset".
        revision: a commit; a branch name is resolved once, and its commit kept from then on.
        train, valid: paths of the two files in the repository; `.gz` is decompressed.
        download_dir: where the files are kept as they came.
        max_bytes: at most so many bytes of text of each split, cut between documents.
    """

    def __init__(
        self,
        name: str,
        repo: str,
        revision: str,
        train: str,
        valid: str,
        download_dir: str,
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
        self.download_dir = Path(download_dir).expanduser().absolute()

    def identity(self) -> dict[str, Any]:
        return {
            "corpus": self.name,
            "repo": self.repo,
            "revision": self.revision,
            "train": self.paths["train"],
            "valid": self.paths["valid"],
            "max_bytes": self.max_bytes,
        }

    def provenance(self) -> dict[str, Any]:
        return {split: self.file(split).pinned() for split in self.paths}

    def write(self, split: Split, out: BinaryIO) -> None:
        with disk_errors_named("data.download_dir", self.download_dir):
            path = self.file(split).download()
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as source:
            out.writelines(head(normalised(source, str(path), errors="replace"), self.max_bytes))

    def file(self, split: Split) -> "HubFile":
        return HubFile(self.repo, self.paths[split], self.revision, self.download_dir)


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository, and its place in the download folder."""

    repo: str
    path: str
    revision: str
    download_dir: Path

    @property
    def local(self) -> Path:
        parts = (self.repo, self.revision, self.path)
        return self.download_dir.joinpath(*(part.replace("/", "--") for part in parts))

    def download(self) -> Path:
        """Download the file unless it is there, and return its local path; its content has the hub's SHA-256.

        Raises:
            UserError: the hub has no such file, cannot be reached, or may not (HF_HUB_OFFLINE), or sent
                something else than it announced.
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
        """The commit, SHA-256 and size that the hub gave when the file was first asked for."""
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
                "run the same command again to go on where it stopped."
            ) from error

    def __str__(self) -> str:
        return f"{self.path} of dataset {self.repo} at revision {self.revision}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked_name(key: str, value: Any) -> str:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", str(value), re.ASCII):
        raise UserError(f"{key}={value!r} must be letters, digits, '_', '.', '-' and '/' between names.")
    return str(value)
