"""Checks of the Restcomm face on the wire: what documents do to phones, and old clients' requests as they are. Used by
`run`. Marks in brackets name the statement of a contract that a check looks at."""

import json
import os
import re
import subprocess
import time

from harness import baton as server
from harness import compose, procs
from harness.compose import CANCELED, bye, notify, pause, refer
from lab import Phone, reported, values
from owned import UP

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = os.path.join(HERE, "samples")


def application(lab):
    """`ivr` is called by that name; its documents are the lab's."""
    return f"""
[[application]]
name = "ivr"
kind = "rcml"
account = "{server.ACCOUNT}"
url = "{lab.web.url}/start"
refer_url = "{lab.web.url}/refer"
[[route]]
user = "ivr"
application = "ivr"
"""


def ivr(run, name, phones, start, **documents):
    """A lab whose inbound calls begin with these verbs; further documents by their path."""
    lab = run.lab(name, phones, extra=application)
    for path, verbs in {"start": start, **documents}.items():
        lab.web.serve("/" + path, f"<Response>{verbs}</Response>")
    return lab


def messages(phone):
    """What a phone sent and received: (sent or received, start line, header fields by name, text), in order."""
    found = []
    pattern = r"message (sent|received)[^\n]*:\n\n(.*?)(?=\n-{20,}|\Z)"
    for way, text in re.findall(pattern, phone.messages().replace("\r", ""), re.DOTALL):
        lines = text.strip("\n").split("\n")
        fields = {}
        for line in lines[1:]:
            if not line:
                break
            name, _, value = line.partition(":")
            fields.setdefault(name.strip().lower(), value.strip())
        found.append((way, lines[0], fields, text))
    return found


def first(phone, way, start):
    """The first message whose start line begins so; its place and header fields."""
    for place, (direction, line, fields, _) in enumerate(messages(phone)):
        if direction == way and line.startswith(start):
            return place, fields
    return -1, {}


def tag(value):
    return (re.search(r";tag=([^;>\s]+)", value or "") or [None, None])[1]


def in_the_dialog(run):
    """[rcml 14] [rcml 15] [rcml 16] [rcml 27] [rcml 28] Where the REFER stands, and NOTIFYs whenever they come."""
    target = "sip:carol@127.0.0.1:9?myCustomHeader=value"
    verbs = f'<Refer action="/after"><Sip>{target}</Sip></Refer>'
    lab = ivr(run, "transfer of a caller", ["alice"], verbs, after='<Pause length="6"/>')
    alice = lab.caller("alice", "ivr", ["REFER", 202, notify(100), notify(200), pause(300), notify(200), "BYE"])
    problems = alice.end()
    answered, ok = first(alice, "received", "SIP/2.0 200")
    acked, _ = first(alice, "sent", "ACK")
    at, fields = first(alice, "received", "REFER")
    problems += run.equal("Refer-To", fields.get("refer-to"), f"<{target}>")
    problems += run.equal("Call-ID", fields.get("call-id"), ok.get("call-id"))
    problems += run.equal("tags", (tag(fields.get("from")), tag(fields.get("to"))), (tag(ok.get("to")), tag(ok.get("from"))))
    problems += run.unless(0 <= answered < acked < at, f"200 at {answered}, ACK at {acked}, REFER at {at}")
    problems += run.equal("action request", [reported(r) for r in lab.web.got("/after")], [("202", "200", "in-progress")])
    run.check("RCML: an inbound call is answered, then referred in its dialog; a late NOTIFY gets its 200", problems)
    run.gauges(lab)
    lab.end()

    lab = run.lab("transfer of a callee", ["bob"])
    lab.web.serve("/after", '<Response><Pause length="6"/></Response>')
    url = lab.web.serve("/start", f"<Response>{verbs}</Response>")
    bob = lab.callee("bob", UP + ["REFER", notify(100), 202, notify(200), pause(300), notify(200), "BYE"])
    call = lab.place(f"sip:bob@127.0.0.1:{bob.port}", url)
    procs.wait_until(lambda: lab.web.got("/after"), 10)
    problems = bob.end()
    _, invite = first(bob, "received", "INVITE")
    _, fields = first(bob, "received", "REFER")
    cseq = lambda value: int((value or "0").split()[0])
    problems += run.equal("CSeq", cseq(fields.get("cseq")), cseq(invite.get("cseq")) + 1)
    problems += run.equal("Call-ID", fields.get("call-id"), invite.get("call-id"))
    # [restcomm-calls 16]
    problems += run.equal("X-RestComm-CallSid", invite.get("x-restcomm-callsid"), call["sid"])
    problems += run.equal("action request", [reported(r) for r in lab.web.got("/after")], [("202", "200", "in-progress")])
    run.check("RCML: a call of the API is referred with the next CSeq; a NOTIFY may come before the 202", problems)
    run.gauges(lab)
    lab.end()


