"""Checks of owned calls with baresip as the phones: it refers by its own menu, is referred, registers and is called by its
name. Used by `run`."""

import contextlib
import hashlib

from harness import procs
from harness.baresip import Phone
from harness.compose import bye, pause
from owned import DONE, MOVED, UP

# With the MD5 hash alone no other algorithm is offered: this baresip takes no challenge at all beside one with SHA-256.
PASSWORD = "annas-secret"
REGISTRAR = f"""
[registrar]
realm = "interop"
refer = "terminate"
[[client]]
user = "anna"
ha1 = "{hashlib.md5(f'anna:interop:{PASSWORD}'.encode()).hexdigest()}"
account = "AC00000000000000000000000000000001"
[[route]]
from = ["clients"]
user = "anna"
to = ["clients"]
"""


@contextlib.contextmanager
def phones(lab, *names, **options):
    """baresips at the trunks of these names, all of whose calls go through the server."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Phone(lab.directory, name, server=lab.baton.address, port=lab.ports[name], **options))
               for name in names]


def registered(phone):
    """It registers when it starts, before anybody listens to its events."""
    return phone.wait_for_trace(lambda message: message.start.startswith("SIP/2.0 200") and message.get("CSeq").endswith("REGISTER"))


def talking(phone, count=1):
    return procs.wait_until(lambda: phone.calls() == count, 10, every=0.1)


def baresip_refers(run):
    """[R-052] [R-053] [R-075] baresip's own blind transfer, performed by Baton; all three are baresip."""
    lab = run.lab("baresip transfers blind", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    with phones(lab, "alice", "bob", "carol") as (alice, bob, carol):
        call = alice.call("bob")
        alice.transfer("carol")
        problems = run.unless(carol.wait("CALL_ESTABLISHED"), "Carol's phone was not called")
        told = lambda: alice.sipfrags(call)
        procs.wait_until(lambda: any(" 200 " in line for line in told()), 10)
        problems += run.unless(told() and told()[0].startswith("SIP/2.0 100"), f"NOTIFYs at Alice's: {told()}")
        problems += run.equal("last NOTIFY at Alice's", told()[-1:], ["SIP/2.0 200 OK"])
        problems += lab.outcome(DONE)
        # The referrer hangs up, or is released by Baton after 5 s; the two others go on.
        alice.leave(call)
        problems += run.unless(talking(alice, 0), "Alice's phone is still in a call")
        problems += run.equal("calls of Bob and Carol", (bob.calls(), carol.calls()), (1, 1))
        bob.hangup()
        problems += run.unless(talking(carol, 0), "Carol's phone is still in a call")
    run.check("baresip transfers blind, Baton performs it", problems)
    run.gauges(lab)
    lab.end()


def baresip_attended(run):
    """[R-085] [R-086] [R-065] baresip holds Bob, consults Carol, and refers Bob to that call with Replaces."""
    lab = run.lab("baresip transfers attended", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    with phones(lab, "alice", "bob", "carol") as (alice, bob, carol):
        first = alice.call("bob")
        alice.hold()
        second = alice.call("carol")
        alice.transfer_attended(lab.at("carol"), first, second)
        procs.wait_until(lambda: any(" 200 " in line for line in alice.sipfrags(first)), 10)
        problems = run.equal("last NOTIFY at Alice's", alice.sipfrags(first)[-1:], ["SIP/2.0 200 OK"])
        problems += lab.outcome(DONE)
        problems += run.unless(alice.wait("CALL_CLOSED", 10, id=second), "the consultation goes on")
        alice.leave(first)
        problems += run.unless(talking(alice, 0), "Alice's phone is still in a call")
        problems += run.equal("calls of Bob and Carol", (bob.calls(), carol.calls()), (1, 1))
        carol.hangup()
        problems += run.unless(talking(bob, 0), "Bob's phone is still in a call")
    run.check("baresip transfers attended: the two calls become one", problems)
    run.gauges(lab)
    lab.end()


def client(run):
    """[C-156] [C-199] [restcomm-calls 5] baresip registers with a digest and is called as client:anna; then the API transfers
    it: it calls Bob, through the server again, and says so in NOTIFYs."""
    lab = run.lab("client called and transferred", ["bob"], extra=REGISTRAR)
    lab.callee("bob", UP + [pause(300), bye()])
    wait = lab.web.serve("/wait", '<Response><Pause length="60"/></Response>')
    lab.web.serve("/after", "<Response/>")
    with Phone(lab.directory, "anna", server=lab.baton.address, domain=lab.baton.address, password=PASSWORD,
               register=True) as anna:
        problems = run.unless(registered(anna), "not registered")
        call = lab.place("client:anna", wait)
        problems += run.unless(anna.wait("CALL_ESTABLISHED", direction="incoming"), "client:anna was not called")
        problems += run.unless(procs.wait_until(lambda: lab.web.got("/wait"), 10), "the document was not fetched")
        problems += run.equal("modification", lab.modify(call["sid"], Url=lab.document("/refer", lab.at("bob"), "/after")), 200)
        problems += lab.finish() + lab.outcome(DONE)
        procs.wait_until(lambda: lab.web.got("/after"), 10)
        problems += run.equal("action requests", len(lab.web.got("/after")), 1)
        problems += run.unless(talking(anna, 0), "the phone is still in a call")
    run.check("POST Calls to client:anna, a baresip that registered; transferred by the API", problems)
    run.gauges(lab)
    lab.end()


def client_refers(run):
    """[restcomm-calls] A client transfers a call of its own; what the registrar's policy says is done."""
    lab = run.lab("client transfers", ["bob", "carol"], extra=REGISTRAR)
    lab.callee("carol", UP + ["BYE"])
    lab.callee("bob", UP + [*MOVED, pause(300), bye()])
    with Phone(lab.directory, "anna", server=lab.baton.address, domain=lab.baton.address, password=PASSWORD,
               register=True) as anna:
        problems = run.unless(registered(anna), "not registered")
        call = anna.call("bob")
        anna.transfer("carol")
        procs.wait_until(lambda: any(" 200 " in line for line in anna.sipfrags(call)), 10)
        problems += lab.finish()
        problems += lab.outcome(DONE)
    run.check("a registered baresip transfers its call, Baton performs it", problems)
    run.gauges(lab)
    lab.end()


CHECKS = [baresip_refers, baresip_attended, client, client_refers]
