"""What the checks of owned calls work in: a server with a trunk for each phone, an application, and phones that are SIPp
playing composed scenarios."""

import json
import os
import re
import time

from harness import baton as server
from harness import compose, procs, sipp, web

API = server.API


class Phone:
    """One SIPp that plays a composed scenario."""

    def __init__(self, directory, name, xml, port, target=None, service="1000", call_id=None):
        self.name, self.port, self.directory = name, port, os.path.join(directory, name)
        path = compose.write(self.directory, name, xml)
        arguments = ["sipp", "-sf", path, "-i", "127.0.0.1", "-p", str(port), "-mi", "127.0.0.1", "-t", "u1", "-s", service,
                     "-m", "1", "-nostdin", "-trace_err", "-trace_msg", "-trace_stat", "-stf",
                     os.path.join(self.directory, "stat.csv"), "-fd", "1"]
        if call_id:
            arguments += ["-cid_str", call_id]
        if target:
            arguments += [target, "-r", "10"]
        self.process = procs.Process(arguments, os.path.join(self.directory, "out"), cwd=self.directory,
                                     env=dict(os.environ, TERM="vt100"))
        if not target and not procs.wait_until(lambda: procs.is_bound(port) or not self.process.running(), 10, every=0.02):
            raise RuntimeError(f"{name}: SIPp did not start: {self.process.log_tail(300)}")

    def end(self, seconds=30):
        """What went wrong, as a list."""
        code = self.process.wait(max(0.1, seconds))
        side = sipp.Side(self.directory, code)
        if self.process.running():
            self.process.kill()
            return [f"{self.name}: not ended after {seconds:.0f} s, last {self.last()}; {side.errors()}"]
        # Whatever SIPp sends or gets twice on a busy machine is no fault of anybody's.
        found = [text for text in side.problems() if "stray" not in text and "retransmissions" not in text]
        if side.ok != 1 and not found:
            found = [f"{side.ok} calls succeeded"]
        return [f"{self.name}: {text} {' '.join(side.errors().split())[-300:]}" for text in found]

    def messages(self):
        """The text of all messages it sent and received."""
        for name in os.listdir(self.directory):
            if name.endswith("_messages.log"):
                with open(os.path.join(self.directory, name), errors="replace") as text:
                    return text.read()
        return ""

    def received(self, text):
        """How many messages with this text came, repeats not counted."""
        messages = re.split(r"^-{20,}.*\n", self.messages(), flags=re.MULTILINE)
        return len({message for message in messages if message.startswith("UDP message received") and text in message})

    def starts(self):
        """The first lines of them."""
        return re.findall(r"^(?:SIP/2\.0 .*|[A-Z]+ \S+ SIP/2\.0)$", self.messages().replace("\r", ""), re.MULTILINE)

    def last(self):
        return (self.starts() or ["no message"])[-1]

    def field(self, name, starting):
        """A header field of the first message that begins so, which is waited for."""
        found = []

        def look():
            # With the end of its line: a message may be half written.
            pattern = rf"^{starting}.*?^{name}: *([^\n]*)\n"
            match = re.search(pattern, self.messages().replace("\r", ""), re.MULTILINE | re.DOTALL)
            found[:] = [match.group(1)] if match else []
            return found
        if not procs.wait_until(look, 20):
            raise RuntimeError(f"{self.name}: no {name} in a message beginning with {starting}")
        return found[0]


def tag(value):
    """The tag in a From or To."""
    return re.search(r";tag=([^;>\s]+)", value).group(1)


