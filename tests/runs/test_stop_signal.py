"""Requests to stop: recorded, then passed on to the handlers that were there before."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from lmablate.runs import stop_signal
from lmablate.runs.stop_signal import STOP_SIGNALS, Preempted, StopFlag


def stop_after(*signals):
    with StopFlag() as stop:
        for signum in signals:
            os.kill(os.getpid(), signum)
        stop.exit_after_signal()


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_a_signal_sets_the_flag_and_nothing_else(signum):
    with StopFlag() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signum)
        assert stop.requested
        assert stop.reason == signal.Signals(signum).name


@pytest.mark.parametrize("signum", STOP_SIGNALS)
def test_handlers_are_restored(signum):
    before = signal.getsignal(signum)
    with StopFlag():
        assert signal.getsignal(signum) != before
    assert signal.getsignal(signum) == before


def test_earlier_handlers_get_their_signals_in_order_of_arrival():
    received = []
    earlier = {s: signal.signal(s, lambda n, _: received.append(n)) for s in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        with pytest.raises(Preempted) as stopped:
            stop_after(signal.SIGTERM, signal.SIGUSR2)
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)
    assert received == [signal.SIGTERM, signal.SIGUSR2]
    assert stopped.value.code == 128 + signal.SIGTERM


def test_what_an_earlier_handler_raises_passes_through():
    def requeue(signum, frame):
        raise InterruptedError("requeued")

    earlier = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(InterruptedError, match="requeued"):
            stop_after(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, earlier)


def test_a_signal_that_a_peer_had_first_is_waited_for():
    received = []
    earlier = signal.signal(signal.SIGUSR2, lambda n, _: received.append(n))
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR2)).start()
    try:
        with pytest.raises(Preempted):
            stop_after()
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert received == [signal.SIGUSR2]


def test_without_a_signal_of_its_own_a_process_stops_as_if_by_sigterm(monkeypatch):
    monkeypatch.setattr(stop_signal, "PEER_DELAY_S", 0.1)
    with pytest.raises(Preempted) as stopped:
        stop_after()
    assert stopped.value.code == 143


def test_a_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt):
        stop_after(signal.SIGINT, signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopFlag() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_outside_the_main_thread_nothing_is_installed():
    errors = []

    def use():
        try:
            with StopFlag() as stop:
                assert not stop.requested
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert errors == []


LOOP = textwrap.dedent("""
    import time
    from lmablate.runs.stop_signal import StopFlag
    with StopFlag() as stop:
        print("ready", flush=True)
        while not stop.requested:
            time.sleep(0.01)
        print("saved", flush=True)
        stop.exit_after_signal()
""")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_saves_and_ends_with_the_shells_code(signum, code):
    child = subprocess.Popen([sys.executable, "-c", LOOP], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signum)
    out, err = child.communicate(timeout=20)
    assert (out, err, child.returncode) == ("saved\n", "", code)
