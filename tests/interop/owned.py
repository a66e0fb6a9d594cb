"""Checks of calls that Baton owns, with SIPp as the phones: placed and transferred by the API, bridged, transferred by
phones, taken over by Replaces. Used by `run`."""

import time
import urllib.parse

from harness import procs
from harness.compose import ACK_MAYBE, CANCELED, CHALLENGED, FINAL, bye, digest_is_right, notify, pause, refer, reinvite
from lab import reported, tag, values

UP = ["INVITE", 180, 200, "ACK"]
MOVED = ["INVITE", "ACK"]       # a re-INVITE: talks to somebody else from now on
DONE = ("202", "200", "in-progress")

# A phone that the API transfers: what it does with the REFER, and the three values that must come of it.
OUTCOMES = [
    ("NOTIFY 200", [202, notify(100), notify(200), "BYE"], DONE),
    ("NOTIFY 486", [202, notify(100), notify(486), "BYE"], ("202", "486", "busy")),
    ("NOTIFY 404", [202, notify(100), notify(404), "BYE"], ("202", "404", "failed")),
    ("NOTIFY 480", [202, notify(100), notify(480), "BYE"], ("202", "480", "no-answer")),
    ("REFER refused 405", [405, "BYE"], ("405", None, None)),
    ("no NOTIFY", [202, "BYE"], ("202", None, None)),
    ("BYE before the final NOTIFY", [202, notify(180), bye()], ("202", "180", "canceled")),
    ("BYE after the final NOTIFY", [202, notify(100), notify(200), bye()], DONE),
    ("NOTIFY before the 202", [notify(100), 202, notify(200), "BYE"], DONE),
    ("REFER challenged with 407", [CHALLENGED, 202, notify(200), "BYE"], DONE),
]


def api_refer(run):
    """[restcomm-refers 4] [rcml 6.3] REST calls; the <Refer> of each one's document goes out in its dialog; record and action
    request say the same. All at once, as one of them takes the whole wait for a NOTIFY."""
    names = [f"bob{at}" for at in range(len(OUTCOMES))]
    lab = run.lab("API transfers", names)
    calls = {}
    for name, (_, steps, _) in zip(names, OUTCOMES):
        # Baton's BYE does not come before that of a phone that hangs up itself.
        waits = steps[-1] == "BYE"
        lab.web.serve(f"/after-{name}", "<Response/>" if waits else '<Response><Pause length="5"/></Response>')
        url = lab.document(f"/start-{name}", "sip:carol@127.0.0.1:9", f"/after-{name}", ' username="bob" password="secret"')
        lab.callee(name, UP + ["REFER", *steps])
        calls[name] = lab.place(lab.uri(name), url)
    limit = time.monotonic() + 45
    phones = dict(zip(names, lab.phones))
    # The one without NOTIFY comes last in time.
    for name, (label, steps, wanted) in sorted(zip(names, OUTCOMES), key=lambda pair: pair[1][0] == "no NOTIFY"):
        patience = limit - time.monotonic() if label == "no NOTIFY" else 15
        problems = run.equal("status", calls[name]["status"], "queued")
        procs.wait_until(lambda: lab.web.got(f"/after-{name}"), patience)
        problems += phones[name].end(5)
        after = lab.web.got(f"/after-{name}")
        problems += run.equal("action requests", [reported(request) for request in after], [wanted])
        mine = lambda: [values(r) for r in lab.refers() if r["call_sid"] == calls[name]["sid"]]
        procs.wait_until(lambda: mine() == [wanted], 15)
        problems += run.equal("Refer records", mine(), [wanted])
        if CHALLENGED in steps:
            answer = phones[name].field("Proxy-Authorization", "REFER")
            problems += run.unless(digest_is_right(answer, "REFER", "bob", "secret"), f"the digest is wrong: {answer}")
        problems += run.equal("document requests", len(lab.web.got(f"/start-{name}")), 1)
        procs.wait_until(lambda: lab.call(calls[name]["sid"])["status"] == "completed", 15)
        problems += run.equal("Call", lab.call(calls[name]["sid"])["status"], "completed")
        run.check(f"API transfer: {label}: {', '.join(str(v) for v in wanted)}", problems)
    run.gauges(lab)
    lab.end()


