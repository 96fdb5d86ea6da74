"""The end of a process that has done everything, though something that it asked may never answer."""

import os
import threading


def leave_within(seconds: float) -> None:
    """End this process with status 0 after so many seconds, unless it has ended by then. Returns at once.

    Python waits without end for threads at its exit, and so do libraries for their servers.
    """
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
