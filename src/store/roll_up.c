/*-------------------------------------------------------------------------
 *
 * roll_up.c
 *	  The statements that roll up the ledgers, usage_entry and budget_entry.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * One flush at a time rolls up what transactions have appended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "store/roll_up.h"
#include "store/spi.h"

/* A sum of tokens, a numeric, as a bigint. */
#define SATURATED(sum) \
	"GREATEST(LEAST(" sum ", 9223372036854775807), -9223372036854775807)"

/* The sum of a total and what is added to it. */
#define ADD_TOKENS(total, added) \
	"CASE WHEN " total " OPERATOR(pg_catalog.=) 9223372036854775807 THEN " total \
	" ELSE " SATURATED(total "::pg_catalog.numeric OPERATOR(pg_catalog.+) " added) " END"

/*
 * Moves entries into the totals: one statement deletes and counts them, so they
 * count exactly once.  Entries of a deleted key are discarded; those of a key
 * whose totals are locked are left for later.
 * Sums of tokens saturate at the largest bigint, and stay there: what a void
 * takes back may be part of what was cut off.
 *
 * A key has at most 1,000 models on a day: others count as (other), in the order
 * of their first entry.  They do so from then on, so a void finds the row of its
 * record.
 */
static Statement roll_up_usage = {
	.sql = "WITH batch AS MATERIALIZED (SELECT e.id, e.key_id FROM apikeys_data.usage_entry e"
	" ORDER BY e.id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED),"
	" free AS MATERIALIZED (SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY (SELECT b.key_id FROM batch b)"
	" ORDER BY u.key_id FOR UPDATE SKIP LOCKED),"
	" taken AS (DELETE FROM apikeys_data.usage_entry e USING batch"
	" WHERE e.id OPERATOR(pg_catalog.=) batch.id"
	" AND (EXISTS (SELECT FROM free WHERE free.key_id OPERATOR(pg_catalog.=) batch.key_id)"
	" OR (NOT EXISTS (SELECT FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) batch.key_id)"
	" AND ($3 OR apikeys.try_lock_use(batch.key_id))))"
	" RETURNING e.id, e.key_id, e.recorded_at, e.requests, e.tokens, e.cost, e.model),"
	" live AS MATERIALIZED (SELECT t.id, t.key_id, t.requests, t.tokens, t.cost,"
	" pg_catalog.timezone('UTC', t.recorded_at)::pg_catalog.date AS day,"
	" COALESCE(t.model, '') AS model FROM taken t"
	" JOIN apikeys_data.key k ON k.id OPERATOR(pg_catalog.=) t.key_id),"
	" total AS (INSERT INTO apikeys_data.usage AS u"
	" (key_id, total_requests, total_tokens, total_cost)"
	" SELECT live.key_id, pg_catalog.sum(live.requests),"
	" " SATURATED("pg_catalog.sum(live.tokens)") ", pg_catalog.sum(live.cost)"
	" FROM live GROUP BY live.key_id ORDER BY live.key_id"
	" ON CONFLICT (key_id) DO UPDATE SET"
	" total_requests = u.total_requests OPERATOR(pg_catalog.+) excluded.total_requests,"
	" total_tokens = " ADD_TOKENS("u.total_tokens", "excluded.total_tokens") ","
	" total_cost = u.total_cost OPERATOR(pg_catalog.+) excluded.total_cost),"
	" by_model AS (SELECT l.key_id, l.day, l.model, pg_catalog.min(l.id) AS first_id,"
	" pg_catalog.sum(l.requests) AS requests, pg_catalog.sum(l.tokens) AS tokens,"
	" pg_catalog.sum(l.cost) AS cost,"
	" l.model OPERATOR(pg_catalog.<>) ALL (ARRAY['', '(other)'])"
	" AND NOT EXISTS (SELECT FROM apikeys_data.usage_day d"
	" WHERE d.key_id OPERATOR(pg_catalog.=) l.key_id AND d.day OPERATOR(pg_catalog.=) l.day"
	" AND d.model OPERATOR(pg_catalog.=) l.model) AS is_new"
	" FROM live l GROUP BY l.key_id, l.day, l.model),"
	" named AS (SELECT m.key_id, m.day, CASE WHEN m.is_new AND pg_catalog.row_number()"
	" OVER (PARTITION BY m.key_id, m.day, m.is_new ORDER BY m.first_id) OPERATOR(pg_catalog.+)"
	" (SELECT pg_catalog.count(*) FROM apikeys_data.usage_day d"
	" WHERE d.key_id OPERATOR(pg_catalog.=) m.key_id AND d.day OPERATOR(pg_catalog.=) m.day"
	" AND d.model OPERATOR(pg_catalog.<>) ALL (ARRAY['', '(other)']))"
	" OPERATOR(pg_catalog.>) 1000 THEN '(other)' ELSE m.model END AS model,"
	" m.requests, m.tokens, m.cost FROM by_model m),"
	" daily AS (INSERT INTO apikeys_data.usage_day AS d"
	" (key_id, day, model, requests, tokens, cost)"
	" SELECT n.key_id, n.day, n.model, pg_catalog.sum(n.requests),"
	" " SATURATED("pg_catalog.sum(n.tokens)") ", pg_catalog.sum(n.cost)"
	" FROM named n GROUP BY n.key_id, n.day, n.model ORDER BY n.key_id, n.day, n.model"
	" ON CONFLICT (key_id, day, model) DO UPDATE SET"
	" requests = d.requests OPERATOR(pg_catalog.+) excluded.requests,"
	" tokens = " ADD_TOKENS("d.tokens", "excluded.tokens") ","
	" cost = d.cost OPERATOR(pg_catalog.+) excluded.cost)"
	" SELECT (SELECT pg_catalog.count(*) FROM batch), (SELECT pg_catalog.count(*) FROM taken),"
	" '{}'::pg_catalog.uuid[]",
	STATEMENT_ARGS(INT4OID, INT8OID, BOOLOID)
};

