"""A referee for anyone's training script: run commands with paired seeds, and judge what they print.

In the order in which a command line becomes a verdict:

options    the keys, and what is checked before anything is written
arms       the commands, with a place for the seed
snapshot   the code and the machine that a result depends on, and a copy of the code
metrics    where a run's number is found: its log, JSON, CSV, wandb, TensorBoard
ledger     the folder of the runs, and the list of what happened; nothing is run twice
supervise  one command in a process of its own: its folder, log, time limit and end
workers    several runs at a time, on this machine or as SLURM jobs
trial      the rule: seeds added by planned looks until each comparison is decided
report     the table, the sentences, JSON and exit code
compare    two arms or more
noise      how much one command varies, and what that lets one see
foreign    results that exist already
sessions   many proposals against a baseline that moves

This module imports nothing, so a supervisor starts quickly. None of them imports torch or Hydra.
"""
