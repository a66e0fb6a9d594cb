"""Checks of calls that Baton owns: placed and transferred by the API, bridged, transferred by phones. Used by `run`."""

import json
import os
import time

from harness import baton as server
from harness import compose, procs, sipp, web
from harness.compose import bye, maybe, notify, pause, refer

API = server.API


class Phone:
    """One SIPp that plays a composed scenario."""

    def __init__(self, directory, name, xml, port, target=None, calls=1, rate=10, service="1000"):
        self.directory = os.path.join(directory, name)
        path = compose.write(self.directory, name, xml)
        self.port = port
        arguments = ["sipp", "-sf", path, "-i", "127.0.0.1", "-p", str(port), "-mi", "127.0.0.1", "-t", "u1", "-s", service,
                     "-m", str(calls), "-nostdin", "-trace_err", "-trace_msg", "-trace_stat", "-stf",
                     os.path.join(self.directory, "stat.csv"), "-fd", "1"]
        if target:
            arguments += [target, "-r", str(rate)]
        self.process = procs.Process(arguments, os.path.join(self.directory, "out"), cwd=self.directory,
                                     env=dict(os.environ, TERM="vt100"))
        if not target and not procs.wait_until(lambda: procs.is_bound(port), 5):
            raise RuntimeError(f"{name}: SIPp did not start")

    def end(self, seconds=20):
        """What went wrong, as a list."""
        code = self.process.wait(seconds)
        side = sipp.Side(self.directory, code)
        if self.process.running():
            self.process.kill()
            return [f"{os.path.basename(self.directory)}: not ended after {seconds} s: {side.errors()}"]
        return [f"{os.path.basename(self.directory)}: {text} {' '.join(side.errors().split())[-300:]}" for text in side.problems()
                if "stray" not in text and "retransmissions" not in text]

    def messages(self):
        """The text of all messages it sent and received."""
        for name in os.listdir(self.directory):
            if name.endswith("_messages.log"):
                with open(os.path.join(self.directory, name), errors="replace") as text:
                    return text.read()
        return ""


class Lab:
    """A server, an application, and ports for phones, each of which is a trunk called by its name."""

    def __init__(self, binary, work, name, phones, refer_modes=None, extra="", shards=2):
        self.directory = os.path.join(work, name.replace(" ", "-"))
        self.ports = {phone: procs.free_port() for phone in phones}
        self.web = web.Web()
        modes = refer_modes or {}
        trunks = "".join(f"""
[[trunk]]
name = "{phone}"
targets = ["sip:127.0.0.1:{port}"]
match = {{ source = ["udp:127.0.0.1:{port}"] }}
account = "{server.ACCOUNT}"
refer = {{ mode = "{modes.get(phone, 'relay')}" }}
[[route]]
user = "{phone}"
to = ["{phone}"]
mode = "b2bua"
""" for phone, port in self.ports.items())
        first, second = sipp.Endpoint(), sipp.Endpoint()
        self.baton = server.Baton(binary, self.directory, first, second, shards=shards,
                                  extra="[webhook]\nallow_private = true\n" + trunks + extra)
        self.baton.start()

    def callee(self, name, steps, **options):
        return Phone(self.directory, name, compose.callee(name, steps, user=name), self.ports[name], **options)

    def caller(self, name, whom, steps, **options):
        xml = compose.caller(name, steps, service=whom, user=name)
        return Phone(self.directory, name, xml, self.ports[name], target=self.baton.address, service=whom, **options)

    def place(self, to, url, **more):
        """POST …/Calls.json; the Call."""
        status, body = self.baton.post(f"{API}/Calls.json", {"From": "+4930100200", "To": to, "Url": url, **more})
        if status != 200:
            raise RuntimeError(f"create: {status} {body[:300]}")
        return json.loads(body)

    def call(self, sid):
        status, body = self.baton.get(f"{API}/Calls/{sid}.json")
        return json.loads(body) if status == 200 else {"status": f"HTTP {status}"}

    def modify(self, sid, **values):
        return self.baton.post(f"{API}/Calls/{sid}.json", values)[0]

    def refers(self, count=1):
        self.baton.settle("Refers", count)
        return self.baton.all("Refers")

    def end(self):
        self.web.stop()
        return self.baton.stop()


def values(record):
    """The three values of a Refer record."""
    return tuple(record.get(name) for name in ("refer_sip_response_code", "notify_sip_response_code", "call_status"))


def reported(request):
    """The same three in an action request."""
    return tuple(request.get(name) for name in ("ReferSipResponseCode", "NotifySipResponseCode", "ReferCallStatus"))


