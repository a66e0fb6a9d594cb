"""What both measuring programs need: the machine they run on, what others do to it, and percentiles."""

import datetime
import os
import platform
import subprocess
import time

from harness import procs, sipp

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def machine():
    """The header of a result: figures without it mean nothing."""
    model = "unknown"
    with open("/proc/cpuinfo") as text:
        for line in text:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as text:
        memory = round(int(text.readline().split()[1]) / 2**20)
    git = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "cpu": model,
            "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(), "sipp": sipp.version(),
            "revision": git.stdout.strip()}


def headline(header):
    return (f"{header['date']}  {header['cpu']}, {header['cores']} cores, {header['memory_gib']} GiB, "
            f"Linux {header['kernel']}, {header['sipp']}, revision {header['revision']}")


def foreign_load(seconds=1.0):
    """Cores kept busy by others right now."""
    before, steal = procs.machine_busy_seconds()
    time.sleep(seconds)
    after, steal_after = procs.machine_busy_seconds()
    return (after - before + steal_after - steal) / seconds


def rest(longest):
    """Waits so many seconds at most for others to come to rest, and says so if they do not."""
    busy = foreign_load()
    patience = time.monotonic() + longest
    while busy > 0.1 and time.monotonic() < patience:
        busy = foreign_load()
    if busy > 0.1:
        print(f"  warning: other programs use {busy:.2f} cores; figures will suffer", flush=True)


def percentiles(ordered):
    if not ordered:
        return {}
    at = lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))]
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": ordered[-1], "n": len(ordered)}
