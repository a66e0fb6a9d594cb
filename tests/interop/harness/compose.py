"""SIPp scenarios from a few words: what a phone does in one call, step by step.

    compose.callee("busy target", ["INVITE", 180, 200, "ACK", "REFER", 202, notify(100), notify(486), "BYE"])

A word in capitals is a request that must come (and is answered 200 when nothing else follows that answers it); a number is
the answer to the last such request, which may come after something that the phone sends itself; `notify`, `bye`, `refer`,
`reinvite`, `pause` are what the phone does by itself; `FINAL` takes NOTIFYs until one has a final status; `CANCELED` is
a CANCEL and what belongs to it; `CHALLENGED` asks the request before it for a digest; `IGNORED` leaves it without answer.
"""

import hashlib
import itertools
import os
import re

SDP = """v=0
o={user} 2890844526 2890844526 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a={direction}"""

REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 407: "Proxy Authentication Required", 480: "Temporarily Unavailable",
           481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated", 603: "Decline"}
VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport"

# Long: what a phone that stood still for a moment repeats, though its answer is there already, is answered once more,
# and SIPp ends a call in which the same answer comes again after another message.
T1_MS = 4000

# NOTIFYs come until one tells a final status: there may be none in between, as at most one goes a second.
FINAL = object()
# 407 to the request before it, which must come again. Whether its digest is right is for `digest_is_right`: SIPp itself looks
# at Authorization only.
CHALLENGED = object()
# Nothing: the request before it is not answered, whenever it comes again.
IGNORED = object()
CHALLENGE = 'Digest realm="interop", nonce="8f1c6e25a0b947d3", algorithm=MD5, qop="auth"'
# An ACK that a BYE may overtake.
ACK_MAYBE = object()
# A CANCEL comes: 200 to it, 487 to the INVITE, and the ACK of that.
CANCELED = object()


class Step:
    """Something the phone sends in the dialog."""

    def __init__(self, method, lines=(), body=None, content=None, expect=200):
        self.method, self.lines, self.body, self.content, self.expect = method, list(lines), body, content, expect


class Pause:
    def __init__(self, ms):
        self.ms = ms


def notify(status, last=None, event="refer"):
    last = status >= 200 if last is None else last
    state = "terminated;reason=noresource" if last else "active;expires=60"
    return Step("NOTIFY", [f"Event: {event}", f"Subscription-State: {state}"], f"SIP/2.0 {status} {REASONS.get(status, 'Other')}",
                "message/sipfrag;version=2.0")


def refer(to, referred_by="<sip:[service]@[local_ip]:[local_port]>", lines=(), expect=202):
    return Step("REFER", [f"Refer-To: {to}", f"Referred-By: {referred_by}", *lines], expect=expect)


def bye(expect=200):
    return Step("BYE", expect=expect)


def reinvite(direction="sendrecv", user="bob", port=49174):
    return Step("INVITE", [], SDP.format(user=user, port=port, direction=direction), "application/sdp")


def pause(ms):
    return Pause(ms)


def callee(name, steps, user="bob", port=49174):
    """The XML of a phone that is called: the first step is "INVITE"."""
    phone = _Phone(user, port, near="[$local];tag=[pid]s[call_number]", far="[$remote]")
    phone.play(steps)
    return phone.xml(name, ["local", "remote"])


