"""What ends a child of the prefork pool."""

import subprocess
import sys

PARENT = """
import os, signal, sys
from billiard import get_context
from celery import Celery
from celery.concurrency.prefork import process_initializer
from routemq_tasks.child_signals import EndableWorker

is_up, says_up = os.pipe()
if os.fork() == 0:
    queues = [get_context("fork").SimpleQueue() for _ in range(2)]
    EndableWorker(*queues, initializer=process_initializer, initargs=(Celery(), "host")).after_fork()
    print([name for name in ("cffi.cparser", "pycparser") if name in sys.modules], flush=True)
    os.write(says_up, b".")
    signal.alarm(60)
    signal.pause()
os.read(is_up, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_ends_with_its_parent_and_loads_nothing_for_that() -> None:
    # Its output ends when the child has, which has it too.
    ended = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, encoding="utf-8", check=False)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