def dialled(run):
    """[rcml 43] [rcml 45] [rcml 44] Two at once, and nobody in time."""
    lab = ivr(run, "Dial of two", ["alice", "bob", "carol"],
              '<Dial action="/after"><Number>bob</Number><Number>carol</Number></Dial>', after='<Pause length="2"/><Hangup/>')
    bob = lab.callee("bob", ["INVITE", 180, pause(800), 200, "ACK", pause(300), bye()])
    carol = lab.callee("carol", ["INVITE", 180, CANCELED])
    # Once Bob has left, nobody is there to talk to.
    alice = lab.caller("alice", "ivr", ["INVITE", "ACK", "BYE"])
    problems = lab.finish(20)
    after = lab.web.got("/after")
    problems += run.equal("DialCallStatus", [r.get("DialCallStatus") for r in after], ["completed"])
    # Before Bob answers, the caller has only heard that it rings.
    lines = [line for way, line, _, _ in messages(alice) if way == "received" and line.startswith("SIP/2.0")]
    problems += run.unless("SIP/2.0 180" in " ".join(lines).split(" 200")[0], f"the caller heard {lines}")
    problems += run.equal("Calls", lab.baton.settle("Calls", 3), 3)
    problems += run.equal("completed", lab.baton.settle("Calls", 2, Status="completed"), 2)
    run.check("RCML: Dial of two, the loser gets CANCEL, the caller is answered by the winner", problems)
    run.gauges(lab)
    lab.end()

    lab = ivr(run, "Dial in vain", ["alice", "bob"], '<Dial timeout="2" action="/after">bob</Dial>', after='<Say>Sorry</Say>')
    bob = lab.callee("bob", ["INVITE", 180, CANCELED])
    alice = lab.caller("alice", "ivr", ["BYE"])
    problems = lab.finish(20)
    problems += run.equal("DialCallStatus", [r.get("DialCallStatus") for r in lab.web.got("/after")], ["no-answer"])
    run.check("RCML: Dial with a timeout, nobody answers, the next document runs", problems)
    run.gauges(lab)
    lab.end()


def screened(run):
    """[rcml 5.3] The called party's own document comes first."""
    verbs = '<Dial action="/after"><Number url="/screen" statusCallback="/told">bob</Number></Dial>'
    lab = ivr(run, "screening passed", ["alice", "bob"], verbs, screen='<Pause length="1"/>', after="<Hangup/>")
    bob = lab.callee("bob", UP + ["INVITE", "ACK", "BYE"])
    alice = lab.caller("alice", "ivr", [pause(500), bye()])
    problems = lab.finish(20)
    procs.wait_until(lambda: lab.web.got("/told") and lab.web.got("/after"), 10)
    problems += run.equal("screening", [r.get("Direction") for r in lab.web.got("/screen")], ["outbound-dial"])
    problems += run.equal("callback", [r.get("CallStatus") for r in lab.web.got("/told")], ["completed"])
    problems += run.equal("DialCallStatus", [r.get("DialCallStatus") for r in lab.web.got("/after")], ["completed"])
    run.check("RCML: a called party is screened, then joined", problems)
    run.gauges(lab)
    lab.end()

    lab = ivr(run, "screening refused", ["alice", "bob"], verbs, screen="<Hangup/>", after="<Say>Sorry</Say>")
    bob = lab.callee("bob", UP + ["BYE"])
    alice = lab.caller("alice", "ivr", ["BYE"])
    problems = lab.finish(20)
    problems += run.equal("action requests", len(lab.web.got("/after")), 1)
    run.check("RCML: a called party's document hangs up, nobody is joined", problems)
    run.gauges(lab)
    lab.end()


def refused(run):
    """[rcml 11] [rcml 6] Documents that refuse, and documents that fail."""
    lab = ivr(run, "Reject", ["alice"], '<Reject reason="busy"/>')
    alice = lab.caller("alice", "ivr", 486)
    problems = alice.end()
    problems += run.equal("busy Calls", lab.baton.settle("Calls", 1, Status="busy"), 1)
    run.check("RCML: Reject as busy, 486, the call is busy", problems)
    run.gauges(lab)
    lab.end()

    lab = ivr(run, "a document that fails", ["alice"], "<Say>Hello</Say><Redirect>/gone</Redirect>")
    lab.web.serve("/gone", "", status=500)
    alice = lab.caller("alice", "ivr", ["BYE"])
    problems = alice.end()
    problems += run.equal("requests to it", len(lab.web.got("/gone")), 1)
    run.check("RCML: a document that fails ends an answered call by BYE", problems)
    run.gauges(lab)
    lab.end()


