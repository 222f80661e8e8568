"""Turn a command line into a checked config, and a config into objects.

console       what all commands share: output, exit codes
command_line  read flags and overrides by Hydra's grammar
suggest       what a misspelled key, group, option or word may have meant
help          the --help of train, with the groups and the config
schema        the keys, their types and defaults; which of them make up a run's identity
project       the user's own project: its yaml files, and whose code its user trusts
folders       the folders that a config names
arguments     check what a config passes to a class
tuned         each arm's own learning rate and the like, from a file that a pilot wrote
build         check a config, resolve `match`, and build the model and the other parts that the config names
identity      a run's identity, label and recorded facts
trust         the classes that a config may name
sources       a fingerprint of the code of one's own classes
credentials   keep keys and passwords out of configs
stacks        the options that follow from a stack: each choice left out, or taken alone
designs       the options that follow from a factorial design: its arms, all of them or a fraction
compose       compose a config from overrides, outside of hydra.main
hydra_entry   run a command under Hydra: one sentence per mistake, fixed exit codes
hydra_patches everything that we change in Hydra, each change with its reason
key_value     KEY=VALUE arguments of the commands that do not need Hydra

This module imports nothing, so commands that only read tables can use `schema` without importing torch or Hydra.
"""
