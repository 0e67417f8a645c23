// SPDX-License-Identifier: PostgreSQL
//
// A page on which people look after keys, for the level that its role has:
//
//   manage   all keys; for who logs in with a key that is_admin
//   own      the keys of the user whose key logs in
//
//   ACCESS=manage PORT=8080 PGHOST=... PGUSER=... node server.js
//
// Each request brings the key in its Authorization header, and runs in a transaction of
// its own that begins with apikey_login: the database decides what it may see, and the
// audit log says whose key it was. There is no cookie, so no other site can use it.

import express from 'express';
import pg from 'pg';
import {fileURLToPath} from 'node:url';

const access = process.env.ACCESS ?? 'manage';
const pool = new pg.Pool({max: 10});
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

const app = express();
app.disable('x-powered-by');
app.use(express.json({limit: '100kb', type: '*/*'}));
app.use((request, response, next) => {
  response.set({
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; " +
      "img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-store',
  });
  next();
});

// ------------------------------------------------------------ each request

class Refused extends Error {
  constructor(status, code) {
    super(code);
    Object.assign(this, {status, body: {code}});
  }
}

// Whose key is it, and may it be here?  Stands in the transaction from now on.
async function login(client, request) {
  const [, key] = /^Bearer +(.*)$/i.exec(request.headers.authorization ?? '') ?? [];
  const {rows: [me]} = await client.query(
    `SELECT id, name, user_id, permissions FROM apikey_login($1::text, client_ip => $2::text)`,
    [key ?? '', request.socket.remoteAddress]);

  if (access === 'manage' && me.permissions.is_admin !== true) throw new Refused(403, 'NOT_AN_ADMINISTRATOR');
  return me;
}

async function inTransaction(request, work) {
  const client = await pool.connect();
  let broken = false;

  try {
    await client.query('BEGIN');
    const me = await login(client, request);
    const result = await work((text, values) => client.query(text, values).then(({rows}) => rows), me, request);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => { broken = true; });
    throw error;
  } finally {
    client.release(broken);
  }
}

const route = (work) => async (request, response) => response.json(await inTransaction(request, work));

// What the database refuses, in the terms of HTTP; class 22 and 23 is bad input.
const statuses = {'28000': 401, 'P0002': 404, '42501': 403, '55000': 409, '53400': 429};
const statusOf = (error) => error.status ?? statuses[error.code] ?? (/^2[23]/.test(error.code) ? 400 : 503);

// ----------------------------------------------------------------- the keys

const page = 50;
const pattern = (text) => (text ? `%${text.replace(/[\\%_]/g, '\\$&')}%` : null);
const given = (text) => (text === '' || text === undefined ? null : text);

app.get('/api/me', route(async (query, me) => ({id: me.id, name: me.name, user_id: me.user_id, access})));

// $1 has no cast, since level own cannot name the schema of its type. created_at is text,
// since a Date of JavaScript cuts its microseconds off.
app.get('/api/keys', route((query, me, {query: {search, status, after, after_created_at}}) => query(
  `SELECT id, key_prefix, name, description, user_id, team_id, external_id, status, plan, expires_at::text,
          created_at::text, last_used_at::text, total_requests, total_tokens, total_cost, revoke_reason
     FROM apikey_list(status => $1, name_like => $2::text, row_limit => $3::integer,
                      after => $4::uuid, after_created_at => $5::timestamptz)`,
  [given(status), pattern(search), page, given(after), given(after_created_at)])));

app.post('/api/keys', route(async (query, me, {body = {}}) => (await query(
  `SELECT id, raw_key
     FROM apikey_generate($1::text, description => $2::text, user_id => $3::uuid, budget_id => $4::uuid,
                          permissions => $5::jsonb, rate_limits => $6::jsonb, expires_at => $7::timestamptz)`,
  [body.name, given(body.description), given(body.user_id), given(body.budget_id),
    JSON.stringify(body.permissions ?? {}), JSON.stringify(body.rate_limits ?? {}), given(body.expires_at)]))[0]));

app.post('/api/keys/:id/rotate', route(async (query, me, {params, body = {}}) => (await query(
  'SELECT id, raw_key FROM apikey_rotate($1::uuid, grace => $2::interval)', [params.id, body.grace || '0']))[0]));

app.post('/api/keys/:id/revoke', route(async (query, me, {params, body = {}}) => {
  await query('SELECT apikey_revoke($1::uuid, reason => $2::text)', [params.id, given(body.reason)]);
  return {};
}));

// ------------------------------------------------- usage, budgets, events

const usage = {
  manage: `SELECT day::text, coalesce(model, '') AS model, sum(requests)::bigint AS requests,
                  sum(tokens)::bigint AS tokens, sum(cost)::text AS cost
             FROM apikeys.usage_report WHERE day > current_date - $1::integer GROUP BY 1, 2 ORDER BY 1, 2`,
  own: `SELECT h.day::text, '' AS model, sum(h.requests)::bigint AS requests,
               sum(h.tokens)::bigint AS tokens, sum(h.cost)::text AS cost
          FROM apikey_list(row_limit => 100) k, apikey_usage_history(k.id, current_date - $1::integer) h
         GROUP BY 1 ORDER BY 1`,
};

app.get('/api/usage', route((query, me, request) => query(usage[access], [Math.min(request.query.days ?? 30, 366)])));

if (access === 'manage') {
  app.get('/api/budgets', route((query) => query(
    `SELECT id, name, max_cost::text, added::text, spent::text, reserved::text, remaining::text, period_ends_at::text
       FROM apikeys.budget_info ORDER BY name LIMIT 200`)));
  app.get('/api/events', route((query) => query(
    `SELECT at::text, action, key_id, acting_role, details FROM apikey_events(row_limit => 100)`)));
}

app.use(express.static(fileURLToPath(new URL('public', import.meta.url))));

app.use((error, request, response, next) => {
  const status = statusOf(error);

  if (status === 503) console.error(error.message);
  response.status(status).json(error.body ?? (status === 503 ? {code: 'UNAVAILABLE'} :
    {code: error.code, message: error.message, detail: error.detail, hint: error.hint}));
});

app.listen(process.env.PORT ?? 8080, '127.0.0.1', () => console.log('listening'));
