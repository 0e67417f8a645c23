// SPDX-License-Identifier: PostgreSQL
//
// Stands in for PostgREST where that is not installed: it sends the statements
// that PostgREST 17 sends for these requests, word for word, prepared and with parameters
// of no type, and makes of errors and settings what PostgREST makes of them.

import {createServer} from 'node:http';
import pg from 'pg';

pg.types.setTypeParser(pg.types.builtins.JSON, (text) => text);   // is passed on as it is
const pool = new pg.Pool({max: 4});
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

const VARIABLES =
  "select set_config('search_path', $1, true), set_config('role', $2, true), " +
  "set_config('request.jwt.claims', $3, true), set_config('request.method', $4, true), " +
  "set_config('request.path', $5, true), set_config('request.headers', $6, true), " +
  "set_config('request.cookies', $7, true)";

const PRE_REQUEST = 'select "public"."apikey_pre_request"()';

const RESULT =
  "nullif(current_setting('response.headers', true), '') AS response_headers, " +
  "nullif(current_setting('response.status', true), '') AS response_status, " +
  "'' AS response_inserted ";

const READ =
  'WITH pgrst_source AS ( SELECT "public"."note".* FROM "public"."note"    )  ' +
  'SELECT null::bigint AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, ' +
  `coalesce(json_agg(_postgrest_t), '[]') AS body, ${RESULT}` +
  'FROM ( SELECT * FROM pgrst_source ) _postgrest_t';

const WRITE =
  'WITH pgrst_source AS (INSERT INTO "public"."note"("body") SELECT "pgrst_body"."body" ' +
  'FROM (SELECT $1::json AS json_data) pgrst_payload, ' +
  'LATERAL (SELECT "body" FROM json_to_record(pgrst_payload.json_data) AS _("body" text) ) pgrst_body  ' +
  'RETURNING "public"."note".*) ' +
  "SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, array[]::text[] AS header, " +
  `coalesce(json_agg(_postgrest_t), '[]') AS body, ${RESULT}` +
  'FROM (SELECT "note".* FROM "pgrst_source" AS "note"    ) _postgrest_t';

const CALL =
  'WITH pgrst_source AS (SELECT pgrst_call.pgrst_scalar ' +
  'FROM (SELECT "public"."whoami"() pgrst_scalar) pgrst_call) ' +
  'SELECT null::bigint AS total_result_set, 1 AS page_total, ' +
  `coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null') AS body, ${RESULT}` +
  'FROM (SELECT "whoami".* FROM "pgrst_source" AS "whoami"    ) _postgrest_t';

const ROUTES = {
  'GET /note': {name: 'read', text: READ, mode: 'READ ONLY', status: 200},
  'POST /note': {name: 'write', text: WRITE, mode: 'READ WRITE', status: 201},
  'GET /rpc/whoami': {name: 'call', text: CALL, mode: 'READ ONLY', status: 200},
};

// What becomes of an error: of PGRST the message is the body, and the detail says
// which status and headers; of PTxyz the last three are the status.
function errorResponse({code, message, detail, hint}) {
  if (code === 'PGRST') {
    const {status, headers} = JSON.parse(detail);
    return {status, headers, body: message};
  }
  const status = /^PT\d{3}$/.test(code) ? Number(code.slice(2)) : code === '42501' ? 403 : 400;
  return {
    status,
    headers: status === 401 ? {'WWW-Authenticate': 'Bearer'} : {},
    body: JSON.stringify({code, details: detail ?? null, hint: hint ?? null, message}),
  };
}

async function respond(request, body) {
  const path = request.url.split('?')[0];
  const route = ROUTES[`${request.method} ${path}`];
  if (!route) return {status: 404, headers: {}, body: '{"code": "PGRST125"}'};

  const client = await pool.connect();
  try {
    await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED ${route.mode}`);
    await client.query({name: 'variables', text: VARIABLES, values: [
      '"public"', 'anonymous', '{"role":"anonymous"}', request.method, path,
      JSON.stringify(request.headers), '{}']});
    await client.query({name: 'pre-request', text: PRE_REQUEST});
    const {rows: [row]} = await client.query(
      {name: route.name, text: route.text, values: request.method === 'POST' ? [body] : []});
    await client.query('COMMIT');

    const headers = JSON.parse(row.response_headers ?? '[]').map((header) => Object.entries(header)[0]);
    return {status: Number(row.response_status ?? route.status), headers: Object.fromEntries(headers),
      body: row.body};
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    return errorResponse(error);
  } finally {
    client.release();
  }
}

createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk;
  const answer = await respond(request, body).catch((error) => {
    console.error(error.message);
    return {status: 503, headers: {}, body: '{"code": "PGRST000"}'};
  });
  response.writeHead(answer.status, {'Content-Type': 'application/json', ...answer.headers});
  response.end(answer.body);
}).listen(process.env.PORT, '127.0.0.1', () => console.log('listening'));
