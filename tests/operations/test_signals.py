"""Signals reach the bot whichever of its threads the system gives them to."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE
from tests.support.running_bot import ROOT

# While another thread is given the signal, the main thread, in which alone Python handles it, is not woken up.
SCRIPT = """
import signal, sys, threading, time
from bot.operations.lifecycle import Signals

signals = Signals()

def taken():
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "wait":
        time.sleep(0.01)
    time.sleep(0.2)  # it sleeps on its queue by then; were it not so, the test would show less and not fail
    while True:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        time.sleep(0.01)

threading.Thread(target=taken, daemon=True).start()
signals.wait(lambda: None)
print("ended")
"""


WHILE_IT_STARTS = """
import os, signal
from bot.operations.lifecycle import Signals

signals = Signals()
for number in (signal.SIGHUP, signal.SIGTERM):
    os.kill(os.getpid(), number)
    while not signals.end_within(0) and number == signal.SIGTERM:
        pass
signals.wait(lambda: print("reads again"))
"""


def test_a_hangup_that_comes_while_the_bot_starts_is_not_lost() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WHILE_IT_STARTS], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.stdout, ended.returncode) == ("reads again\n", 0), ended.stderr


def test_a_signal_that_another_thread_was_given_ends_the_bot() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.stdout, ended.returncode) == ("ended\n", 0), ended.stderr
