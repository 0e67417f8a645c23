/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  The statements on the ledger of usage and its totals: usage_entry,
 *	  usage_request, usage, usage_day and budget_period.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A transaction that records usage never waits: it only appends to
 * usage_entry, and there is no foreign key to apikeys_data.key, since its check
 * would lock the row of a hot key.  One flush at a time rolls up what was
 * appended.
 *
 * With a request_id it waits for others that record or void the same request of
 * the same key, since what it has to do depends on their outcome.  A void adds
 * an entry with the figures of the record, negative.  So it is the same whether
 * the record has been rolled up or not, and waits for no flush either.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"

#include "store/key_limits.h"
#include "store/plans.h"
#include "store/spi.h"
#include "store/usage.h"
#include "store/write_latest.h"

/* A sum of tokens, a numeric, as a bigint. */
#define SATURATED(sum) \
	"GREATEST(LEAST(" sum ", 9223372036854775807), -9223372036854775807)"

/* The sum of a total and what is added to it. */
#define ADD_TOKENS(total, added) \
	"CASE WHEN " total " OPERATOR(pg_catalog.=) 9223372036854775807 THEN " total \
	" ELSE " SATURATED(total "::pg_catalog.numeric OPERATOR(pg_catalog.+) " added) " END"

/*
 * Moves entries into the totals: one statement deletes and counts them, so they
 * count exactly once.  Entries of a deleted key are discarded, but still count
 * for their budgets; those of a key whose totals are locked are left for later.
 * Sums of tokens saturate at the largest bigint, and stay there: what a void
 * takes back may be part of what was cut off.
 *
 * A key has at most 1,000 models on a day: others count as (other), in the order
 * of their first entry.  They do so from then on, so a void finds the row of its
 * record.
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
	" RETURNING e.id, e.key_id, e.recorded_at, e.requests, e.tokens, e.cost,"
	" e.budget_id, e.budget_period, e.model),"
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
	" cost = d.cost OPERATOR(pg_catalog.+) excluded.cost),"
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
	STATEMENT_ARGS(INT4OID, INT8OID, BOOLOID)
};

/*
 * What a key's usage is charged to: its limits, and its budget if the cost ($3)
 * is positive.  Key and budget are read as verify reads them: without row
 * locks, which would write to them, and with the latest snapshot.
 */
static Statement find_charge = {
	.sql = "SELECT k.root_id, " EFFECTIVE("rate_limits") ", b.id, CASE WHEN b.id IS NOT NULL"
	" THEN (apikeys.period_at(b.starts_at, b.reset_every, $2, b.time_zone)).started_at END,"
	" b.warn_at IS NOT NULL"
	" FROM apikeys_data.key k" JOIN_PLAN " LEFT JOIN apikeys_data.budget b"
	" ON b.id OPERATOR(pg_catalog.=) k.budget_id"
	" AND $3 OPERATOR(pg_catalog.>) 0::pg_catalog.numeric"
	" WHERE k.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NUMERICOID)
};

static Statement add_usage = {
	.sql = "INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost,"
	" budget_id, budget_period, model) VALUES ($1, $2, $3, $4, $5, $6, $7)",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, UUIDOID, TIMESTAMPTZOID,
				   TEXTOID)
};

/* Adds an entry, unless a request of this key has this id ($8) already. */
static Statement add_request = {
	.sql = "WITH request AS (INSERT INTO apikeys_data.usage_request"
	" (key_id, recorded_at, tokens, cost, budget_id, budget_period, model, request_id)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
	" ON CONFLICT (key_id, request_id) DO NOTHING RETURNING key_id)"
	" INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost,"
	" budget_id, budget_period, model)"
	" SELECT request.key_id, $2, $3, $4, $5, $6, $7 FROM request",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, UUIDOID, TIMESTAMPTZOID,
				   TEXTOID, TEXTOID)
};

static Statement void_request = {
	.sql = "WITH request AS (UPDATE apikeys_data.usage_request r SET is_void = true"
	" WHERE r.key_id OPERATOR(pg_catalog.=) $1 AND r.request_id OPERATOR(pg_catalog.=) $2"
	" AND r.recorded_at OPERATOR(pg_catalog.>=) $3 AND NOT r.is_void"
	" RETURNING r.key_id, r.recorded_at, r.tokens, r.cost, r.budget_id, r.budget_period,"
	" r.model)"
	" INSERT INTO apikeys_data.usage_entry AS e (key_id, recorded_at, requests, tokens, cost,"
	" budget_id, budget_period, model) SELECT r.key_id, r.recorded_at, -1,"
	" OPERATOR(pg_catalog.-) r.tokens, OPERATOR(pg_catalog.-) r.cost,"
	" r.budget_id, r.budget_period, r.model FROM request r"
	" RETURNING e.recorded_at, e.tokens, e.cost, e.budget_id, e.budget_period",
	STATEMENT_ARGS(UUIDOID, TEXTOID, TIMESTAMPTZOID)
};