def caller(name, steps, service="1000", user="alice", port=49172, lines=()):
    """The XML of a phone that calls; it begins with the INVITE by itself and takes the steps once the call is up. With a
    number in place of steps, the call is refused so."""
    me = f"<sip:{user}@[local_ip]:[local_port]>"
    phone = _Phone(user, port, near=f' "Alice" {me};tag=[pid]c[call_number]', far="[$remote]", cseq=1)
    out = phone.out
    out.append(_send("\n".join([f"INVITE sip:{service}@[remote_ip]:[remote_port] SIP/2.0", VIA, "Max-Forwards: 70",
                                f'From: "Alice" {me};tag=[pid]c[call_number]', f"To: <sip:{service}@[remote_ip]:[remote_port]>",
                                "Call-ID: [call_id]", "CSeq: 1 INVITE", f"Contact: {me}",
                                "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY", "Supported: replaces", *lines,
                                "Content-Type: application/sdp", "Content-Length: [len]", "", phone.sdp()])))
    out += [f'  <recv response="{status}" optional="true"/>\n' for status in (100, 180, 183)]
    if isinstance(steps, int):
        out.append(_recv(f'response="{steps}"', [_take("To", "remote")]))
        # This ACK belongs to the INVITE's transaction.
        out.append(_send("\n".join([f"ACK sip:{service}@[remote_ip]:[remote_port] SIP/2.0", "[last_Via:]", "Max-Forwards: 70",
                                    f'From: "Alice" {me};tag=[pid]c[call_number]', "[last_To:]", "Call-ID: [call_id]", "CSeq: 1 ACK",
                                    "Content-Length: 0"]), retrans=False))
        return phone.xml(name, ["remote"])
    out.append(_recv('response="200" rrs="true"', [_take("To", "remote")]))
    phone.ack()
    phone.play(steps)
    return phone.xml(name, ["remote"])


def digest_is_right(value, method, user, password):
    """Whether a Proxy-Authorization answers CHALLENGE (RFC 7616 section 3.4.1)."""
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', value))
    md5 = lambda *parts: hashlib.md5(":".join(parts).encode()).hexdigest()
    wanted = md5(md5(user, "interop", password), "8f1c6e25a0b947d3", given.get("nc", ""), given.get("cnonce", ""), "auth",
                 md5(method, given.get("uri", "")))
    return given.get("username") == user and given.get("response") == wanted


