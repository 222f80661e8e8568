"""Compose configs from overrides outside `hydra.main`, exactly as `python -m lmablate.train` does."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lmablate.config.command_line import CommandLine, parse_command_line
from lmablate.config.designs import register_designs
from lmablate.config.folders import expand_folders
from lmablate.config.hydra_patches import check_search_paths, skip_unused_maps
from lmablate.config.project import find_project, searched_by_us, trusted_packages, use_config_dir
from lmablate.config.schema import CONF, Config, strict_keys
from lmablate.config.stacks import register_stacks
from lmablate.config.suggest import describe_python_error
from lmablate.config.trust import refuse_foreign_package
from lmablate.errors import UserError

NO_ARGUMENTS = CommandLine([])
# Values of one key of a sweep.
MOST_VALUES = 10_000


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml uses in its defaults list.

    OmegaConf would turn any value of a text key into text, and any number of a boolean key into true, without a word:
    `name: 2024_11_25` in a yaml is 20241125. Such keys take any value here, and `check_config` refuses the wrong ones.
    """
    schema = OmegaConf.structured(Config)
    for key in strict_keys():
        path, _, last = key.rpartition(".")
        node = OmegaConf.select(schema, path) if path else schema
        node._content[last] = AnyNode(node._get_node(last)._value(), key=last, parent=node)
    ConfigStore.instance().store(name="schema", node=schema)
    check_search_paths(refuse_foreign_package)
    skip_unused_maps()


