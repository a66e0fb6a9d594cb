"""SIPp scenarios from a few words: what a phone does in one call, step by step.

    compose.callee("busy target", ["INVITE", 180, 200, "ACK", "REFER", 202, notify(100), notify(486, last=True), "BYE"])

A word in capitals is a request that must come (and is answered 200 when nothing else follows that answers it); a number is
the answer to the last request; `notify`, `bye`, `refer`, `pause`, `reinvite` are what the phone sends itself.
"""

import os

SDP = """v=0
o={user} 2890844526 2890844526 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a={direction}"""

REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted", 404: "Not Found",
           405: "Method Not Allowed", 407: "Proxy Authentication Required", 480: "Temporarily Unavailable",
           481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated", 603: "Decline"}


class Step:
    """Something the phone sends in the dialog."""

    def __init__(self, method, lines=(), body=None, content=None, expect=200):
        self.method, self.lines, self.body, self.content, self.expect = method, list(lines), body, content, expect


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


class Pause:
    def __init__(self, ms):
        self.ms = ms


def pause(ms):
    return Pause(ms)


class Optional_:
    """A message that may come here."""

    def __init__(self, request=None, response=None):
        self.request, self.response = request, response


def maybe(what):
    return Optional_(response=what) if isinstance(what, int) else Optional_(request=what)


def _send(text, retrans=True):
    attribute = ' retrans="500"' if retrans else ""
    return f"  <send{attribute}>\n    <![CDATA[\n{text}\n\n    ]]>\n  </send>\n"


def _answer(status, request, user, body=None):
    tag = "" if request not in ("INVITE",) else ";tag=[pid]s[call_number]"
    lines = [f"SIP/2.0 {status} {REASONS.get(status, 'Other')}", "[last_Via:]", "[last_Record-Route:]", "[last_From:]",
             f"[last_To:]{tag}", "[last_Call-ID:]", "[last_CSeq:]", f"Contact: <sip:{user}@[local_ip]:[local_port]>",
             "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY, OPTIONS", "Supported: replaces"]
    if body:
        lines += ["Content-Type: application/sdp", "Content-Length: [len]", "", body]
        return "\n".join(lines)
    return "\n".join(lines + ["Content-Length: 0"])


def callee(name, steps, user="bob", port=49174):
    """The XML of a phone that is called."""
    out = [f'<?xml version="1.0" encoding="UTF-8" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n<scenario name="{name}">\n']
    state = {"last": None, "inside": False, "cseq": 0}
    for at, step in enumerate(steps):
        following = steps[at + 1] if at + 1 < len(steps) else None
        if isinstance(step, str):
            first = step == "INVITE" and not state["inside"]
            if first:
                out.append('  <recv request="INVITE" rrs="true">\n    <action>\n'
                           '      <ereg regexp=".*" search_in="hdr" header="To:" assign_to="local"/>\n'
                           '      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="remote"/>\n'
                           '    </action>\n  </recv>\n')
            else:
                out.append(f'  <recv request="{step}"/>\n')
            state["last"] = step if first or step != "INVITE" else "re-INVITE"
            if step != "ACK" and not isinstance(following, int) and not isinstance(following, Step) and not first:
                body = SDP.format(user=user, port=port, direction="sendrecv") if step == "INVITE" else None
                out.append(_send(_answer(200, state["last"], user, body), retrans=step == "INVITE"))
        elif isinstance(step, int):
            body = SDP.format(user=user, port=port, direction="sendrecv") if step == 200 and "INVITE" in state["last"] else None
            final_invite = step >= 200 and "INVITE" in (state["last"] or "")
            out.append(_send(_answer(step, state["last"], user, body), retrans=final_invite))
            if state["last"] == "INVITE" and step >= 200:
                state["inside"] = True
        elif isinstance(step, Pause):
            out.append(f'  <pause milliseconds="{step.ms}"/>\n')
        elif isinstance(step, Optional_):
            what = f'response="{step.response}"' if step.response else f'request="{step.request}"'
            out.append(f'  <recv {what} optional="true"/>\n')
        else:
            state["cseq"] += 1
            out.append(_send(_request(step, user, state["cseq"], "[$local];tag=[pid]s[call_number]", "[$remote]")))
            out.append(f'  <recv response="{step.expect}"/>\n')
    return "".join(out) + '  <Reference variables="local,remote"/>\n</scenario>\n'