class Lab:
    """A server, an application, and ports for phones, each of which is a trunk called by its name.

    `refer` has further keys of a trunk's `refer` table by phone, `trunk` further keys of the trunk; `doubles` are phones
    with a second port, for a second call at the same time; `extra` is further configuration, or a function that writes it
    for this lab; `account` has further keys of the account."""

    def __init__(self, binary, work, name, phones, refer=None, trunk=None, doubles=(), extra="", shards=2, account=""):
        self.directory = os.path.join(work, re.sub(r"\W+", "-", name))
        self.ports = {phone: procs.free_port() for phone in phones}
        self.doubles = {phone: procs.free_port() for phone in doubles}
        self.web = web.Web()
        extra = extra(self) if callable(extra) else extra
        self.extra = "[webhook]\nallow_private = true\n" + extra + "".join(
            self._trunk(phone, (refer or {}).get(phone, ""), (trunk or {}).get(phone, "")) for phone in phones)
        self.baton = server.Baton(binary, self.directory, sipp.Endpoint(), sipp.Endpoint(), shards=shards, extra=self.extra,
                                  account=account)
        self.baton.start()
        self.phones = []

    def _trunk(self, phone, refer, more):
        ports = [self.ports[phone], *([self.doubles[phone]] if phone in self.doubles else [])]
        sources = ", ".join(f'"udp:127.0.0.1:{port}"' for port in ports)
        return f"""
[[trunk]]
name = "{phone}"
targets = ["sip:127.0.0.1:{ports[0]}"]
match = {{ source = [{sources}] }}
account = "{server.ACCOUNT}"
refer = {{ {refer} }}
{more}
[[route]]
user = "{phone}"
to = ["{phone}"]
mode = "b2bua"
"""

    def at(self, name):
        """Somebody's address at the server."""
        return f"sip:{name}@{self.baton.address}"

    def uri(self, name):
        """Where somebody's phone is itself."""
        return f"sip:{name}@127.0.0.1:{self.ports[name]}"

    def callee(self, name, steps):
        return self._phone(Phone(self.directory, name, compose.callee(name, steps, user=name), self.ports[name]))

    def caller(self, name, whom, steps, double=False, lines=(), call_id=None):
        xml = compose.caller(name, steps, service=whom, user=name, lines=lines)
        port = self.doubles[name] if double else self.ports[name]
        return self._phone(Phone(self.directory, name + ("-again" if double else ""), xml, port, target=self.baton.address,
                                 service=whom, call_id=call_id))

    def _phone(self, phone):
        self.phones.append(phone)
        return phone

    def finish(self, seconds=30):
        """Waits for all phones to have played their part; what went wrong."""
        end, problems = time.monotonic() + seconds, []
        for phone in self.phones:
            # Once one is late the others will be, too.
            problems += phone.end(1 if problems else end - time.monotonic())
        self.phones = []
        return problems

    def place(self, to, url, **more):
        """POST …/Calls.json; the Call."""
        status, body = self.baton.post(f"{API}/Calls.json", {"From": "+4930100200", "To": to, "Url": url, **more})
        if status != 200:
            raise RuntimeError(f"create: {status} {body[:300]}")
        return json.loads(body)

    def call(self, sid):
        status, body = self.baton.get(f"{API}/Calls/{sid}.json")
        return json.loads(body) if status == 200 else {"status": f"HTTP {status}"}

    def answered(self, sid):
        """Waits until a Call is up."""
        return procs.wait_until(lambda: self.call(sid)["status"] == "in-progress", 10)

    def modify(self, sid, **values):
        return self.baton.post(f"{API}/Calls/{sid}.json", values)[0]

    def refers(self, count=1, done=lambda records: True):
        """The Refer records, once there are as many and they are as they must become."""
        self.baton.settle("Refers", count)
        procs.wait_until(lambda: done(self.baton.all("Refers")), 15)
        return self.baton.all("Refers")

    def outcome(self, *wanted):
        """What is wrong with the values of the Refer records, newest first."""
        records = self.refers(len(wanted), lambda records: [values(record) for record in records] == list(wanted))
        found = [values(record) for record in records]
        return [] if found == list(wanted) else [f"Refer records: {found} instead of {list(wanted)}"]

    def document(self, path, target, action=None, sip=""):
        """An application's document with one <Refer>; its URL."""
        verb = f' action="{action}"' if action else ""
        return self.web.serve(path, f"<Response><Refer{verb}><Sip{sip}>{target}</Sip></Refer></Response>")

    def end(self):
        self.web.stop()
        return self.baton.stop()


def values(record):
    """The three values of a Refer record."""
    return tuple(record.get(name) for name in ("refer_sip_response_code", "notify_sip_response_code", "call_status"))


def reported(request):
    """The same three in an action request."""
    return tuple(request.get(name) for name in ("ReferSipResponseCode", "NotifySipResponseCode", "ReferCallStatus"))
