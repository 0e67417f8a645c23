/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  The statements that record usage in the ledgers, usage_entry and
 *	  budget_entry, and on what keys have used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A transaction that records usage never waits: it only appends, to usage_entry
 * and, for each budget that a cost is spent from, to budget_entry.  There are no
 * foreign keys to apikeys_data.key and budget, since their checks would lock the
 * row of a hot key or budget.  roll_up.c rolls up what was appended.
 *
 * With a request_id it waits for others that record or void the same request of
 * the same key, since what it has to do depends on their outcome.  A void adds
 * entries with the figures of the record, negative.  So it is the same whether
 * the record has been rolled up or not, and waits for no flush either.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "store/key_limits.h"
#include "store/spi.h"
#include "store/usage.h"
#include "store/write_latest.h"

/* Columns of a budget in find_charge. */
#define CHARGED(b) \
	b ".id, CASE WHEN " b ".id IS NOT NULL THEN (apikeys.period_at(" \
	b ".starts_at, " b ".reset_every, $2, " b ".time_zone)).started_at END, " b ".warn_at IS NOT NULL, " b ".rate_limits"

#define CHARGED_NCOLUMNS	4

/*
 * What a key's usage is charged to: its limits, and the budgets that it counts
 * against.  There is a row for the key's budget, and one for another ($3), each
 * with the budgets above; or one for each of those for which it has been reserved
 * ($4); or one without any.  Key and budgets are read as verify reads them:
 * without row locks, which would write to them, and with the latest snapshot.
 * Joins take less time than a recursive query.
 */
static Statement find_charge = {
	.sql = "SELECT k.root_id, k.rate_limits, k.budget_id,"
		   " " CHARGED("b1") ", " CHARGED("b2") ", " CHARGED("b3") ", " CHARGED("b4") " FROM apikeys_data.key k"
	" LEFT JOIN apikeys_data.budget b1"
	" ON b1.id OPERATOR(pg_catalog.=) ANY (COALESCE($4, ARRAY[k.budget_id, $3]))"
	" LEFT JOIN apikeys_data.budget b2"
	" ON b2.id OPERATOR(pg_catalog.=) b1.parent_id AND $4 IS NULL"
	" LEFT JOIN apikeys_data.budget b3 ON b3.id OPERATOR(pg_catalog.=) b2.parent_id"
	" LEFT JOIN apikeys_data.budget b4 ON b4.id OPERATOR(pg_catalog.=) b3.parent_id"
	" WHERE k.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, UUIDOID, UUIDARRAYOID)
};

#define FIND_CHARGE_NCOLUMNS	(3 + CHARGED_NCOLUMNS * BUDGET_MAX_LEVELS)

StaticAssertDecl(BUDGET_MAX_LEVELS == 4, "find_charge finds all levels");

static Statement add_usage = {
	.sql = "INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, model)"
	" VALUES ($1, $2, $3, $4, $5)",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, TEXTOID)
};

/* Adds an entry, unless a request of this key has this id ($6) already. */
static Statement add_request = {
	.sql = "WITH request AS (INSERT INTO apikeys_data.usage_request"
	" (key_id, recorded_at, tokens, cost, model, request_id, budget_ids, budget_periods, reserved_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	" ON CONFLICT (key_id, request_id) DO NOTHING RETURNING key_id)"
	" INSERT INTO apikeys_data.usage_entry (key_id, recorded_at, tokens, cost, model)"
	" SELECT request.key_id, $2, $3, $4, $5 FROM request",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, TEXTOID, TEXTOID,
				   UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID)
};

static Statement add_spending = {
	.sql = "INSERT INTO apikeys_data.budget_entry (budget_id, budget_period, cost)"
	" SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), $3",
	STATEMENT_ARGS(UUIDARRAYOID, TIMESTAMPTZARRAYOID, NUMERICOID)
};

