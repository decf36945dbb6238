"""A thread that waits is woken by another one, and gets no signals."""

from __future__ import annotations

import signal
import threading

from runnel.background.waiters import ThreadWaiter, start_thread, waiter


def test_a_wait_ends_when_another_thread_wakes_it() -> None:
    waiting = waiter()
    assert isinstance(waiting, ThreadWaiter)
    assert not waiting.wait(0.0)
    threading.Thread(target=waiting.wake).start()
    assert waiting.wait()
    waiting.close()


def test_a_thread_is_a_daemon_and_leaves_signals_to_the_main_thread() -> None:
    seen: list[object] = []
    done = threading.Event()

    def work() -> None:
        thread = threading.current_thread()
        seen.extend((thread.daemon, thread.name))
        seen.append(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        done.set()

    start_thread(work, "named")
    assert done.wait(10)
    assert seen == [True, "named", True]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
