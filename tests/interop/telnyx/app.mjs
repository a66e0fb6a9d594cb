// The same application with the JavaScript SDK; the same arguments.
import http from 'node:http';
import Telnyx from 'telnyx';

const [baseURL, apiKey, connection, to, target, port] = process.argv.slice(2);
const client = new Telnyx({ apiKey, baseURL });
const key = (await client.get('/public_key')).data.public;
const told = [];
let done;
const over = new Promise((resolve) => { done = resolve; setTimeout(resolve, 20000).unref(); });

async function hook(body, headers) {
  const event = await client.webhooks.unwrap(body, { headers, key });
  const { event_type: kind, payload } = event.data;
  told.push([kind, payload.sip_notify_response ?? null]);
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
    await client.calls.actions.refer(payload.call_control_id, { ...refer, custom_headers });
    await client.calls.actions.refer(payload.call_control_id, refer);
  }
  if (kind === 'call.hangup') done();
}

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    response.end();
    hook(body, request.headers).catch((error) => told.push([String(error), null]));
  });
});
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
const call = (await client.calls.dial({ connection_id: connection, from: '+4930100200', to })).data;
await over;
const status = (await client.calls.retrieveStatus(call.call_control_id)).data;
console.log(JSON.stringify({ told, record_type: call.record_type, alive: [call.is_alive, status.is_alive], ended: Boolean(status.end_time) }));
process.exit(0);