def _request(step, user, cseq, near, far):
    lines = [f"{step.method} [next_url] SIP/2.0", "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport", "[routes]",
             "Max-Forwards: 70", f"From:{near}", f"To:{far}", "Call-ID: [call_id]", f"CSeq: {cseq} {step.method}",
             f"Contact: <sip:{user}@[local_ip]:[local_port]>", *step.lines]
    if step.body:
        lines += [f"Content-Type: {step.content}", "Content-Length: [len]", "", step.body]
        return "\n".join(lines)
    return "\n".join(lines + ["Content-Length: 0"])


def caller(name, steps, service="1000", user="alice", port=49172):
    """The XML of a phone that calls; it begins with the INVITE by itself."""
    near = f'From: "Alice" <sip:{user}@[local_ip]:[local_port]>;tag=[pid]c[call_number]'
    far = f"To: <sip:{service}@[remote_ip]:[remote_port]>"
    invite = "\n".join([f"INVITE sip:{service}@[remote_ip]:[remote_port] SIP/2.0",
                        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport", "Max-Forwards: 70", near, far,
                        "Call-ID: [call_id]", "CSeq: 1 INVITE", f"Contact: <sip:{user}@[local_ip]:[local_port]>",
                        "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY", "Supported: replaces", "Content-Type: application/sdp",
                        "Content-Length: [len]", "", SDP.format(user=user, port=port, direction="sendrecv")])
    ack = "\n".join(["ACK [next_url] SIP/2.0", "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport", "[routes]",
                     "Max-Forwards: 70", near, far + "[peer_tag_param]", "Call-ID: [call_id]", "CSeq: {} ACK", "Content-Length: 0"])
    out = [f'<?xml version="1.0" encoding="UTF-8" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n<scenario name="{name}">\n', _send(invite),
           '  <recv response="100" optional="true"/>\n', '  <recv response="180" optional="true"/>\n',
           '  <recv response="183" optional="true"/>\n',
           '  <recv response="200" rrs="true">\n    <action>\n'
           '      <ereg regexp=".*" search_in="hdr" header="To:" assign_to="remote"/>\n    </action>\n  </recv>\n',
           _send(ack.format(1), retrans=False)]
    cseq, last = 1, None
    for at, step in enumerate(steps):
        following = steps[at + 1] if at + 1 < len(steps) else None
        if isinstance(step, str):
            out.append(f'  <recv request="{step}"/>\n')
            last = "re-INVITE" if step == "INVITE" else step
            if step != "ACK" and not isinstance(following, int):
                body = SDP.format(user=user, port=port, direction="sendrecv") if step == "INVITE" else None
                out.append(_send(_answer(200, last, user, body), retrans=step == "INVITE"))
        elif isinstance(step, int):
            body = SDP.format(user=user, port=port, direction="sendrecv") if step == 200 and last == "re-INVITE" else None
            out.append(_send(_answer(step, last, user, body), retrans=last == "re-INVITE"))
        elif isinstance(step, Pause):
            out.append(f'  <pause milliseconds="{step.ms}"/>\n')
        elif isinstance(step, Optional_):
            what = f'response="{step.response}"' if step.response else f'request="{step.request}"'
            out.append(f'  <recv {what} optional="true"/>\n')
        else:
            cseq += 1
            text = _request(step, user, cseq, f' "Alice" <sip:{user}@[local_ip]:[local_port]>;tag=[pid]c[call_number]', "[$remote]")
            out.append(_send(text))
            out.append(f'  <recv response="{step.expect}"/>\n')
            if step.method == "INVITE":
                out.append(_send(ack.format(cseq), retrans=False))
    # SIPp refuses a variable that nothing uses.
    return "".join(out) + '  <Reference variables="remote"/>\n</scenario>\n'


def write(directory, name, xml):
    """Keeps a scenario where SIPp can read it; its path."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, name + ".xml")
    with open(path, "w") as out:
        out.write(xml)
    return path