/* The same for budgets.  Entries of a deleted one are discarded. */
static Statement roll_up_budgets = {
	.sql = "WITH batch AS MATERIALIZED (SELECT e.id FROM apikeys_data.budget_entry e"
	" ORDER BY e.id LIMIT $1 OFFSET $2 FOR UPDATE SKIP LOCKED),"
	" taken AS (DELETE FROM apikeys_data.budget_entry e USING batch"
	" WHERE e.id OPERATOR(pg_catalog.=) batch.id"
	" RETURNING e.budget_id, e.budget_period, e.cost),"
	" spent AS (INSERT INTO apikeys_data.budget_period AS p (budget_id, started_at, spent)"
	" SELECT t.budget_id, t.budget_period, pg_catalog.sum(t.cost) FROM taken t"
	" JOIN apikeys_data.budget b ON b.id OPERATOR(pg_catalog.=) t.budget_id"
	" GROUP BY t.budget_id, t.budget_period ORDER BY t.budget_id, t.budget_period"
	" ON CONFLICT (budget_id, started_at) DO UPDATE SET"
	" spent = p.spent OPERATOR(pg_catalog.+) excluded.spent)"
	" SELECT (SELECT pg_catalog.count(*) FROM batch), (SELECT pg_catalog.count(*) FROM taken),"
	" ARRAY(SELECT DISTINCT t.budget_id FROM taken t"
	" JOIN apikeys_data.budget b ON b.id OPERATOR(pg_catalog.=) t.budget_id"
	" WHERE b.warn_at IS NOT NULL)",
	STATEMENT_ARGS(INT4OID, INT8OID)
};

static Statement *const by_ledger[] = {
	[LEDGER_USAGE] = &roll_up_usage,
	[LEDGER_BUDGETS] = &roll_up_budgets,
};

StaticAssertDecl(lengthof(by_ledger) == NLEDGERS, "each ledger is rolled up");

/* Rolls up a batch of entries. */
void
store_roll_up(RollUp *batch)
{
	StoreScope	scope;
	Datum		arguments[] = {
		Int32GetDatum(batch->limit),
		Int64GetDatum(batch->skip),
		BoolGetDatum(batch->alone)
	};
	Datum		row[3];
	bool		nulls[3];

	Assert(batch->limit > 0 && batch->skip >= 0);

	store_open(&scope);
	store_write_silently(by_ledger[batch->ledger], arguments, NULL);
	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	batch->seen = DatumGetInt64(row[0]);
	batch->taken = DatumGetInt64(row[1]);
	Assert(batch->taken <= batch->seen && batch->seen <= batch->limit);
	store_close(&scope);

	/* This may allocate, in the caller's memory. */
	batch->warning_budgets = DatumGetArrayTypeP(row[2]);
}
