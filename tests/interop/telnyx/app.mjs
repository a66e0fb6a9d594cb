// The same application with the JavaScript SDK; the same arguments.
import http from 'node:http';
import Telnyx from 'telnyx';

const [baseURL, apiKey, connection, to, target, port] = process.argv.slice(2);
let sent = 0;
const counted = (url, init) => { sent += 1; return fetch(url, init); };
const client = new Telnyx({ apiKey, baseURL, fetch: counted });
const key = (await client.get('/public_key')).data.public;
const told = [];
let done;
const over = new Promise((resolve) => { done = resolve; setTimeout(resolve, 60000).unref(); });

async function hook(body, headers, response) {
  const event = await client.webhooks.unwrap(body, { headers, key });
  const { event_type: kind, payload } = event.data;
  // Noted before it is answered: the next event of the call comes as soon as this one has its answer.
  told.push([kind, payload.sip_notify_response ?? null]);
  response.end();
  if (kind === 'call.initiated') {
    for (const wrong of [body.replace('bridging', 'Bridging'), body + ' ']) {
      try {
        await client.webhooks.unwrap(wrong, { headers, key });
        told.push(['a forged event was taken', null]);
      } catch { /* as it should be */ }
    }
  }
  if (kind === 'call.answered') {
    const custom_headers = [{ name: 'X-Ticket', value: '9/10' }];
    const refer = { sip_address: target, command_id: 'job-7' };
    const credentials = { sip_auth_username: 'desk', sip_auth_password: 'secret' };
    await client.calls.actions.refer(payload.call_control_id, { ...refer, ...credentials, custom_headers });
    await client.calls.actions.refer(payload.call_control_id, refer);
  }
  if (kind === 'call.hangup') done();
}

// The status that a faulty request is refused with, and how often the SDK sent it.
async function refused(act) {
  sent = 0;
  try {
    await act();
    return null;
  } catch (error) {
    return [error.status, sent];
  }
}

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    hook(body, request.headers, response).catch((error) => { told.push([String(error), null]); response.end(); });
  });
});
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
const from = '+4930100200';
const refusals = [
  await refused(() => client.calls.actions.refer('v3:AAAAAAAAAAAAAAAAAAAAAA', { sip_address: target })),
  await refused(() => client.calls.dial({ connection_id: 'unheard of', from, to })),
];
const call = (await client.calls.dial({ connection_id: connection, from, to })).data;
await over;
const status = (await client.calls.retrieveStatus(call.call_control_id)).data;
const alive = [call.is_alive, status.is_alive];
console.log(JSON.stringify({ told, record_type: call.record_type, alive, ended: Boolean(status.end_time), refused: refusals }));
process.exit(0);
