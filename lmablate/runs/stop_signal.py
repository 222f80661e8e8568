"""Stop a run at the end of a step, when a scheduler, a `kill` or Ctrl-C asks for it.

    with StopFlag() as stop:
        for step in ...:
            train_step()
            if stop.requested:
                save_checkpoint()
                stop.exit_after_signal()        # never returns

A checkpoint cannot be written from inside a signal handler, which may interrupt a half-made update, so the handler
only records the signal. `exit_after_signal` then calls the handlers that were installed before. So this also works
under submitit, which requeues the SLURM job in its own SIGUSR2 handler.
"""

import contextlib
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import NoReturn, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)

# Seconds that may pass between the signals to two processes of a run: a scheduler signals them one after another.
PEER_DELAY_S = 5.0


class Preempted(SystemExit):
    """The run stopped on request, and its checkpoint is saved. The same command resumes it.

    This is a SystemExit, so that no `except Exception` takes it for a failure. A process that does not catch it ends
    with the shell's code for its signal (130 for Ctrl-C, 143 for SIGTERM) and without a traceback.

    Attributes:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.signum).name}"


class StopFlag:
    """Records requests to stop that arrive during a `with` block. A second Ctrl-C raises KeyboardInterrupt at once.

    A signal that is ignored stays ignored (`nohup`). Outside the main thread, where Python allows no handlers, nothing
    is recorded. Leaving the block restores the earlier handlers.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._previous: dict[int, signal._HANDLER] = {}

    @property
    def requested(self) -> bool:
        """True if a signal has arrived."""
        return bool(self._received)

    @property
    def reason(self) -> str | None:
        """The name of the first signal, such as "SIGTERM"; None if none has arrived."""
        return signal.Signals(self._received[0]).name if self._received else None

    def exit_after_signal(self) -> NoReturn:
        """Pass the received signals to the handlers installed before, in order of arrival, then raise Preempted.

        Call this when the checkpoint is on disk, because an earlier handler may end the process. If this process has
        not received a signal yet, because another process of the run was signalled first, wait for it for up to
        PEER_DELAY_S; if none arrives, stop as if by SIGTERM.

        Raises:
            Preempted: unless an earlier handler ends the process in another way.
        """
        deadline = time.monotonic() + PEER_DELAY_S
        while not self._received and time.monotonic() < deadline:
            time.sleep(0.05)
        previous = self._previous
        self._restore()
        for signum in self._received:
            handler = previous.get(signum)
            if callable(handler) and handler is not signal.default_int_handler:
                handler(signum, None)
        raise Preempted(self._received[0] if self._received else signal.SIGTERM)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    self._previous[signum] = signal.signal(signum, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _record(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and signal.SIGINT in self._received:
            raise KeyboardInterrupt
        self._received.append(signum)

    def _restore(self) -> None:
        for signum, handler in self._previous.items():
            # The handler is None if C code installed it; Python cannot restore it then.
            with contextlib.suppress(TypeError):
                signal.signal(signum, handler)
        self._previous = {}
