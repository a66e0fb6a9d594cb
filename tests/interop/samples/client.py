"""The requests of a client of old, in Python: a call with events, another document, what is known of call and transfer, the end."""

import json
import os
import time
from base64 import b64encode
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

ACCOUNT_SID, AUTH_TOKEN = os.environ["ACCOUNT_SID"], os.environ["AUTH_TOKEN"]
HEADERS = {"Authorization": "Basic " + b64encode(f"{ACCOUNT_SID}:{AUTH_TOKEN}".encode()).decode("ascii"),
           "Content-type": "application/x-www-form-urlencoded", "Accept": "text/plain"}
ACCOUNT = f"/restcomm/2012-04-24/Accounts/{ACCOUNT_SID}"


def request(method, path, parameters=None):
    connection = HTTPConnection(urlsplit(os.environ["BASE"]).netloc)
    connection.request(method, ACCOUNT + path, urlencode(parameters or {}), headers=HEADERS)
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, (response.status, text)
    return json.loads(text)


def wait(condition):
    for _ in range(100):
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit("it did not happen")


call = request("POST", "/Calls.json", {"From": "16175551212", "To": os.environ["TO"], "Url": os.environ["URL"],
                                       "StatusCallback": os.environ["CALLBACK"], "StatusCallbackEvent": "answered,completed"})
assert call["status"] == "queued" and call["direction"] == "outbound-api", call
one = f"/Calls/{call['sid']}.json"
wait(lambda: request("GET", one)["status"] == "in-progress")
request("POST", one, {"Url": os.environ["OTHER"], "Method": "GET"})
transfers = f"/Refers?{urlencode({'CallSid': call['sid']})}"
wait(lambda: any(refer.get("notify_sip_response_code") == "200" for refer in request("GET", transfers)["refers"]))
refer = request("GET", f"/Refers/{request('GET', transfers)['refers'][0]['sid']}")
assert (refer["refer_sip_response_code"], refer["call_status"]) == ("202", "in-progress"), refer
request("POST", one, {"Status": "completed"})
wait(lambda: request("GET", "/Calls.json?PageSize=1&CallSid=" + call["sid"])["calls"][0]["status"] == "completed")
