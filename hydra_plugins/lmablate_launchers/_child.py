"""Run the one job that arrives on standard input. The local_parallel launcher starts this file as a process.

It is started by its path, and receives the module search path of its parent with the job, so it can import everything
that its parent can.
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
    threading.Thread(target=_stop_when_the_parent_dies, daemon=True).start()

    import cloudpickle

    try:
        outcome = ("success", cloudpickle.loads(payload)(job_id))
    except Exception:
        traceback.print_exc()
        outcome = ("error", traceback.format_exc())
    with open(result_file, "wb") as file:
        cloudpickle.dump(outcome, file)
    return 0 if outcome[0] == "success" else 1


def _stop_when_the_parent_dies() -> None:
    # The parent sends nothing more, so this read returns only when its end of the pipe is closed: when it has died.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_main())
