"""Downloads with the real huggingface_hub client from a local server with the hub's protocol, and faults."""

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from lmablate.data.corpora import END_OF_TEXT
from lmablate.data.hub import HubCorpus
from lmablate.data.prepare import prepare_data
from lmablate.errors import UserError
from tests.data.helpers import Vocabulary, small_disk
from tests.data.hub_server import COMMIT, HubServer

CHUNK = 64 * 1024
STORIES = "".join(
    f"Once upon a time {i}.\r\n{END_OF_TEXT}\n" for i in np.random.default_rng(0).integers(0, 10**9, 40_000)
)
TRAIN = STORIES.encode()
TEXT = TRAIN.replace(b"\r\n", b"\n")
VALID = b"Once more.\n" + END_OF_TEXT.encode()


@pytest.fixture
def hub(monkeypatch):
    files = {
        "train.txt": TRAIN,
        "valid.txt": VALID,
        "train.txt.gz": gzip.compress(TRAIN, 1),
        "sub/a.txt": VALID,
    }
    with HubServer("owner/stories", files) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        yield server


@pytest.fixture
def make(tmp_path):
    def corpus(**changes) -> HubCorpus:
        settings = {
            "name": "stories",
            "repo": "owner/stories",
            "revision": COMMIT,
            "train": "train.txt",
            "valid": "valid.txt",
            "download_dir": str(tmp_path / "hub"),
        }
        return HubCorpus(**{**settings, **changes})

    return corpus


def train_text(corpus: HubCorpus) -> bytes:
    out = io.BytesIO()
    corpus.write("train", out)
    return out.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_text_arrives_normalised_and_is_downloaded_once(hub, make):
    assert train_text(make()) == TEXT
    assert train_text(make()) == TEXT
    assert hub.ranges == [None]


def test_a_preparation_records_where_its_text_came_from(hub, make, tmp_path):
    data = prepare_data(make(revision="main", max_bytes=20_000), Vocabulary(), tmp_path / "data")
    facts = json.loads((data.tokenizer_path.parent.parent / "corpus.json").read_text())
    sha256 = hashlib.sha256(TRAIN).hexdigest()
    assert facts["provenance"]["train"] == {"commit": COMMIT, "sha256": sha256, "bytes": len(TRAIN)}
    hub.asked.clear()
    assert prepare_data(make(revision="main", max_bytes=20_000), Vocabulary(), tmp_path / "data") == data
    assert hub.asked == []


def test_gzip_is_decompressed(hub, make):
    assert train_text(make(train="train.txt.gz")) == TEXT


def test_a_file_in_a_folder_of_the_repository_is_found(hub, make):
    assert train_text(make(train="sub/a.txt")) == VALID


def test_max_bytes_cuts_between_documents(hub, make):
    cut = train_text(make(max_bytes=10_000))
    assert 9_900 < len(cut) <= 10_000
    assert cut.endswith(END_OF_TEXT.encode())
    assert TEXT.startswith(cut)


def test_bytes_that_are_not_utf8_are_replaced(hub, make):
    hub.files["train.txt"] = b"caf\xe9<|endoftext|>"
    assert train_text(make()).decode() == "caf\ufffd<|endoftext|>"


def test_a_branch_is_resolved_once_and_kept(hub, make):
    corpus = make(revision="main")
    train_text(corpus)
    assert corpus.provenance()["train"]["commit"] == COMMIT
    hub.commit, hub.files["train.txt"] = "f" * 40, b"something else"
    corpus.file("train").local.unlink()
    hub.asked.clear()
    with pytest.raises(UserError, match=r"has no train\.txt"):
        train_text(corpus)
    assert hub.asked == [f"GET {COMMIT}"]


def test_a_cut_connection_is_resumed_where_it_broke(hub, make):
    hub.cuts = [10 * CHUNK, 3 * CHUNK]
    assert train_text(make()) == TEXT
    assert hub.ranges == [None, f"bytes={10 * CHUNK}-", f"bytes={13 * CHUNK}-"]


def test_a_server_without_ranges_sends_everything_again(hub, make):
    hub.cuts, hub.honour_ranges = [10 * CHUNK], False
    assert train_text(make()) == TEXT


def test_a_corrupted_file_of_the_right_size_is_refused_and_deleted(hub, make, tmp_path):
    damaged = bytearray(TRAIN)
    damaged[123_456] ^= 1
    hub.served["train.txt"] = bytes(damaged)
    with pytest.raises(UserError, match=r"train\.txt of dataset owner/stories .*is corrupted: its sha256 is"):
        train_text(make())
    assert files_in(tmp_path) == {"train.txt.pin.json"}
    hub.served.clear()
    assert train_text(make()) == TEXT