@contextmanager
def config_folder(line: CommandLine = NO_ARGUMENTS) -> Iterator[None]:
    """Let Hydra find conf/ during the block; `compose_config` and `compose_job` need it.

    Args:
        line: the command line, whose --config-dir and --config-path count.
    """
    register_schema()
    if line is not NO_ARGUMENTS:
        use_config_dir(line.config_dir)
    register_stacks()
    register_designs()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()  # Hydra refuses to be initialised twice, as in a task that Hydra itself has started
    try:
        with searched_by_us(), initialize_config_dir(line.config_path or str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose the config of overrides, without its `hydra` node.

    Raises:
        UserError: if an override cannot be read.
        HydraException: if the overrides do not compose.
    """
    line = parse_command_line(overrides)
    cfg = _composed(line.config_name, line.overrides)
    expand_folders(cfg)
    return cfg


def _composed(config_name: str, overrides: Sequence[str], **options: Any) -> DictConfig:
    """Return what Hydra composes; for some mistakes in a yaml file it raises Python's errors, and here its own."""
    try:
        return compose(config_name, overrides=list(overrides), **options)
    except (ValueError, TypeError, AttributeError, LookupError, OSError, AssertionError, yaml.YAMLError) as error:
        if isinstance(error, UserError | OmegaConfBaseException | HydraException):
            raise
        raise ConfigCompositionException(describe_python_error(error)) from error


def compose_job(
    overrides: Sequence[str], config_name: str = NO_ARGUMENTS.config_name
) -> tuple[DictConfig, DictConfig, dict[str, str]]:
    """Compose the config of overrides that are quoted already, and say what was chosen.

    Returns:
        The config, its `hydra` node, and the chosen option of each group.

    Raises:
        HydraException: if the overrides do not compose.
    """
    cfg = _composed(config_name, overrides, return_hydra_config=True)
    expand_folders(cfg)
    hydra_cfg = cfg.hydra
    with open_dict(cfg):
        cfg.pop("hydra")
    return cfg, hydra_cfg, group_choices(hydra_cfg)


def plain_sweeps(line: CommandLine) -> CommandLine:
    """Write out the sweeps over options of groups: `model/tying=glob(*)` -> `model/tying="false","true"`.

    Hydra would lose the quotes of an option that looks like a boolean or a number. Call it inside `config_folder`.

    Raises:
        UserError: if options are sweeps themselves, such as two experiments, because Hydra would run one job of each.
    """
    overrides = [_plain_sweep(override) for override in line.overrides]
    line = replace(line, overrides=overrides)
    _refuse_swept_sweeps(line)
    return line


def plain_parameters(hydra_cfg: DictConfig) -> None:
    """Do the same to the sweep in a composed config's `hydra` node, in place.

    Raises:
        UserError: if it sweeps over experiments, whose own sweeps Hydra would lose.
    """
    params = hydra_cfg.sweeper.get("params") or {}
    if "experiment" in params:
        raise UserError(f"hydra.sweeper.params has experiment={params['experiment']}: give each its own command.")
    for key in list(params):
        params[key] = _plain_override(f"{key}={params[key]}").partition("=")[2]


def _plain_override(text: str) -> str:
    """Return an override as Hydra's sweeper reads it rightly; call it inside `config_folder`."""
    return _plain_sweep(parse_command_line([text]).overrides[0])


def _plain_sweep(text: str) -> str:
    """Return the override with its sweep over options written out, if it is one.

    Raises:
        UserError: if it sweeps over nothing, or over more than anybody trains.
    """
    loader = GlobalHydra.instance().config_loader()
    (override,) = OverridesParser.create(config_loader=loader).parse_overrides([text])
    options = _options_of(override.key_or_group)
    if override.is_interval_sweep() or (options and override.is_range_sweep()):
        raise UserError(f"{text} is not allowed: a sweep is over {'options of the group' if options else 'values'}.")
    if not override.is_sweep_override():
        return text
    try:
        values = list(itertools.islice(override.sweep_iterator(), MOST_VALUES + 1))
    except ValueError as error:  # a range whose step is 0
        raise UserError(f"{text} cannot be read ({error}).") from None
    if not values:
        matched = f"matches none of {', '.join(options)}" if options else "is a sweep over nothing"
        raise UserError(f"{text} {matched}: no run would be trained.")
    if len(values) > MOST_VALUES:
        raise UserError(f"{text} has too many values: a sweep may have at most {MOST_VALUES}.")
    if not override.is_choice_sweep() or not options:
        return text
    return f"{override.get_key_element()}=" + ",".join(_as_typed_option(_option_name(value)) for value in values)


def _as_typed_option(option: str) -> str:
    """Return an option of a group as it is typed: in quotes, if Hydra would not take it for text."""
    reads_as_text = option and OverridesParser.create().parse_override(f"group={option}").value() == option
    return option if reads_as_text else f'"{option}"'


def _option_name(option: Any) -> str:
    """Return an option of a parsed sweep as text."""
    if isinstance(option, QuotedString):
        return option.text
    return str(option).lower() if isinstance(option, bool) or option is None else str(option)


def _refuse_swept_sweeps(line: CommandLine) -> None:
    overrides = line.parsed()
    single = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
    swept = [override for override in overrides if override.is_choice_sweep() and _options_of(override.key_or_group)]
    for override in swept:
        options = [_option_name(option) for option in override.sweep_iterator()]
        if not any(_may_sweep(f"{override.key_or_group}/{option}") for option in options):
            continue
        _, base, _ = compose_job(single, line.config_name)
        for option in options:
            _, hydra_cfg, _ = compose_job([*single, f'{override.get_key_element()}="{option}"'], line.config_name)
            if hydra_cfg.sweeper.get("params") != base.sweeper.get("params"):
                raise UserError(
                    f"{override.input_line} is a sweep over sweeps, of which one run each would be trained: "
                    f"give each its own command, as in {override.key_or_group}={option}."
                )


def _may_sweep(path: str) -> bool:
    """Return whether a config can change the sweep: if it has a section for Hydra, or takes in other configs."""
    sources = [source for source in GlobalHydra.instance().config_loader().get_sources() if source.is_config(path)]
    return any({"hydra", "defaults"} & set(source.load_config(path).config) for source in sources)


def _options_of(group: str, kind: ObjectType = ObjectType.CONFIG) -> list[str]:
    """Return the configs in a group, or the groups in it.

    Hydra's own `get_group_options` copies all stored configs first: a second in all for a help text.
    """
    loader: Any = GlobalHydra.instance().config_loader()
    return loader.repository.get_group_options(group, kind)


def group_options() -> dict[str, list[str]]:
    """Return the options of every group that a user may choose from; call it inside `config_folder`."""
    options: dict[str, list[str]] = {}
    waiting = [*_options_of("", ObjectType.GROUP), "hydra/launcher"]
    for group in waiting:
        if group != "hydra":
            waiting += [f"{group}/{inner}" for inner in _options_of(group, ObjectType.GROUP)]
            options[group] = _options_of(group)
    return {group: names for group, names in sorted(options.items()) if names}


def group_choices(hydra_cfg: Any = None) -> dict[str, str]:
    """Return the chosen option of each config group, such as {"model/pos": "rope"}, without Hydra's own groups.

    Args:
        hydra_cfg: the `hydra` node of a composed config; by default that of the running Hydra job. Outside a job the
            result is then empty.
    """
    if hydra_cfg is None:
        if not HydraConfig.initialized():
            return {}
        hydra_cfg = HydraConfig.get()
    chosen = hydra_cfg.runtime.choices
    return {key: str(value) for key, value in chosen.items() if not key.startswith("hydra/") and value is not None}


def job_arguments() -> list[str]:
    """Return the arguments of `lmablate.train` by which the running Hydra job alone is trained; empty outside a job.

    In a project they are to be typed in its folder.
    """
    if not HydraConfig.initialized():
        return []
    hydra_cfg = HydraConfig.get()
    folders = [source.path for source in hydra_cfg.runtime.config_sources if source.schema == "file"]
    project = find_project()
    own = [folder for folder in folders if not (project and Path(folder) == project.conf) and Path(folder) != CONF]
    main = [source.path for source in hydra_cfg.runtime.config_sources if source.provider == "main"]
    flags = [word for package in trusted_packages() for word in ("--trust", package)]
    for folder in own:
        flags += ["--config-path" if folder in main else "--config-dir", folder]
    if hydra_cfg.job.config_name != NO_ARGUMENTS.config_name:
        flags += ["--config-name", str(hydra_cfg.job.config_name)]
    return [*flags, *map(str, hydra_cfg.overrides.task)]
