/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  The statements on the ledger of usage and its totals: usage_entry,
 *	  usage, usage_day and budget_period.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A transaction that records usage never waits: it only appends to
 * usage_entry, and there is no foreign key to apikeys_data.key, since its check
 * would lock the row of a hot key.  One flush at a time rolls up what was
 * appended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"

#include "store/key_limits.h"
#include "store/spi.h"
#include "store/usage.h"

/*
 * Moves entries into the totals: one statement deletes and counts them, so they
 * count exactly once.  Entries of a deleted key are discarded, but still count
 * for their budgets; those of a key whose totals are locked are left for later.
 * Sums of tokens saturate at the largest bigint.
 */
static Statement roll_up = {
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
	" RETURNING e.key_id, e.recorded_at, e.tokens, e.cost, e.budget_id, e.budget_period),"
	" live AS MATERIALIZED (SELECT t.key_id, t.tokens, t.cost,"
	" pg_catalog.timezone('UTC', t.recorded_at)::pg_catalog.date AS day FROM taken t"
	" JOIN apikeys_data.key k ON k.id OPERATOR(pg_catalog.=) t.key_id),"
	" total AS (INSERT INTO apikeys_data.usage AS u"
	" (key_id, total_requests, total_tokens, total_cost)"
	" SELECT live.key_id, pg_catalog.count(*),"
	" LEAST(pg_catalog.sum(live.tokens), 9223372036854775807), pg_catalog.sum(live.cost)"
	" FROM live GROUP BY live.key_id ORDER BY live.key_id"
	" ON CONFLICT (key_id) DO UPDATE SET"
	" total_requests = u.total_requests OPERATOR(pg_catalog.+) excluded.total_requests,"
	" total_tokens = LEAST(u.total_tokens::pg_catalog.numeric"
	" OPERATOR(pg_catalog.+) excluded.total_tokens, 9223372036854775807),"
	" total_cost = u.total_cost OPERATOR(pg_catalog.+) excluded.total_cost),"
	" daily AS (INSERT INTO apikeys_data.usage_day AS d (key_id, day, requests, tokens, cost)"
	" SELECT live.key_id, live.day, pg_catalog.count(*),"
	" LEAST(pg_catalog.sum(live.tokens), 9223372036854775807), pg_catalog.sum(live.cost)"
	" FROM live GROUP BY live.key_id, live.day ORDER BY live.key_id, live.day"
	" ON CONFLICT (key_id, day) DO UPDATE SET"
	" requests = d.requests OPERATOR(pg_catalog.+) excluded.requests,"
	" tokens = LEAST(d.tokens::pg_catalog.numeric"
	" OPERATOR(pg_catalog.+) excluded.tokens, 9223372036854775807),"
	" cost = d.cost OPERATOR(pg_catalog.+) excluded.cost),"
	" spent AS (INSERT INTO apikeys_data.budget_period AS p (budget_id, started_at, spent)"
	" SELECT t.budget_id, t.budget_period, pg_catalog.sum(t.cost) FROM taken t"
	" JOIN apikeys_data.budget b ON b.id OPERATOR(pg_catalog.=) t.budget_id"
	" GROUP BY t.budget_id, t.budget_period ORDER BY t.budget_id, t.budget_period"
	" ON CONFLICT (budget_id, started_at) DO UPDATE SET"
	" spent = p.spent OPERATOR(pg_catalog.+) excluded.spent)"
	" SELECT (SELECT pg_catalog.count(*) FROM batch), (SELECT pg_catalog.count(*) FROM taken)",
	STATEMENT_ARGS(INT4OID, INT8OID, BOOLOID)
};

/*
 * What a key's usage is charged to: its limits, and its budget if the cost ($3)
 * is positive.  Key and budget are read as verify reads them: without row
 * locks, which would write to them, and with the latest snapshot.
 */
static Statement find_charge = {
	.sql = "SELECT k.root_id, k.rate_limits, b.id, CASE WHEN b.id IS NOT NULL"
	" THEN (apikeys.period_at(b.created_at, b.reset_every, $2)).started_at END"
	" FROM apikeys_data.key k LEFT JOIN apikeys_data.budget b"
	" ON b.id OPERATOR(pg_catalog.=) k.budget_id"
	" AND $3 OPERATOR(pg_catalog.>) 0::pg_catalog.numeric"
	" WHERE k.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NUMERICOID)
};

static Statement add_usage = {
	.sql = "INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost,"
	" budget_id, budget_period) VALUES ($1, $2, $3, $4, $5, $6)",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, UUIDOID, TIMESTAMPTZOID)
};

