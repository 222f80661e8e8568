"""Claims: sentences about a model, each with the measurements that decide it. Each claim is one yaml file.

The keys of the yaml are those of CLAIM_KEYS. Each entry of `all_of` names a predicate and gives the fields of its
class. The experiment, metric and margin that an entry does not give are those of the claim.

A value is read by what its key demands, not by how it looks: a margin may be 0.001 or 1e-3, and a level such as `no` or
`010` is the text that was typed.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import lmablate.evidence.budget_predicates
import lmablate.evidence.design_predicates
import lmablate.evidence.rate_predicates
import lmablate.evidence.trend_predicates  # noqa: F401  all four add their kinds to PREDICATES
from lmablate.errors import UserError
from lmablate.evidence.contrasts import Contrast
from lmablate.evidence.predicates import PREDICATES, Predicate
from lmablate.evidence.readings import During, Share
from lmablate.evidence.tables import NUMBER, Levels, RunTable
from lmablate.files import read_yaml

_ID = re.compile(r"[A-Z]{1,8}[0-9]{1,8}")
# Characters that would control a terminal.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
# Endings of a claim's file.
_ENDINGS = (".yaml", ".yml")
# Characters of a value that a message shows.
_SHOWN = 80
# Keys of the claim that its predicates inherit.
INHERITED = ("experiment", "metric", "margin")


@dataclass(frozen=True)
class Values:
    """The values that a key may have.

    Attributes:
        allowed: the values in words, as the end of "it must be ...".
        read: returns the value for what the yaml holds, which is text or a list or a mapping; raises ValueError for
            one that is not allowed.
    """

    allowed: str
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or _CONTROL.search(value):
        raise ValueError
    return value


def _metric(value: Any) -> str:
    if _text(value).count("{i}") > 1:
        raise ValueError
    return value


def _number(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    if not isinstance(value, str) or not NUMBER.fullmatch(value.replace("_", "")):
        raise ValueError
    number = float(value)  # it has a rule of its own for _, as in 1_000
    if not math.isfinite(number) or not least <= number <= most:
        raise ValueError
    return number


def _share(value: Any) -> float:
    return _number(value, 0, 1)


def _margin(value: Any) -> float:
    return _number(value, 0)


def _seed(value: Any) -> int:
    number = _number(value, 0)
    if number != int(number):
        raise ValueError
    return int(number)


def _id(value: Any) -> str:
    if not _ID.fullmatch(_text(value)):
        raise ValueError
    return value


def _levels(value: Any) -> Levels:
    if not isinstance(value, dict) or not value:
        raise ValueError
    return {_text(factor): _text(level) for factor, level in value.items()}


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read_list(value: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise ValueError
        return [read(entry) for entry in value]

    return read_list


def _during(value: Any) -> During:
    if value in ("warmup", "after_warmup"):
        return value
    first, last = _list_of(_share)(value)  # another number of entries is a ValueError, too
    if not first < last:
        raise ValueError
    return [first, last]


def _flag(value: Any) -> bool:
    if value not in ("true", "false"):
        raise ValueError
    return value == "true"


def _predicate(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _one_of(choices: Collection[str]) -> Values:
    def read(value: Any) -> str:
        if value not in [*choices]:
            raise ValueError
        return value

    return Values(f"one of {', '.join(choices)}", read)


TEXT = Values("text that is not empty, without control characters", _text)
METRIC = Values("a metric's name, in which {i} may stand once for the layer", _metric)
MARGIN = Values("a number of at least 0, such as 0.01", _margin)
# The values of a predicate's field, by its type.
OF_TYPE: dict[Any, Values] = {
    str: TEXT,
    str | None: TEXT,
    float: Values("a finite number", _number),
    bool: Values("true or false", _flag),
    Share: Values("a number from 0 to 1", _share),
    Levels: Values("factors with their values, such as {model/pos: rope}", _levels),
    list[Levels]: Values("a list of factors with their values, such as [{model/pos: rope}]", _list_of(_levels)),
    list[int]: Values("a list of seeds, such as [100, 101]", _list_of(_seed)),
    During: Values("warmup, after_warmup, or [from, to] with 0 <= from < to <= 1", _during),
}
CLAIM_KEYS = {
    "id": Values("capital letters and then digits, at most 8 of each, such as C07", _id),
    "text": TEXT,
    "reported": TEXT,
    "question": TEXT,
    "experiment": TEXT,
    "metric": METRIC,
    "margin": MARGIN,
    "note": TEXT,
    "all_of": Values("a list of predicates, such as [{predicate: lower, ...}]", _list_of(_predicate)),
}
OPTIONAL = {"margin", "note"}


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
        """Return all contrasts that the claim needs. If it needs several experiments, each says which is its own.

        Raises:
            NotMeasured: if the table lacks runs or metrics that they need.
        """
        several = len(self.experiments) > 1
        return [
            replace(contrast, label=f"{contrast.label} (experiment {predicate.experiment})") if several else contrast
            for predicate in self.all_of
            for contrast in predicate.measure(table)
        ]


def load_claims(folder: str | Path) -> list[Claim]:
    """Return the claims of all yaml files in a folder, in the order of their ids.

    Raises:
        UserError: if there is no such folder or no claim in it, a file is not a valid claim, or two claims have the
            same id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder of claims at {folder}.")
    claims: dict[str, Claim] = {}
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _ENDINGS and not path.name.startswith("."):
            claim = load_claim(path)
            if claim.id in claims:
                raise UserError(f"{path}: id={claim.id} is taken already, by {files[claim.id]}: give it another.")
            claims[claim.id], files[claim.id] = claim, path
    if not claims:
        raise UserError(f"{folder} holds no claim, which is a file such as C1.yaml.")
    return [claims[key] for key in sorted(claims, key=lambda key: (key.rstrip("0123456789"), len(key), key))]


