// SPDX-License-Identifier: PostgreSQL
//
// What a server on node-postgres needs of apikeys; Express and Fastify share it.

import pg from 'pg';

// Integers of 64 bits and numerics come as strings, which keep all their digits.
// A timestamptz of infinity comes as the number Infinity, which JSON writes as null.
export const pool = new pg.Pool({max: 10});
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

// The key as the client sent it, or null.
export function keyOf(headers) {
  const bearer = /^Bearer +(.*)$/i.exec(headers.authorization ?? '');
  return (bearer?.[1] ?? headers['x-api-key'])?.trim() ?? null;
}

// Text that PostgreSQL cannot hold has SQLSTATE 22021; such a key is no key.
const notFound = {valid: false, code: 'NOT_FOUND', reason: 'API key not found'};

export async function verify(key, {model, endpoint, address}) {
  try {
    const {rows} = await pool.query({
      name: 'verify',            // prepared once for each connection
      text: `SELECT valid, code, reason, id, name, expires_at, retry_after,
                    ceil(limit_max) AS limit_max, ceil(limit_remaining) AS limit_remaining, limit_resets_in
               FROM apikey_verify($1::text, model => $2::text, endpoint => $3::text,
                                  client_ip => $4::text)`,
      values: [key, model ?? '', endpoint, address],
    });
    return rows[0];
  } catch (error) {
    if (error.code === '22021') return notFound;
    throw error;
  }
}

// The status and the headers that the answer of a verify asks for.
export function responseTo(answer) {
  const headers = {};
  const set = (name, value) => { if (value != null) headers[name] = String(value); };

  set('RateLimit-Limit', answer.limit_max);
  set('RateLimit-Remaining', answer.limit_remaining);
  set('RateLimit-Reset', answer.limit_resets_in);
  set('Retry-After', answer.retry_after);
  switch (answer.code) {
    case 'VALID': return {status: 200, headers};
    case 'FORBIDDEN':
    case 'INSUFFICIENT_PERMISSIONS': return {status: 403, headers};
    case 'RATE_LIMITED': return {status: 429, headers};
    case 'BUDGET_EXCEEDED': return {status: answer.retry_after == null ? 402 : 429, headers};
    default:
      headers['WWW-Authenticate'] = 'Bearer';
      return {status: 401, headers};
  }
}

export const time = (at) => (at === Infinity ? 'never' : at?.toISOString() ?? null);

export async function usageOf(id) {
  const {rows} = await pool.query(
    'SELECT total_requests, total_tokens, total_cost FROM apikey_usage($1::uuid)', [id]);
  return rows[0];
}

// tokens and cost as strings: a number of JavaScript would lose digits.
export async function record(id, tokens, cost) {
  await pool.query(
    'SELECT apikey_record_usage($1::uuid, tokens => $2::bigint, cost => $3::numeric)', [id, tokens, cost]);
}

// An interval comes as an object of its parts.
const seconds = (interval) => interval &&
  (interval.days ?? 0) * 86400 + (interval.hours ?? 0) * 3600 + (interval.minutes ?? 0) * 60 +
  (interval.seconds ?? 0) + (interval.milliseconds ?? 0) / 1000;

export async function limitsOf(id) {
  const {rows} = await pool.query(
    'SELECT name, max, remaining, resets_in FROM apikey_limits($1::uuid)', [id]);
  return rows.map((limit) => ({...limit, resets_in: seconds(limit.resets_in)}));
}
