"""Small JSON records beside the data: written whole, and read only if they are what we would have written."""

import json
from pathlib import Path
from typing import Any

import jsonschema

from lmablate.data.files import replacing
from lmablate.errors import UserError

MAX_BYTES = 1 << 20

SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 1 << 53}


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record that is whole or absent."""
    with replacing(path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    """Read a record and validate it against a schema.

    Raises:
        UserError: the file is missing, larger than 1 MiB, not JSON, or against the schema.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: prepare the data again.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES} bytes, so it is no record of ours.")
    try:
        record = json.loads(path.read_bytes())
        jsonschema.validate(record, schema)
    except jsonschema.ValidationError as error:
        raise UserError(f"{path} is malformed at {error.json_path}: {error.message[:200]}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from None
    return record
