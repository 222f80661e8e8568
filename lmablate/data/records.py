"""Small JSON records beside the data, read only if they are what we would have written."""

from pathlib import Path
from typing import Any

import jsonschema

from lmablate.errors import UserError
from lmablate.files import read_json

SHA256 = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
COUNT = {"type": "integer", "minimum": 0, "maximum": 1 << 53}


def read_record(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    """Read a record and validate it against a schema.

    Raises:
        UserError: the file is missing, too large to be ours, not JSON, or against the schema.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: prepare the data again.")
    try:
        record = read_json(path)
        jsonschema.validate(record, schema)
    except jsonschema.ValidationError as error:
        raise UserError(f"{path} is malformed at {error.json_path}: {error.message[:200]}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    return record
