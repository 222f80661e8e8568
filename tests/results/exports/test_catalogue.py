"""Options of the model's groups are found from class names and from run names."""

import pytest

from lmablate.config.identity import run_label
from lmablate.config.schema import ADDED_GROUPS, MODEL_GROUPS
from lmablate.results.exports.catalogue import choices_of_config, choices_of_name, class_options
from tests.results.exports.helpers import BASE, make_config

# The neutral choices of the groups that were added later, and the choices of the base config.
ADDED = dict(
    attn="mha", qk_norm="none", values="plain", scores="plain", gate="none", mixer="none", residual="plain",
    logits="plain", bias="none", dropout="none", scaling="standard",
)  # fmt: skip
LLAMA = dict(norm="pre", pos="rope", act="swiglu", tying="true", init="scaled")
OPTIONS = [(group, option) for group in MODEL_GROUPS for option in class_options(group).values()]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_the_class_of_an_option_leads_back_to_it(group: str, option: str) -> None:
    choices = {f"model/{name}": chosen for name, chosen in (BASE | ADDED | {group: option}).items()}
    assert choices_of_config(make_config(0, 200, 20, 3e-3, **{group: option})) == choices


@pytest.mark.parametrize(("group", "option"), [(group, option) for group, option in OPTIONS if group in ADDED_GROUPS])
def test_a_run_id_names_what_it_adds(group: str, option: str, compose_config) -> None:
    label = run_label(compose_config(f"model/{group}={option}", "model/attn=window", "seed=3"))
    choices, seed = choices_of_name(f"{label}-0123456789")
    expected = {"model/attn": "window", f"model/{group}": option}
    if group == "attn":
        expected = {"model/attn": "window"}
    assert choices == {f"model/{name}": chosen for name, chosen in (LLAMA | ADDED).items()} | expected
    assert seed == 3


def test_an_id_with_a_class_of_an_unknown_group_is_a_variant() -> None:
    name = "prenorm-rope-swiglu-tiedhead-scaled-mine-s12-0123456789"
    assert choices_of_name(name) == ({"variant": name}, 0)


def test_a_run_id_gives_choices_and_seed() -> None:
    choices, seed = choices_of_name("prenorm-rope-swiglu-tiedhead-scaled-s12-0123456789")
    assert choices["model/norm"] == "pre"
    assert choices["model/pos"] == "rope"
    assert seed == 12


@pytest.mark.parametrize(
    ("name", "variant", "seed"),
    [("my run_seed2", "my run", 2), ("sin-s1", "sin", 1), ("sin", "sin", 0), ("layers-8", "layers-8", 0)],
)
def test_any_other_name_is_a_variant_and_perhaps_a_seed(name: str, variant: str, seed: int) -> None:
    assert choices_of_name(name) == ({"variant": variant}, seed)