static Statement void_request = {
	.sql = "WITH request AS (UPDATE apikeys_data.usage_request r SET is_void = true"
	" WHERE r.key_id OPERATOR(pg_catalog.=) $1 AND r.request_id OPERATOR(pg_catalog.=) $2"
	" AND r.recorded_at OPERATOR(pg_catalog.>=) $3 AND NOT r.is_void"
	" RETURNING r.key_id, r.recorded_at, OPERATOR(pg_catalog.-) r.tokens AS tokens,"
	" OPERATOR(pg_catalog.-) r.cost AS cost, r.model, r.budget_ids, r.budget_periods, r.reserved_at),"
	" entry AS (INSERT INTO apikeys_data.usage_entry"
	" (key_id, recorded_at, requests, tokens, cost, model)"
	" SELECT r.key_id, r.recorded_at, -1, r.tokens, r.cost, r.model FROM request r)"
	" SELECT COALESCE(r.reserved_at, r.recorded_at), r.tokens, r.cost, r.budget_ids, r.budget_periods, r.model"
	" FROM request r",
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

static bool
is_charged(const pg_uuid_t *id, const ChargedBudgets *charged)
{
	for (int i = 0; i < charged->n; i++)
	{
		if (memcmp(&charged->budgets[i].id, id, sizeof(pg_uuid_t)) == 0)
			return true;
	}
	return false;
}

/*
 * Adds a budget (id, started_at, warns, rate_limits), if there is one and it is
 * not there yet; its limits to memory.
 */
static void
add_charged(const Datum *row, const bool *nulls, MemoryContext memory, ChargedBudgets *charged)
{
	ChargedBudget *budget;

	if (nulls[0] || is_charged(DatumGetUUIDP(row[0]), charged))
		return;
	Assert(charged->n < CHARGE_MAX_BUDGETS);
	budget = &charged->budgets[charged->n++];
	budget->id = *DatumGetUUIDP(row[0]);
	budget->period = DatumGetTimestampTz(row[1]);
	budget->warns = DatumGetBool(row[2]);
	budget->limits = rate_limits_parse(DatumGetJsonbP(row[3]), memory);
}

/* Reads a key with the budgets of a charge; returns false if it does not exist. */
static bool
read_budgets(const UsageRecord *record, MemoryContext memory, Charge *charge)
{
	Datum		arguments[] = {
		UUIDPGetDatum(record->id),
		TimestampTzGetDatum(record->now),
		UUIDPGetDatum(record->budget_id),
		PointerGetDatum(record->reserved_budgets)
	};
	bool		arguments_nulls[lengthof(arguments)] = {
		[2] = record->budget_id == NULL,
		[3] = record->reserved_budgets == NULL
	};
	uint64		nrows = store_read_latest(&find_charge, arguments, arguments_nulls);

	for (uint64 i = 0; i < nrows; i++)
	{
		Datum		row[FIND_CHARGE_NCOLUMNS];
		bool		nulls[FIND_CHARGE_NCOLUMNS];

		Assert(SPI_tuptable->tupdesc->natts == FIND_CHARGE_NCOLUMNS);
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		if (i == 0)
			store_copy_limits(row, nulls, memory, &charge->key);
		for (int column = 3; column < FIND_CHARGE_NCOLUMNS; column += CHARGED_NCOLUMNS)
			add_charged(row + column, nulls + column, memory, &charge->charged);
	}
	return nrows > 0;
}

static bool
is_positive(Numeric cost)
{
	return DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(cost),
											NumericGetDatum(int64_to_numeric(0))));
}

/*
 * Reads what usage is charged to, into memory.  Most keys have no budget, so what
 * that takes is read only if it is needed; then all is read with one snapshot.
 */
static RecordOutcome
read_charge(const UsageRecord *record, MemoryContext memory, Charge *charge)
{
	charge->charged.n = 0;
	if (record->budget_id == NULL && record->reserved_budgets == NULL)
	{
		if (!store_read_limits(record->id, memory, &charge->key))
			return RECORD_KEY_GONE;
		if (!charge->key.has_budget)
			return RECORD_ADDED;
	}

	if (!read_budgets(record, memory, charge))
		return RECORD_KEY_GONE;
	if (record->budget_id != NULL && !is_charged(record->budget_id, &charge->charged))
		return RECORD_BUDGET_GONE;
	return RECORD_ADDED;
}

