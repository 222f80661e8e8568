"""Runs the one job that arrives on standard input; the local_parallel launcher starts this file.

It is started by its path and gets its search path with the job, so it finds whatever its parent could import.
"""

import os
import pickle
import signal
import sys
import threading
import traceback


def _main() -> int:
    search_path, payload, job_id, result_file = pickle.load(sys.stdin.buffer)
    sys.path[:] = search_path
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    import cloudpickle

    try:
        outcome = ("success", cloudpickle.loads(payload)(job_id))
    except Exception:
        traceback.print_exc()
        outcome = ("error", traceback.format_exc())
    with open(result_file, "wb") as file:
        cloudpickle.dump(outcome, file)
    return 0 if outcome[0] == "success" else 1


def _end_with_the_parent() -> None:
    # Nothing more is ever sent: a read returns when the parent has died and its end of the pipe is closed.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_main())
