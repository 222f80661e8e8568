"""The small JSON records beside the data, each validated against a schema when it is read."""

from pathlib import Path
from typing import Any

import jsonschema

from lmablate.errors import UserError, reason
from lmablate.files import read_json

SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 1 << 53}


def read_record(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the record in `path`, validated against a JSON schema.

    Raises:
        UserError: if the file is missing, larger than `lmablate.files.JSON_LIMIT`, not JSON, or breaks the schema.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: prepare the data again.")
    try:
        record = read_json(path)
        jsonschema.validate(record, schema)
    except jsonschema.ValidationError as error:
        raise UserError(f"{path} is malformed at {error.json_path}: {error.message[:200]}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from None
    return record
