/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  The statements that record usage in the ledger, usage_entry, and on what
 *	  keys have used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A transaction that records usage never waits: it only appends.  A cost is spent
 * from the first of its budgets by the entry of the request itself, and from each
 * other one by an entry of its own.  There are no foreign keys to apikeys_data.key
 * and budget, since their checks would lock the row of a hot key or budget.
 * roll_up.c rolls up what was appended.
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

#include "base/arguments.h"
#include "model/period.h"
#include "store/key_limits.h"
#include "store/replicated_requests.h"
#include "store/row_by_id.h"
#include "store/spi.h"
#include "store/usage.h"
#include "store/write_latest.h"

static Statement add_usage = {
	.sql = "INSERT INTO apikeys_data.usage_entry"
	" (key_id, recorded_at, tokens, cost, model, budget_id, budget_period)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7)",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, TEXTOID, UUIDOID, TIMESTAMPTZOID)
};

/* The same with several budgets, of which $8 is the first: to start statements takes long. */
static Statement add_usage_of_budgets = {
	.sql = "INSERT INTO apikeys_data.usage_entry"
	" (key_id, recorded_at, requests, tokens, cost, model, budget_id, budget_period)"
	" SELECT CASE WHEN b.id OPERATOR(pg_catalog.=) $8 THEN $1 END, $2,"
	" CASE WHEN b.id OPERATOR(pg_catalog.=) $8 THEN 1 ELSE 0 END,"
	" CASE WHEN b.id OPERATOR(pg_catalog.=) $8 THEN $3 ELSE 0 END, $4,"
	" CASE WHEN b.id OPERATOR(pg_catalog.=) $8 THEN $5 END, b.id, b.period"
	" FROM (SELECT pg_catalog.unnest($6) AS id, pg_catalog.unnest($7) AS period) b",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, TEXTOID, UUIDARRAYOID,
				   TIMESTAMPTZARRAYOID, UUIDOID)
};

/* As the first, unless a request of this key has this id ($8) on this node already. */
static Statement add_request = {
	.sql = "WITH request AS (INSERT INTO apikeys_data.usage_request"
	" (key_id, recorded_at, tokens, cost, model, request_id, budget_ids, budget_periods, reserved_at)"
	" VALUES ($1, $2, $3, $4, $5, $8, $9, $10, $11)"
	" ON CONFLICT (key_id, request_id, node) DO NOTHING RETURNING key_id)"
	" INSERT INTO apikeys_data.usage_entry"
	" (key_id, recorded_at, tokens, cost, model, budget_id, budget_period)"
	" SELECT request.key_id, $2, $3, $4, $5, $6, $7 FROM request",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, TEXTOID, UUIDOID, TIMESTAMPTZOID,
				   TEXTOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID)
};

/* A cost that counts against budgets alone. */
static Statement add_spending = {
	.sql = "INSERT INTO apikeys_data.usage_entry"
	" (recorded_at, requests, tokens, cost, budget_id, budget_period)"
	" SELECT $1, 0, 0, $2, pg_catalog.unnest($3), pg_catalog.unnest($4)",
	STATEMENT_ARGS(TIMESTAMPTZOID, NUMERICOID, UUIDARRAYOID, TIMESTAMPTZARRAYOID)
};