def write(directory, name, xml):
    """Keeps a scenario where SIPp can read it; its path."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name + ".xml")
    with open(path, "w") as out:
        out.write(xml)
    return path


class _Phone:
    """One phone in one dialog, as its scenario grows."""

    def __init__(self, user, port, near, far, cseq=0):
        self.user, self.port, self.near, self.far, self.cseq = user, port, near, far, cseq
        self.out, self.variables, self.labels = [], set(), itertools.count(1)
        self.last = self.kept = None        # the request to be answered; whether its header fields are kept
        self.calling = False                # it is the INVITE that began the call

    def xml(self, name, variables):
        # SIPp refuses a variable that nothing uses.
        return (f'<?xml version="1.0" encoding="UTF-8" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n<scenario name="{name}">\n'
                + "".join(self.out) + f'  <Reference variables="{",".join([*variables, *sorted(self.variables)])}"/>\n</scenario>\n')

    def sdp(self, direction="sendrecv"):
        return SDP.format(user=self.user, port=self.port, direction=direction)

    def play(self, steps):
        for at, step in enumerate(steps):
            following = steps[at + 1] if at + 1 < len(steps) else None
            if step is FINAL:
                self.until_final()
            elif step is CANCELED:
                self.canceled()
            elif step is ACK_MAYBE:
                self.out.append('  <recv request="ACK" optional="true"/>\n')
            elif isinstance(step, str):
                answered_later = isinstance(following, Step) and any(isinstance(later, int) for later in steps[at + 1:at + 3])
                self.request(step, keep=answered_later or CANCELED in steps)
                otherwise = answered_later or isinstance(following, int) or following in (CHALLENGED, IGNORED)
                if step != "ACK" and not otherwise:
                    self.answer(200)
            elif isinstance(step, int):
                self.answer(step)
            elif isinstance(step, Pause):
                self.out.append(f'  <pause milliseconds="{step.ms}"/>\n')
            elif step is CHALLENGED:
                self.challenge()
            elif step is IGNORED:
                pass
            else:
                self.send(step)

    def canceled(self):
        self.out.append(_recv('request="CANCEL"', []))
        self.last, self.kept, self.calling = "CANCEL", False, False
        self.answer(200)
        self.last, self.kept, self.calling = "INVITE", True, True
        self.answer(487)
        self.out.append(_recv('request="ACK"', []))

    def request(self, method, keep=False):
        """A request must come. What its answer repeats is kept where something else comes before the answer."""
        self.calling = method == "INVITE" and "[$local]" in self.near and self.last is None
        takes = [_take("To", "local"), _take("From", "remote")] if self.calling else []
        if keep:
            takes += [_take(name, self.variable("kept" + name.replace("-", ""))) for name in ("Via", "From", "To", "CSeq")]
        self.out.append(_recv(f'request="{method}"' + (' rrs="true"' if self.calling else ""), takes))
        self.last, self.kept = method, keep

    def answer(self, status, attributes=""):
        """Answers the last request."""
        tag = ";tag=[pid]s[call_number]" if self.calling else ""
        repeated = ["[last_Via:]", "[last_Record-Route:]", "[last_From:]", f"[last_To:]{tag}", "[last_Call-ID:]", "[last_CSeq:]"]
        if self.kept:
            repeated = ["Via:[$keptVia]", "From:[$keptFrom]", f"To:[$keptTo]{tag}", "Call-ID: [call_id]", "CSeq:[$keptCSeq]"]
        lines = [f"SIP/2.0 {status} {REASONS.get(status, 'Other')}", *repeated, f"Contact: <sip:{self.user}@[local_ip]:[local_port]>",
                 "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY, OPTIONS", "Supported: replaces"]
        final = self.last == "INVITE" and status >= 200
        if self.last == "INVITE" and status == 200:
            lines += ["Content-Type: application/sdp", "Content-Length: [len]", "", self.sdp()]
        else:
            lines += ["Content-Length: 0"]
        self.out.append(_send("\n".join(lines), retrans=final, attributes=attributes))

    def send(self, step):
        """A request of its own, its final response, and the ACK of an INVITE."""
        self.cseq += 1
        lines = [f"{step.method} [next_url] SIP/2.0", VIA, "[routes]", "Max-Forwards: 70", f"From:{self.near}", f"To:{self.far}",
                 "Call-ID: [call_id]", f"CSeq: {self.cseq} {step.method}", f"Contact: <sip:{self.user}@[local_ip]:[local_port]>",
                 *step.lines]
        body = [f"Content-Type: {step.content}", "Content-Length: [len]", "", step.body] if step.body else ["Content-Length: 0"]
        self.out.append(_send("\n".join(lines + body)))
        if step.method == "INVITE":
            self.out.append('  <recv response="100" optional="true"/>\n')
        self.out.append(f'  <recv response="{step.expect}"/>\n')
        if step.method == "INVITE":
            self.ack()

    def ack(self):
        self.out.append(_send("\n".join(["ACK [next_url] SIP/2.0", VIA, "[routes]", "Max-Forwards: 70", f"From:{self.near}",
                                         f"To:{self.far}", "Call-ID: [call_id]", f"CSeq: {self.cseq} ACK", "Content-Length: 0"]),
                              retrans=False))

    def until_final(self, at_most=5):
        # Written out: SIPp takes no message while it is at a jump.
        done = next(self.labels)
        for _ in range(at_most):
            final = self.variable(f"final{done}")
            self.out.append(_recv('request="NOTIFY"', [
                f'<ereg regexp="SIP/2.0 [2-6][0-9][0-9]" search_in="body" assign_to="{final}"/>']))
            self.last, self.kept, self.calling = "NOTIFY", False, False
            self.answer(200, f' next="{done}" test="{final}"')
        self.out.append(f'  <label id="{done}"/>\n')

    def challenge(self):
        lines = [f"SIP/2.0 407 {REASONS[407]}", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]",
                 f"Proxy-Authenticate: {CHALLENGE}", "Content-Length: 0"]
        self.out.append(_send("\n".join(lines), retrans=False))
        self.out.append(_recv(f'request="{self.last}"', []))

    def variable(self, name):
        self.variables.add(name)
        return name


def _take(header, variable):
    return f'<ereg regexp=".*" search_in="hdr" header="{header}:" assign_to="{variable}"/>'


def _recv(what, actions):
    if not actions:
        return f"  <recv {what}/>\n"
    return f"  <recv {what}>\n    <action>\n" + "".join(f"      {action}\n" for action in actions) + "    </action>\n  </recv>\n"


def _send(text, retrans=True, attributes=""):
    attributes += f' retrans="{T1_MS}"' if retrans else ""
    return f"  <send{attributes}>\n    <![CDATA[\n{text}\n\n    ]]>\n  </send>\n"
