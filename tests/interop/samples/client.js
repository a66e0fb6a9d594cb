// The requests of a client of old, in Node: a call with events, another document, what is known of call and transfer, the end.
const request = require('request');

const { BASE, ACCOUNT_SID, AUTH_TOKEN, TO, URL: DOCUMENT, OTHER, CALLBACK } = process.env;
const account = `${BASE}/restcomm/2012-04-24/Accounts/${ACCOUNT_SID}`;

function send(method, path, form) {
  return new Promise((resolve, reject) => {
    const options = { method, url: account + path, auth: { user: ACCOUNT_SID, pass: AUTH_TOKEN }, form };
    request(options, (error, response, body) => {
      if (error) reject(error);
      else if (response.statusCode !== 200) reject(new Error(`${response.statusCode} ${body}`));
      else resolve(JSON.parse(body));
    });
  });
}

async function until(condition) {
  for (let n = 0; n < 100; n++) {
    if (await condition()) return;
    await new Promise((wake) => setTimeout(wake, 100));
  }
  throw new Error('it did not happen');
}

async function main() {
  const call = await send('POST', '/Calls.json', {
    From: '16175551212', To: TO, Url: DOCUMENT, StatusCallback: CALLBACK, StatusCallbackEvent: 'answered,completed',
  });
  const one = `/Calls/${call.sid}.json`;
  await until(async () => (await send('GET', one)).status === 'in-progress');
  await send('POST', one, { Url: OTHER, Method: 'GET' });
  const transfers = `/Refers?CallSid=${call.sid}`;
  await until(async () => (await send('GET', transfers)).refers.some((refer) => refer.notify_sip_response_code === '200'));
  const listed = (await send('GET', transfers)).refers[0];
  const refer = await send('GET', `/Refers/${listed.sid}`);
  if (refer.call_status !== 'in-progress') throw new Error(JSON.stringify(refer));
  await send('POST', one, { Status: 'completed' });
  await until(async () => (await send('GET', `/Calls.json?PageSize=1&CallSid=${call.sid}`)).calls[0].status === 'completed');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
