"""Claims: sentences about a model, each with the measurements that decide it. Each claim is one yaml file.

The keys of the yaml are those of CLAIM_SCHEMA. Each entry of `all_of` names a predicate and gives the fields of its
class. The experiment, metric and margin that an entry does not give are those of the claim.
"""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jsonschema
import jsonschema.exceptions
import yaml

from lmablate.errors import UserError
from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.predicates import PREDICATES, Predicate
from lmablate.evidence.readings import During
from lmablate.evidence.tables import Levels, RunTable

# A larger file is not read.
MOST_BYTES = 64 * 1024

TEXT = {"type": "string", "minLength": 1}
LEVELS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
FRACTIONS = {"type": "array", "items": FRACTION, "minItems": 2, "maxItems": 2}
# The type of a predicate's field -> its JSON schema.
FIELD_SCHEMAS: dict[Any, dict[str, Any]] = {
    str: TEXT,
    str | None: TEXT,
    float: {"type": "number"},
    Levels: LEVELS,
    list[Levels]: {"type": "array", "items": LEVELS, "minItems": 1},
    During: {"anyOf": [{"enum": ["warmup", "after_warmup"]}, FRACTIONS]},
}
MARGIN = {"type": "number", "minimum": 0}
# Keys of the claim that its predicates inherit.
INHERITED = ("experiment", "metric", "margin")

CLAIM_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "text", "reported", "question", "experiment", "metric", "all_of"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]+[0-9]+$"},
        "text": TEXT,
        "reported": TEXT,
        "question": TEXT,
        "experiment": TEXT,
        "metric": TEXT,
        "margin": MARGIN,
        "note": TEXT,
        "all_of": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["predicate"]}},
    },
}


@dataclass(frozen=True)
class Claim:
    """A sentence about a model, and the predicates that decide it.

    Attributes:
        id: the claim's id, e.g. "C07".
        text: the sentence that is tested.
        reported: the claim in the words of its source.
        question: the question behind it, as a reader would ask it.
        all_of: the predicates that must all hold for the claim to hold.
        note: how it is measured, and why in this way.
    """

    id: str
    text: str
    reported: str
    question: str
    all_of: tuple[Predicate, ...]
    note: str = ""

    @property
    def experiments(self) -> set[str]:
        """Names of the experiments whose runs the claim needs."""
        return {predicate.experiment for predicate in self.all_of}

    def measure(self, table: RunTable) -> list[Contrast]:
        """Return all contrasts that the claim needs.

        Raises:
            NotMeasured: if the table lacks runs or metrics that they need.
        """
        return [contrast for predicate in self.all_of for contrast in predicate.measure(table)]


def load_claims(folder: str | Path) -> list[Claim]:
    """Return the claims of all yaml files in a folder, in the order of their ids.

    Raises:
        UserError: if there is no such folder, a file is not a valid claim, or two claims have the same id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder of claims at {folder}.")
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.yaml")):
        claim = load_claim(path)
        if claim.id in claims:
            raise UserError(f"{path}: id {claim.id} is already taken by another claim of the folder.")
        claims[claim.id] = claim
    return [claims[key] for key in sorted(claims, key=lambda key: (key.rstrip("0123456789"), len(key), key))]


def load_claim(path: str | Path) -> Claim:
    """Return the claim of one yaml file.

    Raises:
        UserError: if it is not a valid claim; the message is one sentence that names the file and the key.
    """
    raw = _read_yaml(Path(path))
    _validate(raw, CLAIM_SCHEMA, str(path))
    defaults = {key: raw.pop(key) for key in INHERITED if key in raw}
    all_of = tuple(
        _parse_predicate(defaults | test, f"{path}: all_of[{i}]") for i, test in enumerate(raw.pop("all_of"))
    )
    return Claim(**raw, all_of=all_of)


def _parse_predicate(test: dict[str, Any], where: str) -> Predicate:
    arguments = dict(test)
    name = arguments.pop("predicate")
    if name not in PREDICATES:
        raise UserError(f"{where}: predicate={name} is not allowed: it must be one of {', '.join(PREDICATES)}.")
    _validate(arguments, predicate_schema(PREDICATES[name]), f"{where} ({name})")
    return PREDICATES[name](**arguments)


def predicate_schema(predicate: type[Predicate]) -> dict[str, Any]:
    """Return the JSON schema of a predicate's arguments, made from the fields of its class."""
    hints = get_type_hints(predicate)
    arguments = [field for field in fields(predicate) if field.init]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [f.name for f in arguments if f.default is MISSING and f.default_factory is MISSING],
        "properties": {field.name: _field_schema(hints[field.name]) for field in arguments} | {"margin": MARGIN},
    }


def _field_schema(hint: Any) -> dict[str, Any]:
    return {"enum": list(get_args(hint))} if get_origin(hint) is Literal else FIELD_SCHEMAS[hint]


def _validate(instance: Any, schema: dict[str, Any], where: str) -> None:
    """Raise a UserError with the most helpful of the schema's complaints, if there are any."""
    if isinstance(instance, dict):
        unknown = sorted(set(map(str, instance)) - set(schema["properties"]))
        if unknown:
            allowed = ", ".join(schema["properties"])
            raise UserError(f"{where}: unknown key {unknown[0]!r}: allowed are {allowed}.")
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(instance))
    if error is not None:
        key = "".join(f"{part}: " for part in error.absolute_path)
        raise UserError(f"{where}: {key}{error.message}.")


class PlainLoader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, since these can make a small file expand without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node as the base class does, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def _read_yaml(path: Path) -> Any:
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: a claim may have at most {MOST_BYTES} bytes, not {path.stat().st_size}.")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: this is not valid YAML: {reason}.") from None