UP = ["INVITE", 180, 200, "ACK"]

# What the phone does with the REFER, the three values that must come of it, and how long that may take.
OUTCOMES = [
    ("NOTIFY 200", UP + ["REFER", 202, notify(100), notify(200), "BYE"], ("202", "200", "in-progress"), 10),
    ("NOTIFY 486", UP + ["REFER", 202, notify(100), notify(486), "BYE"], ("202", "486", "busy"), 10),
    ("NOTIFY 404", UP + ["REFER", 202, notify(100), notify(404), "BYE"], ("202", "404", "failed"), 10),
    ("NOTIFY 480", UP + ["REFER", 202, notify(100), notify(480), "BYE"], ("202", "480", "no-answer"), 10),
    ("REFER refused 405", UP + ["REFER", 405, "BYE"], ("405", None, None), 10),
    ("no NOTIFY", UP + ["REFER", 202, "BYE"], ("202", None, None), 45),
    ("BYE before the final NOTIFY", UP + ["REFER", 202, notify(180), bye()], ("202", "180", "canceled"), 10),
    ("BYE after the final NOTIFY", UP + ["REFER", 202, notify(100), notify(200), bye()], ("202", "200", "in-progress"), 10),
    ("NOTIFY before the 202", UP + ["REFER", notify(100), 202, notify(200), "BYE"], ("202", "200", "in-progress"), 10),
]


def api_refer(run):
    """A REST call; its document's <Refer> goes out in the dialog; record and action request say the same."""
    for name, steps, wanted, patience in OUTCOMES:
        lab = run.lab(f"API transfer, {name}", ["bob"])
        lab.web.serve("/after", "<Response/>")
        url = lab.web.serve("/start", '<Response><Refer action="/after"><Sip>sip:carol@127.0.0.1:9</Sip></Refer></Response>')
        phone = lab.callee("bob", steps)
        call = lab.place(f"sip:bob@127.0.0.1:{phone.port}", url)
        problems = run.equal("status", call["status"], "queued")
        procs.wait_until(lambda: lab.web.got("/after"), patience)
        problems += phone.end(10)
        after = lab.web.got("/after")
        problems += run.equal("action requests", len(after), 1)
        records = lab.refers()
        problems += run.equal("Refer records", [values(r) for r in records], [wanted])
        if after:
            problems += run.equal("action request", reported(after[0]), wanted)
        start = lab.web.got("/start")
        problems += run.equal("document requests", len(start), 1)
        problems += run.equal("Call", lab.baton.settle("Calls", 1, Status="completed"), 1)
        run.check(f"API transfer: {name}: {', '.join(str(v) for v in wanted)}", problems)
        run.gauges(lab)
        lab.end()


def bridged(run):
    """A back-to-back call: nothing of one leg's identifiers on the other, both end."""
    lab = run.lab("owned call", ["alice", "bob"])
    bob = lab.callee("bob", UP + ["BYE"])
    alice = lab.caller("alice", "bob", [pause(300), bye()])
    problems = alice.end() + bob.end()
    call_id = lambda phone: {line for line in phone.messages().splitlines() if line.startswith("Call-ID:")}
    problems += run.equal("Call-IDs shared by the legs", call_id(alice) & call_id(bob), set())
    problems += run.equal("completed Calls", lab.baton.settle("Calls", 2, Status="completed"), 2)
    run.check("owned call: two legs, no shared Call-ID, two records", problems)
    run.gauges(lab)
    lab.end()


def substitute_blind(run):
    """Alice refers Bob to Carol; Baton performs it. Then again with Carol busy: the call stays up."""
    lab = run.lab("blind transfer performed", ["alice", "bob", "carol"], {"alice": "terminate"})
    carol = lab.callee("carol", UP + ["BYE"])
    bob = lab.callee("bob", UP + ["INVITE", "ACK", pause(300), bye()])
    alice = lab.caller("alice", "bob", [pause(200), refer(f"<sip:carol@{lab.baton.address}>"), "NOTIFY", maybe("NOTIFY"), maybe("NOTIFY"),
                                        "NOTIFY", bye()])
    problems = alice.end() + bob.end() + carol.end()
    records = lab.refers()
    problems += run.equal("Refer records", [r.get("refer_sip_response_code") for r in records], ["202"])
    run.check("blind transfer performed by Baton", problems)
    run.gauges(lab)
    lab.end()

    lab = run.lab("blind transfer to a busy phone", ["alice", "bob", "carol"], {"alice": "terminate"})
    carol = lab.callee("carol", ["INVITE", 486, "ACK"])
    bob = lab.callee("bob", UP + ["INVITE", "ACK", "INVITE", "ACK", "BYE"])
    alice = lab.caller("alice", "bob", [pause(200), refer(f"<sip:carol@{lab.baton.address}>"), "NOTIFY", "NOTIFY",
                                        compose.reinvite("sendonly", "alice", 49172), compose.reinvite("sendrecv", "alice", 49172),
                                        pause(100), bye()])
    problems = alice.end() + bob.end() + carol.end()
    problems += run.equal("Refer records", [values(r) for r in lab.refers()], [("202", "486", "busy")])
    run.check("blind transfer to a busy phone: the call stays up, hold and resume work", problems)
    run.gauges(lab)
    lab.end()