/* Nobody reads the ids of deleted keys, so these too wait for their time. */
static Statement delete_requests = {
	.sql = "DELETE FROM apikeys_data.usage_request"
	" WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT r.ctid FROM apikeys_data.usage_request r"
	" WHERE r.recorded_at OPERATOR(pg_catalog.<) $1"
	" ORDER BY r.recorded_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
	STATEMENT_ARGS(TIMESTAMPTZOID, INT4OID)
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
	"SELECT l.key_id, l.day, l.model FROM apikeys_data.usage_day l"
	" WHERE l.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED) l"
	" WHERE d.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND d.day OPERATOR(pg_catalog.=) l.day"
	" AND d.model OPERATOR(pg_catalog.=) l.model",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/* What a deletion has left because it was locked or written later. */
static Statement delete_orphans = {
	.sql = "WITH days AS (DELETE FROM apikeys_data.usage_day d"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) d.key_id)),"
	" periods AS (DELETE FROM apikeys_data.budget_period p"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.budget b"
	" WHERE b.id OPERATOR(pg_catalog.=) p.budget_id)),"
	" warnings AS (DELETE FROM apikeys_data.budget_warning w"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.budget b"
	" WHERE b.id OPERATOR(pg_catalog.=) w.budget_id))"
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
	Datum		row[3];
	bool		nulls[3];

	Assert(batch->limit > 0 && batch->skip >= 0);

	store_open(&scope);
	store_write_silently(&roll_up, arguments, NULL);
	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	batch->seen = DatumGetInt64(row[0]);
	batch->taken = DatumGetInt64(row[1]);
	Assert(batch->taken <= batch->seen && batch->seen <= batch->limit);
	store_close(&scope);

	/* This may allocate, in the caller's memory. */
	batch->warning_budgets = DatumGetArrayTypeP(row[2]);
}

/* Reads what usage is charged to; returns false if the key does not exist. */
static bool
read_charge(Datum id, Datum recorded_at, Datum cost, Charge *charge)
{
	Datum		row[5];
	bool		nulls[5];

	if (store_read_latest(&find_charge, (Datum[]) {id, recorded_at, cost}, NULL) == 0)
		return false;

	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row, nulls);
	store_copy_limits(row, nulls, &charge->key);
	charge->period = nulls[3] ? 0 : DatumGetTimestampTz(row[3]);
	charge->warns = DatumGetBool(row[4]);
	return true;
}

/* Appends an entry for what a record is charged to; false if it is repeated. */
static bool
add_entry(const UsageRecord *record, const Charge *charge)
{
	Datum		entry[] = {
		UUIDPGetDatum(record->id),
		TimestampTzGetDatum(record->now),
		Int64GetDatum(record->tokens),
		NumericGetDatum(record->cost),
		UUIDPGetDatum(&charge->key.budget_id),
		TimestampTzGetDatum(charge->period),
		PointerGetDatum(record->model),
		PointerGetDatum(record->request_id)
	};
	bool		nulls[lengthof(entry)] = {
		[4] = !charge->key.has_budget,
		[5] = !charge->key.has_budget,
		[6] = record->model == NULL
	};

	if (record->request_id != NULL)
		return store_write_latest(&add_request, entry, nulls) > 0;

	store_write_silently(&add_usage, entry, nulls);
	return true;
}

/*
 * Records a request in the ledger, and sets what it is charged to.  Waits for
 * others that record or void the same request_id of this key, and for nobody
 * else.
 */
RecordOutcome
store_add_usage(const UsageRecord *record, Charge *charge)
{
	StoreScope	scope;
	RecordOutcome outcome = RECORD_KEY_GONE;

	Assert(record->tokens >= 0);

	store_open(&scope);
	if (read_charge(UUIDPGetDatum(record->id), TimestampTzGetDatum(record->now),
					NumericGetDatum(record->cost), charge))
	{
		store_lock_keys_first();
		ForceSyncCommit();
		outcome = add_entry(record, charge) ? RECORD_ADDED : RECORD_REPEATED;
	}
	store_close(&scope);

	return outcome;
}

/* Copies the entry that a void has added to the ledger. */
static void
copy_voided(VoidedUsage *voided)
{
	Datum		row[5];
	bool		nulls[5];

	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	voided->recorded_at = DatumGetTimestampTz(row[0]);
	voided->tokens = DatumGetInt64(row[1]);
	voided->cost = DatumGetNumeric(row[2]);
	voided->has_budget = !nulls[3];
	if (voided->has_budget)
	{
		voided->budget_id = *DatumGetUUIDP(row[3]);
		voided->period = DatumGetTimestampTz(row[4]);
	}
}

/*
 * Takes back what was recorded under a request_id of a key, and says what it
 * was.  Returns false if nothing was recorded under it since oldest, or it has
 * been taken back already.  Waits as store_add_usage() does.
 */
bool
store_void_usage(const pg_uuid_t *id, const text *request_id, TimestampTz oldest,
				 VoidedUsage *voided)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	store_lock_keys_first();
	ForceSyncCommit();
	found = store_write_latest(&void_request,
							   (Datum[]) {UUIDPGetDatum(id), PointerGetDatum(request_id),
										 TimestampTzGetDatum(oldest)},
							   NULL) > 0;
	if (found)
		copy_voided(voided);
	store_close(&scope);

	return found;
}

/*
 * Deletes up to limit request ids that were recorded before until; returns how
 * many.  Those that somebody is about to void stay.
 */
int64
store_delete_requests(TimestampTz until, int limit)
{
	StoreScope	scope;
	int64		deleted;

	Assert(limit > 0);

	store_open(&scope);
	deleted = store_write_silently(&delete_requests,
								   (Datum[]) {TimestampTzGetDatum(until), Int32GetDatum(limit)},
								   NULL);
	store_close(&scope);

	return deleted;
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
