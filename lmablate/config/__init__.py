"""From a command line to a checked config, and from a config to objects.

schema        the keys, their types and defaults; which of them make up a run's identity
build         checks, resolves `match`, and builds the model and the other parts that the config names
identity      a run's identity, label and recorded facts
trust         which classes a config may name
credentials   keys and passwords never enter a config
compose       compose a config from overrides, outside of hydra.main
hydra_entry   how a command runs under Hydra: one sentence per mistake, exit codes
hydra_patches everything that we change in Hydra, each change with its reason
key_value     KEY=VALUE arguments of the commands that need no Hydra

This module imports nothing, so that commands that only read tables can use `schema` without torch or Hydra.
"""
