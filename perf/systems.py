"""The systems under test: how each is configured, started and named. All sit between a caller and a callee on loopback."""

import glob
import os
import subprocess
import sys

from harness import procs, tools

HERE = os.path.dirname(os.path.abspath(__file__))


class System:
    """Started, it listens at `address`, sends calls to the callee, and is one process with descendants."""

    def __init__(self, directory, caller_port, callee_port, probe_port, chosen):
        self.directory, self.chosen = directory, chosen
        self.caller_port, self.callee_port, self.probe_port = caller_port, callee_port, probe_port
        self.port = procs.free_port()
        self.address = self.probe_address = f"127.0.0.1:{self.port}"
        self.process = None

    def launch(self, arguments):
        self.process = procs.Process(arguments, os.path.join(self.directory, "system.log"), cwd=self.directory)
        ready = procs.wait_until(lambda: self.ready() or not self.process.running(), 20)
        if not ready or not self.process.running():
            sys.exit(f"{type(self).__name__} did not start:\n{self.process.log_tail()}")

    def ready(self):
        return procs.is_bound(self.port)

    def stop(self):
        self.process.stop()

    @staticmethod
    def workers(chosen):
        return chosen.shards or os.cpu_count()


class Floor(System):
    @staticmethod
    def describe(chosen):
        return "bare UDP forwarder, one thread, recv and send (perf/floor.rs, rustc -O)"

    def start(self):
        program = os.path.join(self.chosen.work, "floor")
        if not os.path.exists(program):
            subprocess.run(["rustc", "-O", "--edition", "2024", "-o", program, os.path.join(HERE, "floor.rs")], check=True)
        second = procs.free_port()
        self.probe_address = f"127.0.0.1:{second}"
        self.launch([program, f"127.0.0.1:{self.callee_port}", self.address, self.probe_address])


class Kamailio(System):
    """perf/kamailio.cfg.in: tm, rr; no accounting, no debug output; one UDP worker a core, its cheapest parallel form."""

    template = "kamailio.cfg.in"

    @classmethod
    def describe(cls, chosen):
        text = subprocess.run([tools.find("kamailio"), "-v"], capture_output=True, text=True).stdout.splitlines()[0]
        text = text.removeprefix("version: ").strip()
        return f"{text}, perf/{cls.template}, {cls.workers(chosen)} UDP workers"

    def start(self):
        modules = glob.glob("/usr/lib/*/kamailio/modules") + glob.glob("/usr/lib*/kamailio/modules") + \
            glob.glob("/usr/local/lib*/kamailio/modules")
        with open(os.path.join(HERE, self.template)) as text:
            config = text.read()
        for name, value in {"CHILDREN": self.workers(self.chosen), "LISTEN": self.address, "MPATH": modules[0] + "/",
                            "TARGET": f"127.0.0.1:{self.callee_port}"}.items():
            config = config.replace(f"@{name}@", str(value))
        path = os.path.join(self.directory, "kamailio.cfg")
        with open(path, "w") as out:
            out.write(config)
        # -DD: in the foreground; 512 MiB of shared memory: more than it needs, touched only as used.
        self.launch([tools.find("kamailio"), "-DD", "-f", path, "-m", "512", "-Y", self.directory,
                     "-P", os.path.join(self.directory, "pid")])
        procs.time.sleep(1)     # its workers fork after the socket is bound


class KamailioPackaged(Kamailio):
    """The same with the workers of its own default and of Debian's packaged configuration."""

    @staticmethod
    def workers(chosen):
        return 8


class KamailioStateless(Kamailio):
    template = "kamailio-stateless.cfg.in"


class Baton(System):
    """The proxied path with records.proxied = false: only SIP."""

    proxied = "false"
    mode = "auto"
    binary = None       # else that of --baton, or a fresh build

    @classmethod
    def describe(cls, chosen):
        text = subprocess.run([cls.binary or chosen.baton, "--version"], capture_output=True, text=True).stdout.strip()
        return f"{text}, records.proxied = {cls.proxied}, {cls.workers(chosen)} shards"

    def start(self):
        self.http = procs.free_port()
        config = f"""
[http]
listen = "127.0.0.1:{self.http}"
[shards]
count = {self.chosen.shards}
[records]
store = "sqlite:{self.directory}/baton.db"
proxied = {self.proxied}
[state]
dir = "{self.directory}/state"
[[account]]
sid = "AC00000000000000000000000000000001"
token = "measure"
[[listener]]
name = "lan"
bind = "udp:{self.address}"
[[trunk]]
name = "alpha"
targets = ["sip:127.0.0.1:{self.caller_port}"]
match = {{ source = ["127.0.0.1:{self.caller_port}", "127.0.0.1:{self.probe_port}"] }}
account = "AC00000000000000000000000000000001"
[[trunk]]
name = "bravo"
targets = ["sip:127.0.0.1:{self.callee_port}"]
match = {{ source = ["127.0.0.1:{self.callee_port}"] }}
{self.routes()}
"""
        if self.chosen.baton_config:
            with open(self.chosen.baton_config) as text:
                config += text.read()
        path = os.path.join(self.directory, "baton.toml")
        with open(path, "w") as out:
            out.write(config)
        self.launch([self.binary or self.chosen.baton, "serve", "--config", path])

    def routes(self):
        return f'''
[[route]]
from = ["alpha"]
to = ["bravo"]
mode = "{self.mode}"
'''

    def ready(self):
        return procs.is_bound(self.port) and procs.http(f"http://127.0.0.1:{self.http}/readyz")[0] == 200


class BatonRecords(Baton):
    """The same with a record of every call and refer in the embedded store."""

    proxied = "true"


class BatonOwned(BatonRecords):
    """Two legs of Baton's own instead of a proxied call, recorded."""

    mode = "b2bua"

    @classmethod
    def describe(cls, chosen):
        return super().describe(chosen) + ", mode = \"b2bua\""


SYSTEMS = {"floor": Floor, "kamailio": Kamailio, "kamailio-8": KamailioPackaged,
           "kamailio-stateless": KamailioStateless, "baton": Baton, "baton-records": BatonRecords,
           "baton-owned": BatonOwned}


def add_build(name, path):
    """Another build of Baton in all its forms; answers the names of the new systems."""
    added = {name + known.removeprefix("baton"): type(kind.__name__, (kind,), {"binary": path})
             for known, kind in SYSTEMS.items() if issubclass(kind, Baton) and not kind.binary}
    SYSTEMS.update(added)
    return list(added)
