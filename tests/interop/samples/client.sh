# The requests of a client of old, in curl: a call with events, another document, what is known of call and transfer, the end.
set -eu
calls=$BASE/restcomm/2012-04-24/Accounts/$ACCOUNT_SID/Calls
post() { curl -sf -X POST -u "$ACCOUNT_SID:$AUTH_TOKEN" "$@"; }
get() { curl -sf -X GET -u "$ACCOUNT_SID:$AUTH_TOKEN" "$@"; }
value() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }
await() { for _ in $(seq 100); do [ "$(get "$1" | grep -c "$2")" -gt 0 ] && return; sleep 0.1; done; echo "no $2 at $1"; exit 1; }

sid=$(post "$calls.json" -d 'From=16175551212' -d "To=$TO" -d "Url=$URL" -d "StatusCallback=$CALLBACK" \
    -d 'StatusCallbackEvent=answered,completed' | value sid)
await "$calls/$sid.json" '"status":"in-progress"'
post "$calls/$sid.json" -d "Url=$OTHER" -d 'Method=GET' >/dev/null
refers=$BASE/restcomm/2012-04-24/Accounts/$ACCOUNT_SID/Refers
await "$refers?CallSid=$sid" '"notify_sip_response_code":"200"'
refer=$(get "$refers?CallSid=$sid" | grep -o '"sid":"RF[0-9a-f]*"' | cut -d'"' -f4)
get "$refers/$refer" | grep -q '"call_status":"in-progress"'
post "$calls/$sid.json" -d 'Status=completed' >/dev/null
await "$calls.json?CallSid=$sid&PageSize=1" '"status":"completed"'
