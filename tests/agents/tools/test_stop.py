"""The token that stops a tool."""

import threading

from agents.tools import CancelToken


def test_the_first_reason_stands() -> None:
    stop = CancelToken()
    assert not stop.is_set()
    assert stop.reason == ""
    stop.set("Stopped by Mei.")
    stop.set("Stopped by somebody else.")
    assert stop.is_set()
    assert stop.reason == "Stopped by Mei."


def test_callbacks_run_once_in_the_callers_thread_and_one_that_fails_does_not_hinder_the_others() -> None:
    stop, called = CancelToken(), []

    def fail() -> None:
        called.append("failed")
        raise RuntimeError

    stop.add_callback(fail)
    stop.add_callback(lambda: called.append(threading.current_thread().name))
    stop.set("Stopped.")
    stop.set("Stopped again.")
    assert called == ["failed", threading.current_thread().name]


def test_a_callback_after_the_stop_runs_at_once() -> None:
    stop, called = CancelToken(), []
    stop.set("Stopped.")
    stop.add_callback(lambda: called.append(stop.reason))
    assert called == ["Stopped."]


def test_a_forgotten_callback_does_not_run_and_the_same_callback_may_be_there_twice() -> None:
    stop, called = CancelToken(), []

    def callback() -> None:
        called.append(1)

    forget = stop.add_callback(callback)
    stop.add_callback(callback)
    forget()
    forget()
    stop.set("Stopped.")
    assert called == [1]


def test_once_forgotten_a_callback_is_not_running_any_more() -> None:
    stop, inside, go_on, order = CancelToken(), threading.Event(), threading.Event(), []

    def slow() -> None:
        inside.set()
        go_on.wait(5)
        order.append("callback")

    forget = stop.add_callback(slow)
    setting = threading.Thread(target=stop.set, args=["Stopped."])
    setting.start()
    assert inside.wait(5)

    def forget_it() -> None:
        forget()
        order.append("forgotten")

    forgetting = threading.Thread(target=forget_it)
    forgetting.start()
    go_on.set()
    setting.join(5)
    forgetting.join(5)
    assert order == ["callback", "forgotten"]


def test_waiting_ends_with_the_stop() -> None:
    stop = CancelToken()
    assert not stop.wait(0)
    threading.Thread(target=stop.set, args=["Stopped."]).start()
    assert stop.wait(5)
