"""Everything that we change in Hydra, and every use of its internals, in one place.

All of it was written for hydra-core 1.3.8 (pyproject.toml allows 1.3.x). Each function says what it changes, why, what
breaks without it, and which test would notice; tests/config/test_hydra_patches.py checks that these tests exist.
"""

import functools
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf


def set_command_line(arguments: Sequence[str]) -> None:
    """Hand `arguments` to Hydra: all flags first, as `CommandLine.for_hydra` orders them.

    Why: Hydra's argparse wants all overrides together, so `model/pos=rope -m seed=0,1` fails with "unrecognized
    arguments"; and its grammar takes an option or a name such as `true` or `2024_11_25` for a boolean or a number,
    unless it is quoted.

    Without it: a flag between overrides is an error (tests/config/test_hydra_patches.py,
    test_the_multirun_flag_may_stand_anywhere).
    """
    sys.argv[1:] = arguments


def raise_errors() -> None:
    """Let Hydra's exceptions reach us.

    Why: unless HYDRA_FULL_ERROR is set, `hydra.main` prints its own shortened traceback and exits.

    Without it: a mistake gets Hydra's text and exit code 1 instead of one sentence and 2
    (tests/config/test_hydra_patches.py, test_a_mistake_is_one_sentence_and_exit_code_2).
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"


def replace_return_value(result_or_raise: Callable[[JobReturn], Any]) -> None:
    """Replace the getter of `JobReturn.return_value`, which returns a job's result or raises its exception.

    Why: Hydra's getter writes "Error executing job with overrides: ..." to stderr before it raises, which repeats
    our own sentence, and there is no hook to change that.

    Without it: every failed run is reported twice, and its exit code is always 2
    (tests/config/test_hydra_patches.py, test_a_failed_run_is_reported_once).

    Args:
        result_or_raise: the new getter.
    """
    JobReturn.return_value = property(result_or_raise, JobReturn.return_value.fset)  # pyright: ignore[reportAttributeAccessIssue] (replacing it is the purpose)


def check_every_config(check: Callable[[DictConfig], None]) -> None:
    """Call `check` with every config as soon as Hydra has composed it, before Hydra instantiates anything in it.

    Why: callbacks, launcher, sweeper and log handlers are built from the config, and folders are made, before our task
    is called. There is no hook between composing and building, and Hydra itself refuses only the callables on its
    blocklist.

    Without it: a config from somebody else can run any callable (tests/config/test_trust.py,
    test_the_command_line_runs_nothing_foreign).

    Args:
        check: called with the config, its `hydra` node included; it may raise, and may change values.
    """
    load = ConfigLoaderImpl.load_configuration

    @functools.wraps(load)
    def load_and_check(*arguments: Any, **options: Any) -> DictConfig:
        cfg = load(*arguments, **options)
        check(cfg)
        return cfg

    ConfigLoaderImpl.load_configuration = load_and_check


def check_search_paths(check: Callable[[str], None]) -> None:
    """Call `check` with every folder or package in which a config lets Hydra search for other configs.

    Why: Hydra imports a package that `hydra.searchpath` names, and with it runs its code.

    Without it: a project that one has merely downloaded runs code of its own (tests/config/test_trust.py,
    test_a_project_that_is_merely_there_runs_nothing).

    Args:
        check: called with each entry of the primary config's hydra.searchpath; it may raise.
    """
    process = ConfigLoaderImpl._process_config_searchpath
    if hasattr(process, "__wrapped__"):
        return

    @functools.wraps(process)
    def check_and_process(self: ConfigLoaderImpl, config_name: str | None, overrides: Any, repo: Any) -> None:
        loaded = repo.load_config(config_path=config_name) if config_name else None
        entries = OmegaConf.select(loaded.config, "hydra.searchpath") if loaded else None
        for entry in entries if isinstance(entries, Sequence) and not isinstance(entries, str) else ():
            check(str(entry))
        process(self, config_name, overrides, repo)

    ConfigLoaderImpl._process_config_searchpath = check_and_process  # pyright: ignore[reportAttributeAccessIssue] (as above)


def skip_unused_maps() -> None:
    """Let Hydra gather the choices for interpolated defaults only where a defaults list has one.

    Why: Hydra builds a config of all choices for every file that it composes, in case that a default such as
    `db: ${engine}` refers to one. With thirty groups this takes a quarter of the time of composing.

    Without it: all is slower, and nothing else changes (tests/config/test_hydra_patches.py,
    test_choices_are_gathered_only_for_an_interpolated_default).
    """
    gather = defaults_list._create_interpolation_map
    if hasattr(gather, "__wrapped__"):
        return

    @functools.wraps(gather)
    def gather_if_used(overrides: Any, defaults: Sequence[Any], self_added: bool) -> DictConfig | None:
        used = any(default.is_interpolation() for default in defaults)
        return gather(overrides, [*defaults], self_added) if used else None

    defaults_list._create_interpolation_map = gather_if_used  # pyright: ignore[reportAttributeAccessIssue] (as above)


def clear_text_resolvers() -> None:
    """Remove OmegaConf's resolvers that turn text into nodes, for the whole process.

    Why: `oc.create` and `oc.decode` could produce a `_target_` out of a string after the check has passed.

    Without it: Hydra builds a launcher's argument `${oc.create:{_target_:...}}` (tests/config/test_trust.py,
    test_text_in_the_hydra_section_does_not_become_a_target).
    """
    for resolver in ("oc.decode", "oc.create"):
        OmegaConf.clear_resolver(resolver)


def split_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, as Hydra's own sweeper splits them.

    Why: a plan or an audit must see exactly the jobs that `train -m` would launch, and the grammar of
    `choice(...)`, `range(...)` and `glob(...)` is Hydra's. `BasicSweeper.split_arguments` is internal. Call it inside
    `compose.config_folder`, because `glob(...)` lists the options in conf/.

    Without it: plan, audit and status count other jobs than those that run (tests/sweep/test_jobs.py,
    test_the_plan_is_what_hydra_launches).
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    batches = BasicSweeper.split_arguments(parser.parse_overrides([*overrides]), None)
    return [list(row) for row in itertools.chain.from_iterable(batches)]
