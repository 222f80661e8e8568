"""From a folder of runs to tables, figures and a report. Nothing here imports torch or Hydra.

exports  runs -> tidy tables, from metrics.jsonl, wandb or CSV files, and back
plots    the figures of an experiment
report   verdicts on claims, and a page that shows them beside the figures
"""
