"""A run's folder: its identity, its files, its state.

run          the folder: run.json, status.json, the lock
metrics      metrics.jsonl, written and read
states       the state of every run, from its files, this machine's processes and SLURM
slurm        the state of jobs, as SLURM's own commands report it
job_list     jobs.jsonl, the jobs that a launcher started for a sweep
disposal     runs that are of no more use, hidden or deleted
stop_signal  SIGTERM, Ctrl-C and SLURM's signals: they stop a run at the end of a step
"""
