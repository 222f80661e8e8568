"""From a folder of runs to tables, figures and a report. Nothing here imports torch or Hydra.

exports   from runs to tidy tables, and back: metrics.jsonl, wandb's files, or CSV files of wandb's page
plots     the figures of an experiment
report    verdicts on claims, and a page that shows them beside the figures
frames    typed helpers for pandas tables
outcomes  final losses as they count, those of diverged runs too
run_table the table of runs on the terminal
notebook  a notebook about an experiment
design_effects the effects of parts, crossed or one at a time, as a table and in words
descriptions what an experiment is about, from its yaml
live_table the same while they train, with loss, speed and time left
terminal  a console that prints text as it is
"""
