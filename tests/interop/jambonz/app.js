// An application server and REST client of the vendor's SDKs: it answers hooks with verbs, verifies every
// signature with both of them and over the bytes as they came, checks hooks against the vendor's schemas, and notes what came. `GET /client/…` makes the SDK's
// REST client act; `GET /notes` shows the notes.
//
//     node app.js PORT SECRET BATON_URL ACCOUNT TOKEN

const fs = require('fs');
const path = require('path');
const express = require('express');
const Ajv = require('ajv/dist/2020');
const jambonz = require('@jambonz/node-client');
const { createHmac } = require('crypto');
const { WebhookResponse: SdkResponse } = require('@jambonz/sdk/webhook');
const { JambonzClient } = require('@jambonz/sdk/client');

const [port, secret, baseUrl, account, token] = process.argv.slice(2);
const { WebhookResponse } = jambonz;
const client = jambonz(account, token, { baseUrl });
const sdk = new JambonzClient({ baseUrl, accountSid: account, apiKey: token });
const app = express();
const notes = [];

const ajv = new Ajv({ strict: false });
const callbacks = path.join(path.dirname(require.resolve('@jambonz/schema/package.json')), 'callbacks');
for (const name of fs.readdirSync(callbacks)) {
  ajv.addSchema(JSON.parse(fs.readFileSync(path.join(callbacks, name))));
}
const complaints = (schema, body) => {
  const validate = ajv.getSchema(`https://jambonz.org/schema/callbacks/${schema}`);
  return validate(body) ? [] : validate.errors;
};

app.use(express.json({ verify: (req, _, bytes) => { req.bytes = bytes; } }));
app.get('/notes', (_, res) => res.json(notes));
app.get('/client/create', async(req, res) => {
  const sid = await client.calls.create({
    from: '+4930100200', to: { type: 'sip', sipUri: req.query.to }, tag: { job: 7 }, headers: { 'X-Job': '7' },
    call_hook: `http://127.0.0.1:${port}/wait`, call_status_hook: `http://127.0.0.1:${port}/status`,
  });
  res.json(sid);
});
app.get('/client/create-with-sdk', async(req, res) => {
  const sid = await sdk.calls.create({
    from: '+4930100200', to: { type: 'sip', sipUri: req.query.to }, headers: { 'X-Job': '8' },
    call_hook: `http://127.0.0.1:${port}/wait`, call_status_hook: `http://127.0.0.1:${port}/status`,
  });
  res.json(sid);
});
app.get('/client/update', async(req, res) => {
  await client.calls.update(req.query.sid, { call_hook: `http://127.0.0.1:${port}/transfer` });
  res.json(await client.calls.retrieve(req.query.sid));
});
app.get('/client/list-with-sdk', async(_, res) => res.json(await sdk.calls.list()));
app.get('/client/list', async(_, res) => res.json(await client.calls.list()));

app.use(WebhookResponse.verifyJambonzSignature(secret));
app.use(SdkResponse.verifySignature(secret));
app.use((req, _, next) => {
  const [, time, mac] = /^t=(\d+),v1=([0-9a-f]+)$/.exec(req.get('Jambonz-Signature'));
  const expected = createHmac('sha256', secret).update(`${time}.`).update(req.bytes).digest('hex');
  next(mac === expected ? undefined : new Error('the bytes do not match the signature'));
});
app.post('*', (req, res, next) => {
  notes.push({ path: req.path, body: req.body });
  next();
});
const transfer = () => new WebhookResponse()
  .sip_refer({ referTo: '+4930100300', referredBy: 'desk', headers: { 'X-Job': '7' }, actionHook: '/done', eventHook: '/progress' })
  .hangup();
app.post('/start', (_, res) => {
  const verbs = JSON.parse(JSON.stringify(transfer()));
  res.json([{ verb: 'answer' }, { verb: 'tag', data: { cämelCase: { 10: 1.0, 2: 'ä/"' } } }, ...verbs]);
});
app.post('/transfer', (_, res) => res.json(transfer()));
app.post('/wait', (_, res) => res.json(new WebhookResponse().pause({ length: 60 })));
app.post('/done', (req, res) => {
  notes.push({ path: 'schema', body: complaints('sip-refer', req.body) });
  res.sendStatus(204);
});
app.post('/progress', (req, res) => {
  notes.push({ path: 'schema', body: complaints('sip-refer-event', req.body) });
  res.sendStatus(200);
});
app.post('*', (_, res) => res.sendStatus(200));
app.use((error, req, res, _next) => {
  notes.push({ path: 'error', body: `${req.path}: ${error.message}` });
  res.sendStatus(500);
});
process.on('unhandledRejection', (error) => notes.push({ path: 'error', body: String(error) }));
app.listen(Number(port), '127.0.0.1');
