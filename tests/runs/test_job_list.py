"""jobs.jsonl: read back as it was written, over all sweeps of a runs_dir."""

from dataclasses import replace

from lmablate.runs.job_list import JobEntry, append_jobs, read_jobs

JOB = JobEntry(0, "12_0", "SlurmLauncher", ["seed=0", "name=é"], "/runs/0", "/runs/0.log", "2026-11-24T10:00:00+00:00")


def test_jobs_are_read_back_as_they_were_written(tmp_path):
    sweeps = [tmp_path / ".jobs" / "2026-11-24" / time for time in ("10-00-00", "11-00-00")]
    written = [replace(JOB, number=number) for number in range(3)]
    for sweep in sweeps:
        sweep.mkdir(parents=True)
    append_jobs(sweeps[0], written[:1])
    append_jobs(sweeps[0], written[1:2])
    append_jobs(sweeps[1], written[2:])
    assert sorted(read_jobs(tmp_path), key=lambda job: job.number) == written


def test_without_a_sweep_there_are_no_jobs(tmp_path):
    assert list(read_jobs(tmp_path)) == []