def attended(run):
    """[rcml 35] [rcml 6.6] By live modification, the caller is referred to the call it has, with Replaces."""
    lab = ivr(run, "attended by live modification", ["alice", "bob"], "<Dial>bob</Dial>")
    url = lab.web.serve("/transfer", "<Response><Refer action='/after'><Sip>sip:desk@127.0.0.1:9?</Sip></Refer></Response>")
    lab.web.serve("/after", "<Response/>")
    bob = lab.callee("bob", UP + [pause(4000), bye()])
    alice = lab.caller("alice", "ivr", ["REFER", 202, notify(100), notify(200), pause(200), "BYE"])
    procs.wait_until(lambda: lab.baton.total("Calls", Status="in-progress") == 2, 15)
    parent = [call["sid"] for call in lab.baton.all("Calls") if call["direction"] == "inbound"]
    problems = run.equal("redirect", [lab.modify(sid, Url=url, ChildCallMode="StayConnected") for sid in parent], [200])
    problems += lab.finish(20)
    _, invite = first(bob, "received", "INVITE")
    _, fields = first(alice, "received", "REFER")
    target = fields.get("refer-to", "")
    # Where that call's other end is, not where the document says.
    problems += run.unless(target.startswith(f"<sip:bob@127.0.0.1:{bob.port}?Replaces=") and
                           invite.get("call-id", "?").replace("@", "%40") in target, f"Refer-To: {target}")
    problems += run.equal("Refer records", [values(r) for r in lab.refers()], [("202", "200", "in-progress")])
    run.check("RCML: an attended transfer by live modification, Replaces names the other leg", problems)
    run.gauges(lab)
    lab.end()


def asked_by_a_phone(run):
    """[rcml 41] [rcml 7.2] A phone's REFER is the application's to perform."""
    lab = ivr(run, "REFER to an application", ["alice", "bob", "carol"], "<Dial>bob</Dial>", refer="<Dial>carol</Dial>")
    # Alice's leg is parted from Bob's by a re-INVITE, which has ended before Carol answers.
    carol = lab.callee("carol", ["INVITE", 100, pause(2000), 200, "ACK", pause(2000), bye()])
    bob = lab.callee("bob", UP + ["INVITE", "ACK", "INVITE", "ACK", "BYE"])
    alice = lab.caller("alice", "ivr", [pause(200), refer("<sip:carol@127.0.0.1:9>"), "NOTIFY", "INVITE", "ACK", "NOTIFY", "BYE"])
    problems = lab.finish(20)
    asked = [tuple(r.get(n) for n in ("ReferTarget", "Transferor", "Transferee")) for r in lab.web.got("/refer")]
    problems += run.equal("refer request", asked, [("carol", "alice", "bob")])
    fragments = re.findall(r"SIP/2\.0 (\d+)[^\n]*$", "\n".join(t.rstrip() for w, l, _, t in messages(alice) if l.startswith("NOTIFY")), re.M)
    problems += run.equal("NOTIFYs", fragments, ["100", "200"])
    run.check("RCML: a phone's REFER runs the refer document on the other leg; NOTIFY 100 and 200", problems)
    run.gauges(lab)
    lab.end()


def held(run):
    """[rcml 4] Hold and Resume beside a call that goes on: the peer is re-INVITEd, and taken back."""
    lab = ivr(run, "hold and resume", ["alice", "bob"], "<Dial>bob</Dial>")
    url = lab.web.serve("/hold", '<Response><Hold/><Pause length="1"/><Resume/></Response>')
    bob = lab.callee("bob", UP + ["BYE"])
    alice = lab.caller("alice", "ivr", ["INVITE", "ACK", "INVITE", "ACK", pause(200), bye()])
    procs.wait_until(lambda: lab.baton.total("Calls", Status="in-progress") == 2, 15)
    parent = [call["sid"] for call in lab.baton.all("Calls") if call["direction"] == "inbound"]
    problems = run.equal("modified", [lab.modify(sid, Url=url, ChildCallMode="StayConnected") for sid in parent], [200])
    problems += lab.finish(20)
    offers = [text for way, line, _, text in messages(alice) if way == "received" and line.startswith("INVITE")]
    found = [re.findall(r"a=(sendonly|sendrecv|inactive|recvonly)", text) for text in offers]
    problems += run.equal("directions offered", found, [["sendonly"], ["sendrecv"]])
    run.check("RCML: Hold and Resume beside a Dial, sendonly and sendrecv", problems)
    run.gauges(lab)
    lab.end()