static Statement read_usage = {
	.sql = "SELECT i.total_requests, i.total_tokens, i.total_cost,"
	" i.requests_today, i.tokens_today, i.cost_today, i.last_used_at"
	" FROM apikeys_data.key_info i WHERE i.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

static Statement delete_usage = {
	.sql = "DELETE FROM apikeys_data.usage"
	" WHERE key_id OPERATOR(pg_catalog.=) ANY ("
	"SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED)",
	STATEMENT_ARGS(UUIDARRAYOID)
};

static Statement delete_usage_days = {
	.sql = "DELETE FROM apikeys_data.usage_day d USING ("
	"SELECT l.key_id, l.day FROM apikeys_data.usage_day l"
	" WHERE l.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED) l"
	" WHERE d.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND d.day OPERATOR(pg_catalog.=) l.day",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/* What a deletion has left because it was locked or written later. */
static Statement delete_orphans = {
	.sql = "WITH days AS (DELETE FROM apikeys_data.usage_day d"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) d.key_id)),"
	" periods AS (DELETE FROM apikeys_data.budget_period p"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.budget b"
	" WHERE b.id OPERATOR(pg_catalog.=) p.budget_id))"
	" DELETE FROM apikeys_data.usage WHERE key_id OPERATOR(pg_catalog.=) ANY ("
	"SELECT u.key_id FROM apikeys_data.usage u"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) u.key_id)"
	" FOR UPDATE SKIP LOCKED)",
};

/* Deletes the usage of keys, a uuid[].  For use in an open scope. */
void
store_delete_use(Datum ids)
{
	store_write_silently(&delete_usage, &ids, NULL);
	store_write_silently(&delete_usage_days, &ids, NULL);
}

/* Deletes the usage of deleted keys and budgets.  For use in an open scope. */
void
store_delete_orphans(void)
{
	store_write_silently(&delete_orphans, NULL, NULL);
}

/* Rolls up a batch of usage entries. */
void
store_roll_up(RollUp *batch)
{
	StoreScope	scope;
	Datum		arguments[] = {
		Int32GetDatum(batch->limit),
		Int64GetDatum(batch->skip),
		BoolGetDatum(batch->alone)
	};
	Datum		row[2];
	bool		nulls[2];

	Assert(batch->limit > 0 && batch->skip >= 0);

	store_open(&scope);
	store_write_silently(&roll_up, arguments, NULL);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	batch->seen = DatumGetInt64(row[0]);
	batch->taken = DatumGetInt64(row[1]);
	Assert(batch->taken <= batch->seen && batch->seen <= batch->limit);
	store_close(&scope);
}

/* Reads what usage is charged to; returns false if the key does not exist. */
static bool
read_charge(Datum id, Datum recorded_at, Datum cost, Charge *charge)
{
	Datum		row[4];
	bool		nulls[4];

	if (store_read_latest(&find_charge, (Datum[]) {id, recorded_at, cost}, NULL) == 0)
		return false;

	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	store_copy_limits(row, nulls, &charge->key);
	charge->period = nulls[3] ? 0 : DatumGetTimestampTz(row[3]);
	return true;
}

/*
 * Appends a usage entry, and sets what it is charged to; returns false if the
 * key does not exist.
 */
bool
store_add_usage(const pg_uuid_t *id, int64 tokens, Numeric cost, TimestampTz now,
				Charge *charge)
{
	StoreScope	scope;
	bool		found;
	Datum		entry[] = {
		UUIDPGetDatum(id),
		TimestampTzGetDatum(now),
		Int64GetDatum(tokens),
		NumericGetDatum(cost),
		UUIDPGetDatum(&charge->key.budget_id),
		(Datum) 0
	};

	Assert(tokens >= 0);

	store_open(&scope);
	found = read_charge(entry[0], entry[1], entry[3], charge);
	if (found)
	{
		bool		nulls[6] = {[4] = !charge->key.has_budget, [5] = !charge->key.has_budget};

		store_lock_keys_first();
		ForceSyncCommit();
		entry[5] = TimestampTzGetDatum(charge->period);
		store_write_silently(&add_usage, entry, nulls);
	}
	store_close(&scope);

	return found;
}

/* Reads the usage of a key; returns false if it does not exist. */
bool
store_usage(const pg_uuid_t *id, UsageRow *row)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read(&read_usage, (Datum[]) {UUIDPGetDatum(id)}, NULL) > 0;
	if (found)
	{
		Assert(SPI_tuptable->tupdesc->natts == USAGE_NCOLUMNS);
		heap_deform_tuple(SPI_copytuple(SPI_tuptable->vals[0]),
						  SPI_tuptable->tupdesc, row->values, row->nulls);
	}
	store_close(&scope);

	return found;
}