def api_refer_trunk(run):
    """[C-154] [R-033] The credentials of the trunk answer the challenge where the document names none."""
    lab = run.lab("API transfer with the trunk's credentials", ["bob"],
                  trunk={"bob": 'auth = { user = "baton", password = "trunk secret" }'})
    lab.web.serve("/after", "<Response/>")
    bob = lab.callee("bob", UP + ["REFER", CHALLENGED, 202, notify(200), "BYE"])
    lab.place("sip:bob@example.com", lab.document("/start", "sip:carol@127.0.0.1:9", "/after"))
    problems = lab.finish() + lab.outcome(DONE)
    answer = bob.field("Proxy-Authorization", "REFER")
    problems += run.unless(digest_is_right(answer, "REFER", "baton", "trunk secret"), f"the digest is wrong: {answer}")
    run.check("API transfer: the trunk's own credentials answer the 407", problems)
    run.gauges(lab)
    lab.end()


def api_refer_bridged(run):
    """[rcml 35] [R-051] A bridged call, transferred by the API: its caller gets the REFER."""
    lab = run.lab("API transfer of a bridged call", ["alice", "bob"])
    lab.web.serve("/after", "<Response/>")
    # They are parted before Bob is ended, by re-INVITEs; his BYE does not wait for the end of his.
    lab.callee("bob", UP + ["INVITE", ACK_MAYBE, "BYE"])
    alice = lab.caller("alice", "bob", [*MOVED, "REFER", 202, notify(100), notify(200), "BYE"])
    alice.field("CSeq", "ACK")
    lab.baton.settle("Calls", 2, Status="in-progress")
    inbound = next(call for call in lab.baton.all("Calls") if call["direction"] == "inbound")
    status = lab.modify(inbound["sid"], Url=lab.document("/start", "sip:carol@127.0.0.1:9", "/after"))
    problems = run.equal("modification", status, 200) + lab.finish() + lab.outcome(DONE)
    problems += run.equal("action requests", [reported(request) for request in lab.web.got("/after")], [DONE])
    run.check("API transfer of a bridged call: REFER to its caller, BYE to both", problems)
    run.gauges(lab)
    lab.end()


def bridged(run):
    """[C-148] A back-to-back call: nothing of one leg's identifiers on the other, both end."""
    lab = run.lab("owned call", ["alice", "bob"])
    bob = lab.callee("bob", UP + ["BYE"])
    alice = lab.caller("alice", "bob", [pause(300), bye()])
    problems = lab.finish()
    call_id = lambda phone: {line for line in phone.messages().splitlines() if line.startswith("Call-ID:")}
    problems += run.equal("Call-IDs shared by the legs", call_id(alice) & call_id(bob), set())
    problems += run.equal("completed Calls", lab.baton.settle("Calls", 2, Status="completed"), 2)
    run.check("owned call: two legs, no shared Call-ID, two records", problems)
    run.gauges(lab)
    lab.end()


def relay_owned(run):
    """[R-024] A REFER relayed through an owned call, from either side, with its NOTIFYs; and one that is refused."""
    refers = [refer("<sip:carol@127.0.0.1:9>"), "NOTIFY", "NOTIFY", bye()]
    referred = ["REFER", 202, notify(100), notify(200), "BYE"]
    for side, alices, bobs in (("caller", refers, referred), ("callee", referred, refers)):
        lab = run.lab(f"REFER of the {side} relayed on an owned call", ["alice", "bob"])
        lab.callee("bob", UP + bobs)
        lab.caller("alice", "bob", alices)
        problems = lab.finish() + lab.outcome(DONE)
        run.check(f"REFER of the {side} relayed on an owned call, NOTIFYs back", problems)
        run.gauges(lab)
        lab.end()

    lab = run.lab("REFER refused on an owned call", ["alice", "bob"])
    lab.callee("bob", UP + ["REFER", 405, "BYE"])
    lab.caller("alice", "bob", [refer("<sip:carol@127.0.0.1:9>", expect=405), bye()])
    problems = lab.finish() + lab.outcome(("405", None, None))
    run.check("REFER relayed on an owned call and refused", problems)
    run.gauges(lab)
    lab.end()


