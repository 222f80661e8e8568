"""JSON records and files of JSON lines, each validated against a JSON schema when it is read.

A record may be damaged by a disk, by another program or by hand. Then one sentence names it, and nothing is done.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lmablate.errors import UserError, reason
from lmablate.files.atomic import fsync_folder, write_bytes
from lmablate.files.text import BLOCK_BYTES

# Bytes. lmablate never writes a larger JSON file.
JSON_LIMIT = 64 * 2**20
SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}


def write_json(path: Path, value: Any) -> None:
    """Replace the file `path` atomically by `value` as JSON, with sorted keys."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`.

    Raises:
        ValueError: if the file is not JSON, or larger than JSON_LIMIT.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > JSON_LIMIT:
        raise ValueError(f"{path} is larger than {JSON_LIMIT} bytes")
    return json.loads(path.read_bytes())


def append_json_line(path: Path, value: Any) -> None:
    """Append `value` to a file of JSON lines, and flush it to disk; a half line that a kill left is cut off before.

    Only one process may append at a time: hold a lock.
    """
    new = not path.exists()
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - BLOCK_BYTES))  # no line is longer
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        file.write(json.dumps(value, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        fsync_folder(path.parent)


def object_with(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object that has some keys, may have others, and may have further ones."""
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}


def object_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has these keys and no others."""
    return {**object_with(properties), "additionalProperties": False}


def check_records(records: list[Any], schema: Mapping[str, Any], where: str) -> list[Any]:
    """Return JSON values, if each has the form that a schema describes.

    Args:
        records: the values.
        schema: a JSON schema.
        where: where they stand, for the message.

    Raises:
        UserError: if one has another form.
    """
    # Imported here: it takes longer than everything that a short command needs.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    validator = Draft202012Validator(schema)
    for record in records:
        try:
            error = best_match(validator.iter_errors(record))
        except RecursionError:
            raise UserError(f"{where} is malformed: it is nested too deeply.") from None
        if error:
            raise UserError(f"{where} is malformed at {error.json_path}: {error.message[:200]}.")
    return records


def read_record(path: Path, schema: Mapping[str, Any], remedy: str = "") -> Any:
    """Return the record in `path`.

    Args:
        path: the file.
        schema: the form that it must have.
        remedy: what to do about a file that is missing, as the end of a sentence.

    Raises:
        UserError: if the file is missing, larger than JSON_LIMIT, not JSON, or breaks the schema.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing{f': {remedy}' if remedy else ''}.")
    try:
        record = read_json(path)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from None
    return check_records([record], schema, str(path))[0]


def read_record_lines(path: Path, schema: Mapping[str, Any]) -> list[Any]:
    """Return the records of a file of JSON lines, without a half line at its end; empty if there is no such file.

    Raises:
        UserError: if a whole line is not JSON, or breaks the schema.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line, parse_constant=_refuse))
        except (ValueError, RecursionError):
            raise UserError(f"{path} is damaged: line {number} is not JSON.") from None
    return check_records(records, schema, f"{path}: a line")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
