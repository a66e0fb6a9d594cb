"""Processes and ports: start, stop, and what /proc tells about them. Standard library only."""

import base64
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_given_out = {}
_started = []


def free_port(low=20000, high=30000):
    """A port that is free for UDP and TCP on 127.0.0.1, below the kernel's ephemeral range, given out once: to this process,
    and to no other that plays such tests at the same time."""
    while True:
        port = random.randrange(low, high)
        if port in _given_out:
            continue
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0baton-test-port-{port}")     # held until this process ends
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _given_out[port] = claim
        return port


def is_bound(port, kind="udp"):
    """Whether somebody holds this local port (any address)."""
    wanted = f":{port:04X}"
    for family in ("", "6"):
        try:
            with open(f"/proc/net/{kind}{family}") as table:
                for line in table.readlines()[1:]:
                    fields = line.split()
                    listening = kind == "udp" or fields[3] == "0A"
                    if fields[1].endswith(wanted) and listening:
                        return True
        except FileNotFoundError:
            pass
    return False


def wait_until(condition, seconds, every=0.05):
    """Polls until the condition holds; False when the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())


def http(url, auth=None, timeout=10, form=None):
    """GET, or POST of a form; (status, body text)."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url, data=data)
    if auth:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(auth).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


class Process:
    """A started program with its descendants."""

    def __init__(self, arguments, log, cwd=None, env=None):
        self.log = log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                          cwd=cwd, env=env, start_new_session=True)
        _started.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def wait(self, seconds):
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def stop(self, seconds=10):
        """SIGTERM, then SIGKILL to the whole session. The exit code, or None when it had to be killed."""
        self.signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code is None:
            self.kill()
        return code

    def kill(self):
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()

    def pids(self):
        """This process and all its descendants."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                parent = _stat(entry)
                if parent:
                    children.setdefault(int(parent[1]), []).append(int(entry))
        found, todo = [], [self.popen.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo.extend(children.get(pid, []))
        return found

    def log_tail(self, size=2000):
        try:
            with open(self.log, "rb") as text:
                return text.read()[-size:].decode(errors="replace")
        except OSError:
            return ""


def kill_all():
    """Ends what a check left behind."""
    for process in _started:
        if process.running():
            process.kill()
    _started.clear()


def _stat(pid):
    """Fields of /proc/PID/stat from the state on (index 0), or None."""
    try:
        with open(f"/proc/{pid}/stat") as text:
            return text.read().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(pids):
    """User and system time of these processes: nanosecond accounting where the kernel has it, else clock ticks."""
    total = 0.0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as text:
                    total += int(text.read().split()[0]) / 1e9
        except OSError:
            fields = _stat(pid)
            if fields:
                total += (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    return total


def memory_bytes(pids):
    """Proportional set size: shared pages are counted once over all processes of a system."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as text:
                for line in text:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def peak_rss_bytes(pid):
    """VmHWM of one process."""
    try:
        with open(f"/proc/{pid}/status") as text:
            for line in text:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class MemoryWatch:
    """Samples the memory of a system once a second; `peak` is the largest sum seen."""

    def __init__(self, pids):
        self.pids, self.peak, self._end = pids, memory_bytes(pids), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._end.wait(1.0):
            self.peak = max(self.peak, memory_bytes(self.pids))

    def stop(self):
        self._end.set()
        self._thread.join()
        self.peak = max(self.peak, memory_bytes(self.pids))
        return self.peak


def machine_busy_seconds():
    """CPU time that the whole machine has spent on anything, and time stolen by the hypervisor."""
    with open("/proc/stat") as text:
        fields = [int(value) / CLOCK_TICKS for value in text.readline().split()[1:]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields[:8]
    return user + nice + system + irq + softirq, steal