/* On the node that recorded it: two could take back the same. */
static Statement void_request = {
	.sql = "WITH request AS (UPDATE apikeys_data.usage_request r SET is_void = true"
	" WHERE r.key_id OPERATOR(pg_catalog.=) $1 AND r.request_id OPERATOR(pg_catalog.=) $2"
	" AND r.recorded_at OPERATOR(pg_catalog.>=) $3 AND NOT r.is_void"
	" AND r.node OPERATOR(pg_catalog.=) apikeys.this_node()"
	" RETURNING r.key_id, r.recorded_at, OPERATOR(pg_catalog.-) r.tokens AS tokens,"
	" OPERATOR(pg_catalog.-) r.cost AS cost, r.model, r.budget_ids, r.budget_periods, r.reserved_at,"
	" r.cost OPERATOR(pg_catalog.<>) 0 AS is_spent),"
	" entry AS (INSERT INTO apikeys_data.usage_entry"
	" (key_id, recorded_at, requests, tokens, cost, model, budget_id, budget_period)"
	" SELECT r.key_id, r.recorded_at, -1, r.tokens, r.cost, r.model,"
	" CASE WHEN r.is_spent THEN r.budget_ids[1] END,"
	" CASE WHEN r.is_spent THEN r.budget_periods[1] END FROM request r)"
	" SELECT COALESCE(r.reserved_at, r.recorded_at), r.tokens, r.cost, r.budget_ids, r.budget_periods, r.model,"
	" r.recorded_at FROM request r",
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
	" FROM apikeys_data.key_info i WHERE i.id OPERATOR(pg_catalog.=) $1" OF_USER("i"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

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
 * Adds a budget, its limits to memory, and sets what is above it.  Returns false
 * if it does not exist.  It is read as verify reads it: without a row lock, which
 * would write to it, and with the latest snapshot.
 */
static bool
add_charged(const RowTable *table, const pg_uuid_t *id, TimestampTz now, MemoryContext memory,
			ChargedBudgets *charged, pg_uuid_t *parent_id, bool *has_parent)
{
	static RowColumn columns[] = {{.name = "id"}, {.name = "starts_at"}, {.name = "reset_every"}, {.name = "time_zone"}, {.name = "warn_at"}, {.name = "rate_limits"}, {.name = "parent_id"}};
	ChargedBudget *budget = &charged->budgets[charged->n];
	Datum		row[lengthof(columns)];
	bool		nulls[lengthof(columns)];

	if (!store_read_row(table, id, columns, lengthof(columns), row, nulls))
		return false;

	Assert(charged->n < CHARGE_MAX_BUDGETS);
	budget->id = *id;
	budget->period = period_at(DatumGetTimestampTz(row[1]), nulls[2] ? NULL : DatumGetIntervalP(row[2]),
							   TextDatumGetCString(row[3]), now)
						 .started_at;
	budget->warns = !nulls[4];
	budget->limits = rate_limits_parse(DatumGetJsonbP(row[5]), memory);
	charged->n++;
	*has_parent = !nulls[6];
	if (*has_parent)
		*parent_id = *DatumGetUUIDP(row[6]);
	return true;
}

/*
 * Adds a budget and those above it, but none twice.  Returns false if one of them
 * does not exist.  One read for each level takes less time than a join of all,
 * and most budgets have nothing above them.
 */
static bool
charge_path(const RowTable *table, const pg_uuid_t *first, TimestampTz now, MemoryContext memory,
			ChargedBudgets *charged)
{
	pg_uuid_t	id = *first;
	bool		has_parent = true;

	for (int level = 0; level < BUDGET_MAX_LEVELS && has_parent && !is_charged(&id, charged); level++)
	{
		pg_uuid_t	parent_id;

		if (!add_charged(table, &id, now, memory, charged, &parent_id, &has_parent))
			return false;
		id = parent_id;
	}
	return true;
}

/* Adds the budgets for which something has been reserved, as far as they exist. */
static void
charge_reserved(const RowTable *table, ArrayType *ids, TimestampTz now, MemoryContext memory,
				ChargedBudgets *charged)
{
	Datum	   *id;
	int			n;
	pg_uuid_t	parent_id;
	bool		has_parent;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &id, NULL, &n);
	for (int i = 0; i < n; i++)
		(void) add_charged(table, DatumGetUUIDP(id[i]), now, memory, charged, &parent_id, &has_parent);
}

/*
 * Reads the budgets of a record.  Returns false if one of them is not there: it
 * may have been deleted after the key or what is below it was read.
 */
static bool
read_budgets(const UsageRecord *record, MemoryContext memory, Charge *charge)
{
	ChargedBudgets *charged = &charge->charged;
	RowTable	table;
	bool		found = true;

	charged->n = 0;
	if (record->reserved_budgets == NULL && !charge->key.has_budget && record->budget_id == NULL)
		return true;

	store_open_rows(&table, "budget");
	if (record->reserved_budgets != NULL)
		charge_reserved(&table, record->reserved_budgets, record->now, memory, charged);
	else
	{
		if (charge->key.has_budget)
			found = charge_path(&table, &charge->key.budget_id, record->now, memory, charged);
		if (record->budget_id != NULL)
			found &= charge_path(&table, record->budget_id, record->now, memory, charged);
	}
	store_close_rows(&table);
	return found;
}

/*
 * Reads what usage is charged to, into memory.  If a budget is missing, key and
 * budgets are read again, once: they may point to others now.
 */
static RecordOutcome
read_charge(const UsageRecord *record, MemoryContext memory, Charge *charge)
{
	bool		found = false;

	for (int tries = 0; tries < 2 && !found; tries++)
	{
		if (!store_read_limits(record->id, record->user_id, memory, &charge->key))
			return RECORD_KEY_GONE;
		found = read_budgets(record, memory, charge);
	}
	if (record->budget_id != NULL && !is_charged(record->budget_id, &charge->charged))
		return RECORD_BUDGET_GONE;
	return RECORD_ADDED;
}

/* Makes arrays of the ids and periods of budgets, from one on; false if there are none. */
static bool
make_arrays(const ChargedBudgets *charged, int first, Datum *ids, Datum *periods)
{
	Datum		id[CHARGE_MAX_BUDGETS];
	Datum		period[CHARGE_MAX_BUDGETS];
	int			n = charged->n - first;

	if (n <= 0)
		return false;

	for (int i = 0; i < n; i++)
	{
		id[i] = UUIDPGetDatum(&charged->budgets[first + i].id);
		period[i] = TimestampTzGetDatum(charged->budgets[first + i].period);
	}
	*ids = PointerGetDatum(construct_array(id, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	*periods = PointerGetDatum(construct_array(period, n, TIMESTAMPTZOID, sizeof(TimestampTz),
											   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	return true;
}

/* Appends entries for all budgets but the first, whose entry is that of the request. */
static void
add_more_spending(const ChargedBudgets *charged, Datum recorded_at, Numeric cost)
{
	Datum		values[] = {recorded_at, NumericGetDatum(cost), (Datum) 0, (Datum) 0};

	if (amount_sign(cost) != 0 && make_arrays(charged, 1, &values[2], &values[3]))
		store_write_silently(&add_spending, values, NULL);
}

/* Appends entries for a request with a cost and several budgets. */
static void
add_usage_of_several(const ChargedBudgets *charged, const Datum *usage, bool no_model)
{
	Datum		values[8] = {usage[0], usage[1], usage[2], usage[3], usage[4]};
	bool		nulls[lengthof(values)] = {[4] = no_model};

	values[7] = UUIDPGetDatum(&charged->budgets[0].id);
	(void) make_arrays(charged, 0, &values[5], &values[6]);
	store_write_silently(&add_usage_of_budgets, values, nulls);
}

/* Appends entries for what a record is charged to; false if it is repeated. */
static bool
add_entries(const UsageRecord *record, const Charge *charge)
{
	const ChargedBudgets *charged = &charge->charged;
	bool		is_spent = charged->n > 0 && amount_sign(record->cost) > 0;
	Datum		entry[] = {
		UUIDPGetDatum(&charge->key.id),
		TimestampTzGetDatum(record->now),
		Int64GetDatum(record->tokens),
		NumericGetDatum(record->cost),
		PointerGetDatum(record->model),
		UUIDPGetDatum(&charged->budgets[0].id),
		TimestampTzGetDatum(charged->budgets[0].period),
		PointerGetDatum(record->request_id),
		(Datum) 0,
		(Datum) 0,
		TimestampTzGetDatum(record->reserved_at)
	};
	bool		nulls[lengthof(entry)] = {
		[4] = record->model == NULL,
		[5] = !is_spent,
		[6] = !is_spent,
		[10] = record->reserved_budgets == NULL
	};

	if (record->request_id == NULL)
	{
		if (is_spent && charged->n > 1)
			add_usage_of_several(charged, entry, nulls[4]);
		else
			store_write_silently(&add_usage, entry, nulls);
		return true;
	}

	nulls[8] = nulls[9] = !make_arrays(charged, 0, &entry[8], &entry[9]);
	if (store_request_is_of_another_node(&charge->key.id, record->request_id) ||
		store_write_latest(&add_request, entry, nulls) == 0)
		return false;
	add_more_spending(charged, TimestampTzGetDatum(record->now), record->cost);
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
	store_lock_keys_first();
	outcome = read_charge(record, memory, charge);
	if (outcome == RECORD_ADDED && !add_entries(record, charge))
		outcome = RECORD_REPEATED;
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

/* Copies what a void has taken back, and takes it back from all its budgets. */
static void
void_spending(MemoryContext memory, VoidedUsage *voided)
{
	Datum		row[7];
	bool		nulls[7];

	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, row, nulls);
	voided->counted_at = DatumGetTimestampTz(row[0]);
	voided->tokens = DatumGetInt64(row[1]);
	voided->cost = DatumGetNumeric(row[2]);
	voided->model = nulls[5] ? NULL : DatumGetTextPP(row[5]);
	voided->charged.n = 0;
	if (nulls[3])
		return;

	read_arrays(row[3], row[4], &voided->charged);
	add_more_spending(&voided->charged, row[6], voided->cost);
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

/*
 * Reads the usage of a key; returns false if it does not exist, or is not of this
 * user, unless that is NULL.
 */
bool
store_usage(const pg_uuid_t *id, const pg_uuid_t *user_id, UsageRow *row)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read(&read_usage, KEY_OF_USER(id, user_id)) > 0;
	if (found)
	{
		Assert(SPI_tuptable->tupdesc->natts == USAGE_NCOLUMNS);
		heap_deform_tuple(SPI_copytuple(SPI_tuptable->vals[0]),
						  SPI_tuptable->tupdesc, row->values, row->nulls);
	}
	store_close(&scope);

	return found;
}
