"""A run's folder: its identity, its files, its state.

run          the folder: run.json, status.json, the lock
metrics      metrics.jsonl, written and read
states       the state of every run, from its files, this machine's processes and SLURM
slurm        questions to SLURM about jobs
job_list     jobs.jsonl, the jobs that a launcher started for a sweep
stop_signal  SIGTERM, Ctrl-C and SLURM's signals: stop at the end of a step
"""
