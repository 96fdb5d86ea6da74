"""Runs a program, and kills it and its descendants when it has ended or when the process that started this has ended, however.

A program of its own, run as ``python -I -S supervise.py [--sandbox] PROGRAM ARGUMENT…``: nothing but the standard library is there.
What the program's children start is adopted here, wherever it puts itself, so none of it is lost sight of. SIGUSR1 ends all of it now;
other signals that ask are left to the program. Linux only.
"""

import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38
_NOT_STARTED = 127
_MIB = 1 << 20
#: Limits of a sandboxed program, besides those of its own interpreter.
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_AS: 2_048 * _MIB,
    resource.RLIMIT_MEMLOCK: 0,
}
#: System calls that an interpreter does not need: the network, other processes, the system, and changing files.
_REFUSED = """
    socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
    fork vfork ptrace process_vm_readv process_vm_writev process_madvise pidfd_open pidfd_getfd pidfd_send_signal kill tkill
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key seccomp
    mount umount2 pivot_root chroot unshare setns move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl syslog personality
    clock_settime clock_adjtime settimeofday adjtimex sethostname setdomainname iopl ioperm
    name_to_handle_at open_by_handle_at fanotify_init inotify_init inotify_init1 execveat memfd_create memfd_secret
    unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat mknod mknodat creat
    chmod fchmod fchmodat chown fchown lchown fchownat truncate ftruncate setxattr lsetxattr fsetxattr utimensat
    shmget shmat msgget semget mq_open
""".split()
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM

_libc = ctypes.CDLL(None, use_errno=True)


def supervise(command: list[str], *, sandbox: bool) -> int:
    """Run the command to its end; returns its exit status, as shells do."""
    parent = os.getppid()
    _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    ordered: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: ordered.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        life = os.pidfd_open(parent)
    except ProcessLookupError:
        return _NOT_STARTED
    if os.getppid() != parent:
        return _NOT_STARTED
    child = os.fork()
    if child == 0:
        _become(command, sandbox=sandbox)
    # The pipes are the program's: they end with it.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    status: int | None = None
    while status is None and not ordered:
        ready, _, _ = select.select([life, woken], [], [])
        if life in ready:
            break
        os.read(woken, 4_096)
        status = _reaped(child)
    _end_all()
    return _NOT_STARTED if status is None else os.waitstatus_to_exitcode(status) % 256


def _become(command: list[str], *, sandbox: bool) -> None:
    """In the child: become the program, which is killed if this supervisor is."""
    try:
        supervisor = os.getppid()
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(_NOT_STARTED)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if sandbox:
            _confine()
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_STARTED)


def _confine() -> None:
    """Drop what can be dropped: privileges to come, resources, and, where the system has libseccomp, calls of no use."""
    _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for which, most in _LIMITS.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (most, most))
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    for name in _REFUSED:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else this machine has no such call
            library.seccomp_rule_add(rules, ctypes.c_uint32(_REFUSE), number, 0)
    library.seccomp_load(rules)


def _reaped(child: int) -> int | None:
    """Reap ended processes, adopted ones too. Returns the program's status if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                status = ended
    return status


def _end_all() -> None:
    """Kill all descendants until there are none: each round may find processes that were started since the last one."""
    for _ in range(200):
        found = list(_descendants(os.getpid()))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        _reaped(0)


def _descendants(of: int) -> Iterator[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - each import more is waited for at each start
        if name.isdigit():
            # A program's name, in parentheses, may contain anything.
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - likewise
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state != b"Z" or int(parent) == of:
                    parents[int(name)] = int(parent)
    for pid in parents:
        above, steps = pid, 0
        while above in parents and steps < 1_000:
            above, steps = parents[above], steps + 1
            if above == of:
                yield pid
                break


if __name__ == "__main__":
    arguments = sys.argv[1:]
    is_sandbox = arguments[:1] == ["--sandbox"]
    sys.exit(supervise(arguments[1:] if is_sandbox else arguments, sandbox=is_sandbox))
