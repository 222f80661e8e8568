"""Files: text that people write, files that are never seen half, JSON records, locks.

names    paths that people type, and names that become a part of one
text     text and YAML that people write, read by one rule
atomic   files that a reader never sees half; what may be replaced; a full disk in one sentence
records  JSON records and files of JSON lines, each validated against a schema when it is read
locks    locks between processes, on every file system
"""

from lmablate.files.atomic import (
    atomic_write,
    disk_errors_named,
    fsync_file,
    fsync_folder,
    publish,
    refuse_foreign,
    sha256,
    write_bytes,
)
from lmablate.files.locks import Busy, locked
from lmablate.files.names import checked_experiment, checked_name, shown_path, user_path
from lmablate.files.records import (
    COUNT,
    FLAG,
    JSON_LIMIT,
    NUMBER,
    SHA256,
    TEXT,
    TEXTS,
    append_json_line,
    check_records,
    object_of,
    object_with,
    read_json,
    read_record,
    read_record_lines,
    write_json,
)
from lmablate.files.text import YAML_LIMIT, read_lines, read_text, read_yaml, text_blocks

__all__ = [
    "COUNT",
    "FLAG",
    "JSON_LIMIT",
    "NUMBER",
    "SHA256",
    "TEXT",
    "TEXTS",
    "YAML_LIMIT",
    "Busy",
    "append_json_line",
    "atomic_write",
    "check_records",
    "checked_experiment",
    "checked_name",
    "disk_errors_named",
    "fsync_file",
    "fsync_folder",
    "locked",
    "object_of",
    "object_with",
    "publish",
    "read_json",
    "read_lines",
    "read_record",
    "read_record_lines",
    "read_text",
    "read_yaml",
    "refuse_foreign",
    "sha256",
    "shown_path",
    "text_blocks",
    "user_path",
    "write_bytes",
    "write_json",
]