/* Makes arrays of the ids and periods of budgets. */
static void
make_arrays(const ChargedBudgets *charged, Datum *ids, Datum *periods)
{
	Datum		id[CHARGE_MAX_BUDGETS];
	Datum		period[CHARGE_MAX_BUDGETS];

	for (int i = 0; i < charged->n; i++)
	{
		id[i] = UUIDPGetDatum(&charged->budgets[i].id);
		period[i] = TimestampTzGetDatum(charged->budgets[i].period);
	}
	*ids = PointerGetDatum(construct_array(id, charged->n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	*periods = PointerGetDatum(construct_array(period, charged->n, TIMESTAMPTZOID, sizeof(TimestampTz),
											   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Appends entries for what a record is charged to; false if it is repeated. */
static bool
add_entries(const UsageRecord *record, const ChargedBudgets *charged)
{
	Datum		entry[] = {
		UUIDPGetDatum(record->id),
		TimestampTzGetDatum(record->now),
		Int64GetDatum(record->tokens),
		NumericGetDatum(record->cost),
		PointerGetDatum(record->model),
		PointerGetDatum(record->request_id),
		(Datum) 0,
		(Datum) 0,
		TimestampTzGetDatum(record->reserved_at)
	};
	Datum	   *ids = &entry[6];
	Datum	   *periods = &entry[7];
	bool		nulls[lengthof(entry)] = {
		[4] = record->model == NULL,
		[6] = charged->n == 0,
		[7] = charged->n == 0,
		[8] = record->reserved_budgets == NULL
	};

	if (charged->n > 0)
		make_arrays(charged, ids, periods);
	if (record->request_id == NULL)
		store_write_silently(&add_usage, entry, nulls);
	else if (store_write_latest(&add_request, entry, nulls) == 0)
		return false;

	if (charged->n > 0 && is_positive(record->cost))
		store_write_silently(&add_spending, (Datum[]) {*ids, *periods, entry[3]}, NULL);
	return true;
}

/*
 * Records a request in the ledgers, and sets what it is charged to.  Waits for
 * others that record or void the same request_id of this key, and for nobody
 * else.
 */
RecordOutcome
store_add_usage(const UsageRecord *record, Charge *charge)
{
	StoreScope	scope;
	MemoryContext memory = CurrentMemoryContext;
	RecordOutcome outcome;

	Assert(record->tokens >= 0);

	store_open(&scope);
	outcome = read_charge(record, memory, charge);
	if (outcome == RECORD_ADDED)
	{
		store_lock_keys_first();
		ForceSyncCommit();
		if (!add_entries(record, &charge->charged))
			outcome = RECORD_REPEATED;
	}
	store_close(&scope);

	return outcome;
}

/* Sets budgets from arrays of their ids and periods. */
static void
read_arrays(Datum ids, Datum periods, ChargedBudgets *charged)
{
	Datum	   *id;
	Datum	   *period;
	int			nids;
	int			nperiods;

	deconstruct_array(DatumGetArrayTypeP(ids), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &id, NULL, &nids);
	deconstruct_array(DatumGetArrayTypeP(periods), TIMESTAMPTZOID, sizeof(TimestampTz),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &period, NULL, &nperiods);
	if (nids != nperiods || nids > CHARGE_MAX_BUDGETS)
		elog(ERROR, "apikeys_data.usage_request has %d budgets with %d periods", nids, nperiods);

	charged->n = nids;
	for (int i = 0; i < nids; i++)
	{
		charged->budgets[i].id = *DatumGetUUIDP(id[i]);
		charged->budgets[i].period = DatumGetTimestampTz(period[i]);
		charged->budgets[i].warns = false;
		charged->budgets[i].limits = NULL;
	}
}

static Statement find_budget_limits = {
	.sql = "SELECT b.id, b.rate_limits FROM apikeys_data.budget b"
	" WHERE b.id OPERATOR(pg_catalog.=) ANY ($1)",
	STATEMENT_ARGS(UUIDARRAYOID)
};

/* Reads the limits that budgets have now, into memory. */
static void
read_budget_limits(Datum ids, MemoryContext memory, ChargedBudgets *charged)
{
	uint64		nrows = store_read_latest(&find_budget_limits, &ids, NULL);

	for (uint64 r = 0; r < nrows; r++)
	{
		Datum		row[2];
		bool		nulls[2];

		heap_deform_tuple(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, row, nulls);
		for (int i = 0; i < charged->n; i++)
		{
			if (memcmp(&charged->budgets[i].id, DatumGetUUIDP(row[0]), sizeof(pg_uuid_t)) == 0)
				charged->budgets[i].limits = rate_limits_parse(DatumGetJsonbP(row[1]), memory);
		}
	}
}

/* Copies what a void has taken back, and appends it to the ledger of budgets. */
static void
void_spending(MemoryContext memory, VoidedUsage *voided)
{
	Datum		row[6];
	bool		nulls[6];

	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	voided->counted_at = DatumGetTimestampTz(row[0]);
	voided->tokens = DatumGetInt64(row[1]);
	voided->cost = DatumGetNumeric(row[2]);
	voided->model = nulls[5] ? NULL : DatumGetTextPP(row[5]);
	voided->charged.n = 0;
	if (nulls[3])
		return;

	read_arrays(row[3], row[4], &voided->charged);
	if (DatumGetBool(DirectFunctionCall2(numeric_ne, row[2], NumericGetDatum(int64_to_numeric(0)))))
		store_write_silently(&add_spending, (Datum[]) {row[3], row[4], row[2]}, NULL);
	read_budget_limits(row[3], memory, &voided->charged);
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
	MemoryContext memory = CurrentMemoryContext;
	bool		found;

	store_open(&scope);
	store_lock_keys_first();
	ForceSyncCommit();
	found = store_write_latest(&void_request,
							   (Datum[]) {UUIDPGetDatum(id), PointerGetDatum(request_id),
										 TimestampTzGetDatum(oldest)},
							   NULL) > 0;
	if (found)
		void_spending(memory, voided);
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