def test_a_file_damaged_on_disk_is_downloaded_again(hub, make, caplog):
    corpus = make()
    train_text(corpus)
    local = corpus.file("train").local
    local.write_bytes(local.read_bytes()[:-1] + b"!")
    assert train_text(corpus) == TEXT
    assert "is corrupted: downloading it again" in caplog.text


def test_a_part_file_longer_than_the_file_is_dropped(hub, make):
    corpus = make()
    train_text(corpus)
    local = corpus.file("train").local
    sha256 = corpus.file("train").pinned()["sha256"]
    local.unlink()
    local.with_name(f"train.txt.{sha256[:12]}.part").write_bytes(TRAIN + b"more")
    assert train_text(corpus) == TEXT


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"train": "nothing.txt"}, r"has no nothing\.txt of dataset owner/stories at revision c0ffee"),
        ({"repo": "owner/nothing"}, r"has no train\.txt of dataset owner/nothing"),
        ({"revision": "a" * 40}, r"has no train\.txt of dataset owner/stories at revision aaaa"),
    ],
)
def test_what_the_hub_does_not_have_is_named(hub, make, tmp_path, changes, missing):
    with pytest.raises(UserError, match=missing):
        train_text(make(**changes))
    assert files_in(tmp_path) == set()


def test_offline_mode_is_respected_with_a_sentence(hub, make, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set, but train\.txt of dataset owner/stories"):
        train_text(make())
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    train_text(make())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert train_text(make()) == TEXT


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_ends_in_one_sentence_and_the_download_resumes_later(hub, make, tmp_path):
    folder = tmp_path / "hub"
    with small_disk(folder, 10 * CHUNK):
        with pytest.raises(UserError, match=rf"^data\.download_dir={folder} has no space left: [^\n]*\.$"):
            train_text(make())
        assert "train.txt" not in files_in(folder)
        subprocess.run(["mount", "-o", "remount,size=10m", str(folder)], check=True)
        assert train_text(make()) == TEXT
    assert hub.ranges[-1] is not None


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_named(make, monkeypatch):
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(UserError, match=r"The download of train\.txt .* failed"):
        train_text(make())


@pytest.mark.parametrize(
    ("key", "value"),
    [("train", "../x"), ("repo", "/etc"), ("revision", ".."), ("name", "a b"), ("valid", "a/../b")],
)
def test_names_that_leave_the_folder_are_refused(make, key, value):
    with pytest.raises(UserError, match=rf"data\.{key}="):
        make(**{key: value})


CLIENT = f"""
import io, sys
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}
from lmablate.data.hub import HubCorpus
from lmablate.data.prepare import prepare_data
corpus = HubCorpus("stories", "owner/stories", "{COMMIT}", "train.txt", "valid.txt", download_dir=sys.argv[1])
out = io.BytesIO()
corpus.write("train", out)
print(len(out.getvalue()))
"""


def client(hub: HubServer, folder: Path) -> subprocess.Popen:
    """Start a download in a process of its own, which gets the address of the hub from HF_ENDPOINT, as a user does."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_clients_at_once_download_once(hub, tmp_path):
    clients = [client(hub, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in clients]
    assert [process.returncode for process in clients] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] == f"{len(TEXT)}\n"
    assert hub.ranges == [None]


def test_a_killed_client_is_resumed_by_the_next(hub, tmp_path):
    hub.stall_after = 12 * CHUNK
    killed = client(hub, tmp_path)
    part = wait_for_part(tmp_path, 10 * CHUNK)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    size = part.stat().st_size
    hub.stall_after = None
    following = client(hub, tmp_path)
    _, errors = following.communicate(timeout=60)
    assert following.returncode == 0, errors
    assert hub.ranges == [None, f"bytes={size}-"]
    pin = json.loads(next(tmp_path.rglob("train.txt.pin.json")).read_text())
    assert pin["commit"] == COMMIT
    assert files_in(tmp_path) == {"train.txt", "train.txt.pin.json"}


def wait_for_part(folder: Path, size: int) -> Path:
    for _ in range(600):
        for part in folder.rglob("*.part"):
            if part.stat().st_size >= size:
                return part
        time.sleep(0.05)
    raise AssertionError(f"no part file of {size} bytes within 30 s")
