"""Claims: what must be measured to believe a sentence about a model, one yaml each.

A claim's keys are CLAIM_SCHEMA's; each entry of `all_of` names a predicate and gives the fields of its
class, with the claim's experiment, metric and margin where it names none of its own.
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
from lmablate.evidence.tables import Arm, RunTable

MOST_BYTES = 64 * 1024

TEXT = {"type": "string", "minLength": 1}
ARM = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
FRACTION = {"type": "number", "minimum": 0, "maximum": 1}
FRACTIONS = {"type": "array", "items": FRACTION, "minItems": 2, "maxItems": 2}
FIELD_SCHEMAS: dict[Any, dict[str, Any]] = {
    str: TEXT,
    str | None: TEXT,
    float: {"type": "number"},
    Arm: ARM,
    list[Arm]: {"type": "array", "items": ARM, "minItems": 1},
    During: {"anyOf": [{"enum": ["warmup", "after_warmup"]}, FRACTIONS]},
}
MARGIN = {"type": "number", "minimum": 0}
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
    """id, e.g. C07. text: what is tested. reported: the words of whoever claims it. question: what a reader
    wants to know. note: how it is measured and why so. all_of: what must hold together for the claim to
    hold."""

    id: str
    text: str
    reported: str
    question: str
    all_of: tuple[Predicate, ...]
    note: str = ""

    @property
    def experiments(self) -> set[str]:
        return {predicate.experiment for predicate in self.all_of}

    def measure(self, table: RunTable) -> list[Contrast]:
        """All contrasts that the claim needs. Raises NotMeasured where the table lacks runs or metrics."""
        return [contrast for predicate in self.all_of for contrast in predicate.measure(table)]


def load_claims(folder: str | Path) -> list[Claim]:
    """The claims of all yaml files in a folder, by id. Raises UserError for a file that is no valid claim."""
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
    """The claim of one yaml file. Raises UserError with one sentence that names the file and the key."""
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
    """The JSON schema of a predicate's arguments, from the fields of its class."""
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
    """Raises UserError with the most telling of the schema's complaints."""
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
    """YAML without aliases, which can make a small file expand without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
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
        raise UserError(f"{path}: this is no valid YAML: {reason}.") from None