def substitute_early_bye(run):
    """The referrer hangs up right after the 202; the transfer completes all the same."""
    lab = run.lab("referrer hangs up early", ["alice", "bob", "carol"], {"alice": "terminate"})
    carol = lab.callee("carol", ["INVITE", 180, pause(800), 200, "ACK", "BYE"])
    bob = lab.callee("bob", UP + ["INVITE", "ACK", pause(300), bye()])
    alice = lab.caller("alice", "bob", [pause(200), refer(f"<sip:carol@{lab.baton.address}>"), "NOTIFY", bye(), maybe("NOTIFY"), pause(1500)])
    problems = bob.end() + carol.end()
    alice.end(8)
    run.check("referrer hangs up right after the 202: the transfer completes", problems)
    run.gauges(lab)
    lab.end()

    lab = run.lab("survivor hangs up while it rings", ["alice", "bob", "carol"], {"alice": "terminate"})
    carol = lab.callee("carol", ["INVITE", 180, "CANCEL"])
    bob = lab.callee("bob", UP + [pause(1200), bye()])
    alice = lab.caller("alice", "bob", [pause(200), refer(f"<sip:carol@{lab.baton.address}>"), "NOTIFY", maybe("NOTIFY"), "NOTIFY", "BYE"])
    problems = bob.end() + alice.end()
    carol.end(5)
    problems += run.equal("Refer status", [r.get("call_status") for r in lab.refers()], ["canceled"])
    run.check("survivor hangs up while the target rings: CANCEL, NOTIFY 487, BYE", problems)
    run.gauges(lab)
    lab.end()


def relay_owned(run):
    """A REFER relayed through an owned call."""
    lab = run.lab("REFER relayed on an owned call", ["alice", "bob"])
    bob = lab.callee("bob", UP + ["REFER", 202, notify(100), notify(200), "BYE"])
    alice = lab.caller("alice", "bob", [pause(200), refer("<sip:carol@127.0.0.1:9>"), "NOTIFY", "NOTIFY", bye()])
    problems = alice.end() + bob.end()
    problems += run.equal("Refer records", [values(r) for r in lab.refers()], [("202", "200", "in-progress")])
    run.check("REFER relayed on an owned call", problems)
    run.gauges(lab)
    lab.end()


def live_modification(run):
    """A REST call is redirected to another document, and ended."""
    lab = run.lab("live call modification", ["bob"])
    url = lab.web.serve("/wait", '<Response><Pause length="60"/></Response>')
    other = lab.web.serve("/other", '<Response><Pause length="60"/></Response>')
    phone = lab.callee("bob", UP + ["BYE"])
    call = lab.place(f"sip:bob@127.0.0.1:{phone.port}", url, StatusCallback=lab.web.url + "/status",
                     StatusCallbackEvent="initiated,ringing,answered,completed")
    procs.wait_until(lambda: lab.web.got("/wait"), 5)
    problems = run.equal("redirect", lab.modify(call["sid"], Url=other), 200)
    procs.wait_until(lambda: lab.web.got("/other"), 2)
    problems += run.equal("requests to the new document", len(lab.web.got("/other")), 1)
    problems += run.equal("end", lab.modify(call["sid"], Status="completed"), 200)
    problems += phone.end()
    procs.wait_until(lambda: len(lab.web.got("/status")) >= 4, 5)
    problems += run.equal("status callbacks", [(r.get("CallStatus"), r.get("SequenceNumber")) for r in lab.web.got("/status")],
                          [("queued", "0"), ("ringing", "1"), ("in-progress", "2"), ("completed", "3")])
    run.check("live call modification and status callbacks", problems)
    run.gauges(lab)
    lab.end()


CHECKS = [bridged, relay_owned, substitute_blind, substitute_early_bye, api_refer, live_modification]