def substitute_blind(run):
    """[R-052] [R-064] [R-068] Whoever refers, Baton performs it: the other party talks to the target."""
    for side in ("caller", "callee"):
        lab = run.lab(f"blind transfer by the {side} performed", ["alice", "bob", "carol"],
                      {"alice": 'mode = "terminate"', "bob": 'mode = "terminate"'})
        referrer = [refer(f"<{lab.at('carol')}>"), FINAL, bye()]
        survivor = [*MOVED, pause(200), bye()]
        lab.callee("carol", UP + ["BYE"])
        lab.callee("bob", UP + (survivor if side == "caller" else referrer))
        lab.caller("alice", "bob", referrer if side == "caller" else survivor)
        problems = lab.finish() + lab.outcome(DONE)
        run.check(f"blind transfer by the {side}, performed by Baton", problems)
        run.gauges(lab)
        lab.end()


def substitute_busy(run):
    """[R-056] [R-057] The target is busy: the call stays up, and hold and resume work."""
    lab = run.lab("blind transfer to a busy phone", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    lab.callee("carol", ["INVITE", 486, "ACK"])
    lab.callee("bob", UP + [*MOVED, *MOVED, "BYE"])
    lab.caller("alice", "bob", [refer(f"<{lab.at('carol')}>"), FINAL, reinvite("sendonly", "alice", 49172),
                                reinvite("sendrecv", "alice", 49172), bye()])
    problems = lab.finish() + lab.outcome(("202", "486", "busy"))
    run.check("blind transfer to a busy phone: the call stays up, hold and resume work", problems)
    run.gauges(lab)
    lab.end()


def substitute_leaving(run):
    """[X-04] [X-08] One of the two hangs up while the target rings."""
    # The referrer goes right after the 202; its leg is still told the result.
    lab = run.lab("referrer hangs up early", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    # She answers late: while Alice's BYE is out there is no NOTIFY but the first.
    lab.callee("carol", ["INVITE", 100, pause(3000), 200, "ACK", "BYE"])
    lab.callee("bob", UP + [*MOVED, pause(200), bye()])
    lab.caller("alice", "bob", [refer(f"<{lab.at('carol')}>"), "NOTIFY", bye(), FINAL])
    problems = lab.finish() + lab.outcome(DONE)
    run.check("referrer hangs up right after the 202: the transfer completes", problems)
    run.gauges(lab)
    lab.end()

    # The survivor goes: the target is cancelled, the referrer told and ended.
    lab = run.lab("survivor hangs up while it rings", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    lab.callee("carol", ["INVITE", 180, CANCELED])
    lab.callee("bob", UP + [pause(3000), bye()])
    lab.caller("alice", "bob", [refer(f"<{lab.at('carol')}>"), FINAL, "BYE"])
    problems = lab.finish()
    problems += run.equal("Refer status", [r.get("call_status") for r in lab.refers()], ["canceled"])
    run.check("survivor hangs up while the target rings: CANCEL, NOTIFY 487, BYE", problems)
    run.gauges(lab)
    lab.end()


def replaces(phone):
    """A phone's dialog in a Replaces, as the other side of it is told."""
    remote, local = tag(phone.field("To", "SIP/2.0 200")), tag(phone.field("From", "INVITE"))
    return f"{phone.field('Call-ID', 'INVITE')};to-tag={remote};from-tag={local}"


def attended(run):
    """[R-085] [R-086] Alice talks to Bob and to Carol, then refers Bob to Carol with Replaces: the two calls through Baton
    become one, without any INVITE, and Alice's consultation is ended for her. The calls may begin on two shards (law 2)."""
    for mode, label in (("terminate", "performed by Baton"), ("relay", "relayed, in the identifiers that Carol knows")):
        done = mode == "terminate"
        lab = run.lab(f"attended transfer {mode}", ["alice", "bob", "carol"], {"alice": f'mode = "{mode}"'}, doubles=["alice"])
        carol = lab.callee("carol", UP + ([*MOVED, "BYE"] if done else ["BYE"]))
        bob = lab.callee("bob", UP + ([*MOVED, pause(200), bye()] if done else ["REFER", 202, notify(100), notify(200), "BYE"]))
        consultation = lab.caller("alice", "carol", ["BYE"] if done else [pause(6000), bye()], double=True)
        consultation.field("CSeq", "ACK")
        named = urllib.parse.quote(replaces(consultation), safe="")
        lab.caller("alice", "bob", [refer(f"<{lab.at('carol')}?Replaces={named}>"), FINAL, bye()])
        problems = lab.finish() + lab.outcome(DONE)
        if not done:
            # [R-025] [C-152]
            found = urllib.parse.unquote(bob.field("Refer-To", "REFER"))
            problems += run.unless(carol.field("Call-ID", "INVITE") in found, f"Refer-To at Bob's: {found}")
        run.check(f"attended transfer with Replaces between two calls, {label}", problems)
        run.gauges(lab)
        lab.end()


def attended_elsewhere(run):
    """[R-088] The dialog to be replaced is not Baton's: the target gets an INVITE with Replaces."""
    lab = run.lab("attended transfer elsewhere", ["alice", "bob", "carol"], {"alice": 'mode = "terminate"'})
    carol = lab.callee("carol", UP + ["BYE"])
    lab.callee("bob", UP + [*MOVED, pause(200), bye()])
    lab.caller("alice", "bob", [refer(f"<{lab.uri('carol')}?Replaces=elsewhere%40pbx%3Bto-tag%3Dt1%3Bfrom-tag%3Df1>"), FINAL, bye()])
    problems = lab.finish() + lab.outcome(DONE)
    problems += run.equal("Replaces at Carol's", carol.field("Replaces", "INVITE"), "elsewhere@pbx;to-tag=t1;from-tag=f1")
    run.check("attended transfer of a call elsewhere: INVITE with Replaces", problems)
    run.gauges(lab)
    lab.end()


def takeover(run):
    """[R-090] [R-091] An INVITE with Replaces from another phone of Alice's takes her place: Bob talks to that one, the first
    gets BYE."""
    lab = run.lab("INVITE with Replaces", ["alice", "bob"], doubles=["alice"])
    lab.callee("bob", UP + [*MOVED, "BYE"])
    alice = lab.caller("alice", "bob", ["BYE"])
    alice.field("CSeq", "ACK")
    lab.caller("alice", "bob", [pause(300), bye()], double=True, lines=[f"Replaces: {replaces(alice)}", "Require: replaces"])
    run.check("INVITE with Replaces takes a party's place", lab.finish())
    run.gauges(lab)
    lab.end()


def live_modification(run):
    """[restcomm-calls 10] A REST call is redirected to another document, and ended; its status callbacks."""
    lab = run.lab("live call modification", ["bob"])
    url = lab.web.serve("/wait", '<Response><Pause length="60"/></Response>')
    other = lab.web.serve("/other", '<Response><Pause length="60"/></Response>')
    lab.callee("bob", UP + ["BYE"])
    call = lab.place(lab.uri("bob"), url, StatusCallback=lab.web.url + "/status",
                     StatusCallbackEvent="initiated,ringing,answered,completed")
    procs.wait_until(lambda: lab.web.got("/wait"), 10)
    problems = run.equal("redirect", lab.modify(call["sid"], Url=other), 200)
    procs.wait_until(lambda: lab.web.got("/other"), 10)
    problems += run.equal("requests to the new document", len(lab.web.got("/other")), 1)
    problems += run.equal("end", lab.modify(call["sid"], Status="completed"), 200)
    problems += lab.finish()
    procs.wait_until(lambda: len(lab.web.got("/status")) >= 4, 15)
    problems += run.equal("status callbacks", [(r.get("CallStatus"), r.get("SequenceNumber")) for r in lab.web.got("/status")],
                          [("queued", "0"), ("ringing", "1"), ("in-progress", "2"), ("completed", "3")])
    run.check("live call modification and status callbacks", problems)
    run.gauges(lab)
    lab.end()


CHECKS = [bridged, relay_owned, substitute_blind, substitute_busy, substitute_leaving, attended, attended_elsewhere, takeover,
          live_modification, api_refer, api_refer_trunk, api_refer_bridged]