def load_claim(path: str | Path) -> Claim:
    """Return the claim of one yaml file.

    Raises:
        UserError: if it is not a valid claim; the message is one sentence that names the file, the claim, the key, its
            value and what is allowed.
    """
    return parse_claim(read_yaml(Path(path)), str(path))


def parse_claim(raw: Any, source: str) -> Claim:
    """Return the claim of a mapping with the keys of a claim's yaml.

    Args:
        raw: the mapping.
        source: where it comes from, for the message.

    Raises:
        UserError: as `load_claim`.
    """
    raw = _as_written(raw)
    if not isinstance(raw, dict):
        raise UserError(f"{source}: a claim has the keys {', '.join(CLAIM_KEYS)}; this has {_shown(raw)}.")
    where = f"{source}: claim {raw['id']}" if _ID.fullmatch(str(raw.get("id"))) else source
    claim = _read_keys(raw, CLAIM_KEYS, OPTIONAL, where)
    inherited = {key: raw[key] for key in INHERITED if key in raw}
    all_of = [_parse_predicate(inherited | test, f"{where}: all_of[{i}]") for i, test in enumerate(claim["all_of"])]
    own: dict[str, Any] = {key: value for key, value in claim.items() if key not in INHERITED}
    own["all_of"] = tuple(all_of)
    return Claim(**own)


def _as_written(value: Any) -> Any:
    """Return a nested value as a yaml file gives it: numbers, booleans and None as the text that is typed for them."""
    if isinstance(value, Mapping):
        return {str(key): _as_written(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_written(inner) for inner in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else "" if value is None else str(value)


def _parse_predicate(raw: dict[str, Any], where: str) -> Predicate:
    name = _read_keys({"predicate": raw.get("predicate")}, {"predicate": _one_of(PREDICATES)}, (), where)["predicate"]
    where = f"{where} ({name})"
    keys, optional = predicate_keys(PREDICATES[name])
    arguments = _read_keys({key: value for key, value in raw.items() if key != "predicate"}, keys, optional, where)
    try:
        return PREDICATES[name](**arguments)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def predicate_keys(predicate: type[Predicate]) -> tuple[dict[str, Values], set[str]]:
    """Return the keys of a predicate with their values, and the optional ones, made from the fields of its class."""
    hints = get_type_hints(predicate, include_extras=True)
    arguments = [field for field in fields(predicate) if field.init]
    keys = {field.name: _values_of(hints[field.name]) for field in arguments} | {"metric": METRIC, "margin": MARGIN}
    optional = {f.name for f in arguments if not (f.default is MISSING and f.default_factory is MISSING)}
    return keys, optional


def _values_of(hint: Any) -> Values:
    return _one_of(get_args(hint)) if get_origin(hint) is Literal else OF_TYPE[hint]


def _read_keys(
    raw: Mapping[Any, Any], keys: Mapping[str, Values], optional: Collection[str], where: str
) -> dict[str, Any]:
    """Return the values of `raw` by key; raise a UserError that begins with `where` if one may not be there."""
    for key in raw:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"{where}: unknown key {key!r}{hint}: allowed are {', '.join(keys)}.")
    for key, values in keys.items():
        if key not in raw and key not in optional:
            raise UserError(f"{where}: {key} is missing: it must be {values.allowed}.")
    found = {}
    for key, value in raw.items():
        try:
            found[key] = keys[key].read(value)
        except ValueError:
            allowed = keys[key].allowed
            raise UserError(f"{where}: {key}={_shown(value)} is not allowed: it must be {allowed}.") from None
    return found


def _shown(value: Any) -> str:
    """Return a value of a yaml for a message, on one line; long ones are cut."""
    text = "nothing" if value is None or value == "" else value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
