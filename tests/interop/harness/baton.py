"""A Baton under test: its configuration, its process, and its HTTP side."""

import json
import os
import re
import subprocess

from . import procs

ACCOUNT = "AC00000000000000000000000000000001"
TOKEN = "interop"
API = f"/restcomm/2012-04-24/Accounts/{ACCOUNT}"


def target_directory(root):
    """Where cargo puts what it builds."""
    return os.environ.get("CARGO_TARGET_DIR") or os.path.join(root, "target")


def build(root):
    """A fresh release build; the path of the binary, or None when it fails."""
    code = subprocess.run(["cargo", "build", "--release", "--bin", "baton", "-q"], cwd=root).returncode
    return os.path.join(target_directory(root), "release", "baton") if code == 0 else None


class Baton:
    """Listens for UDP, TCP and (with certificates) TLS; passes what `caller` sends to `callee`."""

    def __init__(self, binary, directory, caller, callee, caller_tls=False, certificates=None, shards=2, extra="",
                 callee_target=None, port=None, account=""):
        self.binary, self.directory, self.extra = binary, directory, extra
        os.makedirs(directory, exist_ok=True)
        self.port, self.tls_port, self.http_port = port or procs.free_port(), procs.free_port(), procs.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = None
        suffix = "" if callee.transport == "udp" else f";transport={callee.transport}"
        target = callee_target or f"127.0.0.1:{callee.port}{suffix}"
        # A stream caller comes from a port of the kernel's choice.
        source = f"udp:127.0.0.1:{caller.port}" if caller.transport == "udp" else f"{'tls' if caller_tls else 'tcp'}:127.0.0.1"
        callee_source = f'match = {{ source = ["udp:127.0.0.1:{callee.port}"] }}' if callee.transport == "udp" else ""
        tls = ""
        if certificates:
            tls = f"""
[[tls_profile]]
name = "lab"
cert = "{certificates}/cert.pem"
key = "{certificates}/key.pem"
ca = "{certificates}/ca.pem"
[[listener]]
name = "tls"
bind = "tls:127.0.0.1:{self.tls_port}"
tls_profile = "lab"
"""
        self.config = f"""
[http]
listen = "127.0.0.1:{self.http_port}"
[shards]
count = {shards}
[records]
store = "sqlite:{directory}/baton.db"
proxied = true
[state]
dir = "{directory}/state"
[[account]]
sid = "{ACCOUNT}"
token = "{TOKEN}"
{account}
{tls}
[[listener]]
name = "udp"
bind = "udp:{self.address}"
[[listener]]
name = "tcp"
bind = "tcp:{self.address}"
[[trunk]]
name = "alpha"
targets = ["sip:127.0.0.1:{caller.port}"]
match = {{ source = ["{source}"] }}
account = "{ACCOUNT}"
[[trunk]]
name = "bravo"
targets = ["sip:{target}"]
{callee_source}
[[route]]
from = ["alpha"]
to = ["bravo"]
{extra}
"""
        self.path = os.path.join(directory, "baton.toml")
        with open(self.path, "w") as out:
            out.write(self.config)

    def start(self):
        self.process = procs.Process([self.binary, "serve", "--config", self.path],
                                     os.path.join(self.directory, "baton.log"), cwd=self.directory)
        procs.wait_until(lambda: not self.process.running() or self.ready(), 20, every=0.02)
        if not self.process.running() or not self.ready():
            raise RuntimeError("baton did not start: " + self.process.log_tail(600))

    def ready(self):
        return procs.is_bound(self.port) and self.get("/readyz")[0] == 200

    def get(self, path):
        return procs.http(f"http://127.0.0.1:{self.http_port}{path}", auth=(ACCOUNT, TOKEN))

    def post(self, path, form):
        return procs.http(f"http://127.0.0.1:{self.http_port}{path}", auth=(ACCOUNT, TOKEN), form=form)

    def total(self, collection, **filters):
        """How many records a list has."""
        query = "&".join(f"{name}={value}" for name, value in {"PageSize": 1, "Limit": 1000000, **filters}.items())
        status, body = self.get(f"{API}/{collection}.json?{query}")
        return json.loads(body)["total"] if status == 200 else -1

    def settle(self, collection, count, seconds=10, **filters):
        """Waits until a list has so many records (they are written behind the messages); the number in the end."""
        procs.wait_until(lambda: self.total(collection, **filters) >= count, seconds, every=0.2)
        return self.total(collection, **filters)

    def all(self, collection):
        """Every record of a list, page by page."""
        found, page = [], 0
        while True:
            status, body = self.get(f"{API}/{collection}.json?PageSize=1000&Limit=1000000&Page={page}")
            if status != 200:
                raise RuntimeError(f"{collection} page {page}: {status} {body[:200]}")
            answer = json.loads(body)
            found += answer[collection.lower()]
            page += 1
            if page > answer["num_pages"]:
                return found

    def metric(self, family):
        """Values of a family by the text of its labels."""
        _, body = self.get("/metrics")
        return {labels: float(value) for labels, value in
                re.findall(rf"^{family}(\{{[^}}]*\}})?\s+(\S+)", body, re.MULTILINE)}

    def peak_mib(self):
        return procs.peak_rss_bytes(self.process.pid) / 2**20

    def stop(self):
        """SIGTERM; the exit code, None when it did not end."""
        return self.process.stop(15)