def moved(run):
    """[restcomm-calls 49] Another document for both parties of a call, and the end of each."""
    lab = run.lab("both parties moved", ["bob", "carol"])
    url = lab.web.serve("/start", "<Response><Dial>carol</Dial></Response>")
    other = lab.web.serve("/other", '<Response><Pause length="60"/></Response>')
    carol = lab.callee("carol", UP + ["INVITE", "ACK", "BYE"])
    bob = lab.callee("bob", UP + ["INVITE", "ACK", "INVITE", "ACK", "BYE"])
    call = lab.place(f"sip:bob@127.0.0.1:{bob.port}", url)
    procs.wait_until(lambda: lab.baton.total("Calls", Status="in-progress") == 2, 15)
    acknowledged = lambda phone, count: procs.wait_until(lambda: sum(start.startswith("ACK ") for start in phone.starts()) == count, 10)
    joined = acknowledged(bob, 2) and acknowledged(carol, 1)
    problems = run.unless(joined, "they were not joined")
    problems += run.equal("modified", lab.modify(call["sid"], Url=other, ChildCallMode="Move"), 200)
    procs.wait_until(lambda: len(lab.web.got("/other")) == 2, 10)
    problems += run.unless(acknowledged(bob, 3) and acknowledged(carol, 2), "they were not parted")
    asked = {request.get("CallSid") for request in lab.web.got("/other")}
    problems += run.equal("who runs the new document", asked, {record["sid"] for record in lab.baton.all("Calls")})
    problems += run.equal("ended", [lab.modify(sid, Status="completed") for sid in asked], [200] * len(asked))
    problems += lab.finish(20)
    run.check("Restcomm: ChildCallMode=Move, both parties run the new document", problems)
    run.gauges(lab)
    lab.end()


# ── Clients as they were written for the original ─────────────────────────────────────────────────────────────────

def node_client(directory):
    """A folder in which Node finds the HTTP client that the samples of old use."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "package.json"), "w") as out:
        json.dump({"private": True}, out)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "request@2.88.2"], cwd=directory, check=True,
                   capture_output=True, timeout=180)
    return os.path.join(directory, "node_modules")


def samples(run):
    """[restcomm-calls 1] [restcomm-calls 6] [restcomm-calls 41] [restcomm-refers 2] curl, Python and Node place a call
    with events, redirect it to a transfer, read it and its Refer, and end it. Each program is a few lines as an author of the original would have written."""
    lab = run.lab("clients of old", ["alice"])
    document = lab.web.serve("/hello.xml", '<Response><Say>Hello</Say><Pause length="60"/></Response>')
    other = lab.web.serve("/refer.xml", '<Response><Refer action="/after"><Sip>sip:carol@127.0.0.1:9</Sip></Refer></Response>')
    lab.web.serve("/after", '<Response><Pause length="60"/></Response>')
    environment = dict(os.environ, BASE=f"http://127.0.0.1:{lab.baton.http_port}", ACCOUNT_SID=server.ACCOUNT,
                       AUTH_TOKEN=server.TOKEN, TO=f"sip:alice@127.0.0.1:{lab.ports['alice']}", URL=document, OTHER=other,
                       CALLBACK=lab.web.url + "/events")
    try:
        environment["NODE_PATH"] = node_client(os.path.join(lab.directory, "node"))
    except (OSError, subprocess.SubprocessError) as error:
        run.check("Restcomm: the HTTP client of the Node sample", f"npm: {error}")
    for n, (name, program) in enumerate((("curl", ["bash", "client.sh"]), ("Python", ["python3", "client.py"]),
                                         ("Node", ["node", "client.js"]))):
        alice = Phone(os.path.join(lab.directory, name), "alice", compose.callee("alice", UP + ["REFER", 202, notify(100),
                      notify(200), "BYE"], user="alice"), lab.ports["alice"])
        seen = len(lab.web.got("/events"))
        done = subprocess.run([program[0], os.path.join(SAMPLES, program[1])], env=environment, capture_output=True, text=True, timeout=60)
        problems = [] if done.returncode == 0 else [f"exit {done.returncode}: {(done.stdout + done.stderr)[-400:]}"]
        problems += alice.end()
        procs.wait_until(lambda: len(lab.web.got("/events")) >= seen + 2, 15)
        events = [event.get("CallStatus") for event in lab.web.got("/events")[seen:]]
        problems += run.equal("events", events, ["in-progress", "completed"])
        problems += run.equal("Refers", lab.baton.settle("Refers", n + 1), n + 1)
        run.check(f"Restcomm: the samples' requests in {name}: create, redirect, read, Refers, end", problems)
    run.gauges(lab)
    lab.end()


CHECKS = [in_the_dialog, dialled, screened, refused, attended, asked_by_a_phone, held, moved, samples]
