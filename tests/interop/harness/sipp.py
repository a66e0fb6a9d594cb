"""Runs a caller and a callee of SIPp against a system and reads what they counted."""

import csv
import datetime
import glob
import os
import re
import signal
import subprocess

from . import procs

SCENARIOS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scenarios")
OPEN_CALLS = 15000          # below the usual limit of open files, far above what the rates here need
LENGTHS = range(1000, 21000, 1000)      # SIPp counts calls by their length in these steps, in milliseconds


class Side:
    """What one SIPp counted."""

    def __init__(self, directory, code):
        self.code = code
        self.directory = directory
        stat = _last_row(os.path.join(directory, "stat.csv"))
        number = lambda name: int(stat.get(name) or 0)
        self.created = number("TotalCallCreated")
        self.ok = number("SuccessfulCall(C)")
        self.failed = number("FailedCall(C)")
        self.stray = number("OutOfCallMsgs(C)") + number("DeadCallMsgs(C)")
        self._lengths = {length: number(f"CallLengthRepartition_<{length}") for length in LENGTHS}
        self._measured = f"CallLengthRepartition_<{LENGTHS[0]}" in stat
        counts = {}
        for path in glob.glob(os.path.join(directory, "*_counts.csv")):
            counts = _last_row(path)
        total = lambda end: sum(int(value) for name, value in counts.items() if name.endswith(end) and value)
        # sent again by this side, and received again from the system
        self.retransmissions = total("_Retrans")
        self.unexpected = total("_Unexp")
        self.timeouts = total("_Timeout")

    def longer(self, seconds):
        """How many calls lasted that long or longer, from their first message to their last."""
        shorter = sum(count for length, count in self._lengths.items() if length <= seconds * 1000)
        return self.ok + self.failed - shorter if self._measured else 0

    def problems(self):
        named = [("failed calls", self.failed), ("retransmissions", self.retransmissions),
                 ("unexpected messages", self.unexpected), ("timeouts", self.timeouts),
                 ("stray messages", self.stray)]
        return [f"{count} {name}" for name, count in named if count]

    def errors(self, size=400):
        """The beginning of SIPp's own account of what went wrong."""
        for path in glob.glob(os.path.join(self.directory, "*errors.log")):
            with open(path, errors="replace") as text:
                return text.read(20000)[:size]
        return ""

    def response_times(self, name):
        """Response times in whole milliseconds (SIPp's clock), sorted."""
        times = []
        for path in glob.glob(os.path.join(self.directory, "*_rtt.csv")):
            with open(path) as text:
                for line in text:
                    fields = line.strip().split(";")
                    if len(fields) == 3 and fields[2] == name:
                        times.append(float(fields[1]))
        return sorted(times)


class Result:
    """Both sides of a run."""

    def __init__(self, caller, callee, calls, seconds):
        self.caller, self.callee, self.calls, self.seconds = caller, callee, calls, seconds

    @property
    def retransmissions(self):
        return self.caller.retransmissions + self.callee.retransmissions

    def problems(self):
        found = [f"caller: {text}" for text in self.caller.problems()]
        found += [f"callee: {text}" for text in self.callee.problems()]
        if self.caller.code != 0:
            found.append(f"caller: exit code {self.caller.code}")
        if self.caller.ok != self.calls:
            found.append(f"caller: {self.caller.ok} of {self.calls} calls succeeded")
        if self.callee.ok < self.calls:
            found.append(f"callee: {self.callee.ok} of {self.calls} calls succeeded")
        return found


def traced(directory):
    """What a SIPp that traces its messages sent and received: (seconds since 1970, `sent` or `received`, method or status,
    method in CSeq, Call-ID), in order."""
    found = []
    for path in glob.glob(os.path.join(directory, "*_messages.log")):
        with open(path, errors="replace") as text:
            parts = re.split(r"^-{20,} (\d{4}-\S+ [\d:.]+)$", text.read(), flags=re.MULTILINE)
        for at, part in zip(parts[1::2], parts[2::2]):
            start = re.search(r"message (sent|received)[^\n]*\n\n(?:SIP/2\.0 )?(\S+)", part)
            cseq, call_id = re.search(r"^CSeq: *\d+ (\w+)", part, re.MULTILINE), re.search(r"^Call-ID: *(\S+)", part, re.MULTILINE)
            if start and cseq and call_id:
                seconds = datetime.datetime.fromisoformat(at).timestamp()
                found.append((seconds, start.group(1), start.group(2), cseq.group(1), call_id.group(1)))
    return found


class Endpoint:
    """Where one SIPp sits and how it names itself."""

    def __init__(self, port=None, transport="udp", contact=None, via=None):
        self.port = port or procs.free_port()
        self.transport = transport
        suffix = "" if transport == "udp" else f";transport={transport}"
        self.contact = contact or f"127.0.0.1:{self.port}{suffix}"
        self.via = via or transport.upper()


