"""A quiet caller that measures what a loaded system's users feel: one call after another, some a second, beside SIPp's
load, timed in microseconds (SIPp's own response times are whole milliseconds).

`probe.py SYSTEM PROBE SECONDS PER_SECOND [refer]`, addresses as 127.0.0.1:5060. Prints JSON: `ring` from INVITE to 180,
`refer` from REFER to 202 (where the callee expects one), `bye` from BYE to its 200, each a list of microseconds; and how
many calls failed.
"""

import json
import re
import socket
import sys
import time

BODY = ("v=0\r\no=probe 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 49170 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n")


def header_values(text, name):
    found = re.findall(rf"^{name}\s*:\s*(.*)\r$", text, re.IGNORECASE | re.MULTILINE)
    return [part.strip() for value in found for part in re.split(r",(?=\s*<)", value)]


class Probe:
    def __init__(self, system, own):
        host, _, port = system.rpartition(":")
        self.system, self.own = system, own
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own_host, _, own_port = own.rpartition(":")
        self.socket.bind((own_host, int(own_port)))
        self.socket.connect((host, int(port)))
        self.socket.settimeout(2.0)
        self.count = 0

    def request(self, method, uri, call, branch, cseq, to, routes=(), body="", extra=()):
        lines = [f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/UDP {self.own};branch=z9hG4bKprobe{call}{branch};rport"]
        lines += [f"Route: {route}" for route in routes]
        lines += ["Max-Forwards: 70", f"From: <sip:probe@{self.own}>;tag=p{call}", f"To: {to}",
                  f"Call-ID: probe{call}@{self.own}", f"CSeq: {cseq} {method}", f"Contact: <sip:probe@{self.own}>", *extra]
        if body:
            lines.append("Content-Type: application/sdp")
        lines += [f"Content-Length: {len(body)}", "", body]
        return "\r\n".join(lines).encode()

    def answer(self, call, codes, cseq):
        """Waits for one of these codes to this request; (code, text, time of arrival)."""
        while True:
            text = self.socket.recv(65536)
            now = time.perf_counter_ns()
            text = text.decode(errors="replace")
            if f"probe{call}@" in text and f" {cseq}\r\n" in text and text.startswith("SIP/2.0 "):
                code = int(text[8:11])
                if code in codes:
                    return code, text, now
                if code >= 300:
                    raise ValueError(f"answered {code}")

    def answer_notify(self, call):
        """Takes one NOTIFY and answers it."""
        while True:
            text = self.socket.recv(65536).decode(errors="replace")
            if text.startswith("NOTIFY ") and f"probe{call}@" in text:
                break
        lines = ["SIP/2.0 200 OK"]
        for name in ("Via", "From", "To", "Call-ID", "CSeq"):
            lines += re.findall(rf"^{name}\s*:.*(?=\r$)", text, re.IGNORECASE | re.MULTILINE)
        self.socket.send("\r\n".join(lines + ["Content-Length: 0", "", ""]).encode())

    def call(self, refer):
        self.count += 1
        call, target = self.count, f"sip:1000@{self.system}"
        start = time.perf_counter_ns()
        self.socket.send(self.request("INVITE", target, call, "i", 1, f"<{target}>", body=BODY))
        code, text, now = self.answer(call, {180, 200}, "1 INVITE")
        ring = now - start
        if code == 180:
            code, text, now = self.answer(call, {200}, "1 INVITE")
        to, contact = header_values(text, "To")[0], header_values(text, "Contact")[0]
        contact = re.search(r"<([^>]*)>", contact).group(1)
        routes = header_values(text, "Record-Route")[::-1]
        self.socket.send(self.request("ACK", contact, call, "a", 1, to, routes))
        time.sleep(0.01)
        times = {"ring": ring}
        if refer:
            start = time.perf_counter_ns()
            self.socket.send(self.request("REFER", contact, call, "r", 2, to, routes,
                                          extra=[f"Refer-To: <sip:carol@{self.own}>"]))
            times["refer"] = self.answer(call, {202}, "2 REFER")[2] - start
            self.answer_notify(call)
            self.answer_notify(call)
        start = time.perf_counter_ns()
        self.socket.send(self.request("BYE", contact, call, "b", 3, to, routes))
        times["bye"] = self.answer(call, {200}, "3 BYE")[2] - start
        return times


def main():
    system, own, seconds, rate = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    refer = sys.argv[5:] == ["refer"]
    probe, times, failed = Probe(system, own), {"ring": [], "refer": [], "bye": []}, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            for name, nanoseconds in probe.call(refer).items():
                times[name].append(round(nanoseconds / 1000, 1))
        except (OSError, ValueError, IndexError, AttributeError):
            failed += 1
        time.sleep(max(0.0, 1 / rate - (time.monotonic() - begun)))
    json.dump({**times, "failed": failed}, sys.stdout)


if __name__ == "__main__":
    main()