def _last_row(path):
    try:
        with open(path, newline="") as text:
            rows = list(csv.reader(text, delimiter=";"))
    except OSError:
        return {}
    return dict(zip(rows[0], rows[-1])) if len(rows) > 1 else {}


def _scenario(name, directory, t1_ms):
    """A scenario, with T1 as it is wanted; its path."""
    with open(os.path.join(SCENARIOS, name + ".xml")) as text:
        xml = text.read().replace('retrans="500"', f'retrans="{t1_ms}"')
    lengths = ",".join(str(length) for length in LENGTHS)
    path = os.path.join(directory, name + ".xml")
    with open(path, "w") as out:
        out.write(xml.replace("</scenario>", f'  <CallLengthRepartition value="{lengths}"/>\n</scenario>'))
    return path


def _arguments(scenario, endpoint, directory, service, hold_ms, keys, t1_ms):
    arguments = ["sipp", "-sf", _scenario(scenario, directory, t1_ms), "-i", "127.0.0.1", "-p", str(endpoint.port),
                 "-mi", "127.0.0.1", "-t", "u1" if endpoint.transport == "udp" else "t1", "-s", service,
                 "-d", str(hold_ms), "-l", str(OPEN_CALLS), "-nostdin", "-buff_size", "4194304",
                 "-trace_err", "-trace_stat", "-stf", os.path.join(directory, "stat.csv"), "-fd", "1", "-trace_counts",
                 "-key", "via", endpoint.via, "-key", "contact", endpoint.contact]
    for name, value in keys.items():
        arguments += ["-key", name, value]
    return arguments


class Pair:
    """A caller and a callee of one scenario. `start`, then `finish`; or `run` for both."""

    def __init__(self, scenario, caller, callee, target, directory, calls, rate, hold_ms=100, service="1000", keys=None,
                 t1_ms=500, trace_messages=False, rtt=False):
        self.calls, self.rate, self.hold_ms, self.directory = calls, rate, hold_ms, directory
        keys = dict({"fragment": "200 OK"}, **(keys or {}))
        self.dirs = [os.path.join(directory, side) for side in ("caller", "callee")]
        for path in self.dirs:
            os.makedirs(path, exist_ok=True)
        self.callee_arguments = _arguments("uas_" + scenario, callee, self.dirs[1], "bob", hold_ms, keys, t1_ms)
        self.caller_arguments = _arguments("uac_" + scenario, caller, self.dirs[0], service, hold_ms, keys, t1_ms)
        self.caller_arguments += [target, "-m", str(calls), "-r", str(rate)]
        if rtt:
            self.caller_arguments += ["-trace_rtt", "-rtt_freq", "1000"]
        if trace_messages:
            self.caller_arguments.append("-trace_msg")
            self.callee_arguments.append("-trace_msg")
        self.callee_endpoint = callee
        self.environment = dict(os.environ, TERM="vt100")   # SIPp draws a screen wherever it runs
        self.callee = self.caller = None

    def start_callee(self):
        self.callee = procs.Process(self.callee_arguments, os.path.join(self.dirs[1], "out"), cwd=self.dirs[1],
                                    env=self.environment)
        kind = "udp" if self.callee_endpoint.transport == "udp" else "tcp"
        if not procs.wait_until(lambda: procs.is_bound(self.callee_endpoint.port, kind), 5):
            raise RuntimeError("SIPp's callee did not start: " + self.callee.log_tail(300))

    def start_caller(self):
        self.started = procs.time.monotonic()
        self.caller = procs.Process(self.caller_arguments, os.path.join(self.dirs[0], "out"), cwd=self.dirs[0],
                                    env=self.environment)

    def finish(self, grace=60):
        """Waits for the caller to have made its calls, then ends the callee. UDP's last timers fit into `grace`."""
        limit = self.calls / self.rate + self.hold_ms / 1000 * 3 + grace
        code = self.caller.wait(max(1.0, limit - (procs.time.monotonic() - self.started)))
        seconds = procs.time.monotonic() - self.started
        if code is None:
            self._quit(self.caller)
        self._quit(self.callee)
        return Result(Side(self.dirs[0], code), Side(self.dirs[1], 0), self.calls, seconds)

    @staticmethod
    def _quit(process):
        """SIGUSR1 lets SIPp end its calls and write its statistics; twice ends it at once."""
        procs.time.sleep(0.2)
        for _ in range(2):
            process.signal(signal.SIGUSR1)
            if process.wait(3) is not None:
                return
        process.kill()

    def run(self):
        self.start_callee()
        self.start_caller()
        return self.finish()


def version():
    text = subprocess.run(["sipp", "-v"], capture_output=True, text=True).stdout
    return next((line.strip().rstrip(".") for line in text.splitlines() if "SIPp v" in line), "SIPp")
