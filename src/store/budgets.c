/*-------------------------------------------------------------------------
 *
 * budgets.c
 *	  The statements on apikeys_data.budget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "store/advisory_locks.h"
#include "store/budgets.h"
#include "store/lock_wait.h"
#include "store/spi.h"

/*
 * Of what a budget, b with its row i of budget_info, is to warn in its period:
 * fractions of its limit.
 */
#define WARNINGS_LEFT \
	"pg_catalog.unnest(b.warn_at) f WHERE NOT EXISTS (" \
	"SELECT FROM apikeys_data.budget_warning w" \
	" WHERE w.budget_id OPERATOR(pg_catalog.=) b.id" \
	" AND (b.reset_every IS NULL" \
	" OR w.started_at OPERATOR(pg_catalog.>=) i.period_started_at)" \
	" AND (i.period_ends_at IS NULL" \
	" OR w.started_at OPERATOR(pg_catalog.<) i.period_ends_at)" \
	" AND w.fraction OPERATOR(pg_catalog.=) f)"

static Statement find_budget = {
	.sql = "SELECT i.name, i.max_cost OPERATOR(pg_catalog.+) i.added, i.spent, i.remaining,"
	" i.period_started_at, i.period_ends_at, b.xmin,"
	" CASE WHEN b.warn_at IS NOT NULL THEN (i.max_cost OPERATOR(pg_catalog.+) i.added)"
	" OPERATOR(pg_catalog.*) (SELECT pg_catalog.min(f) FROM " WARNINGS_LEFT ") END,"
	" b.parent_id, b.rate_limits"
	" FROM apikeys_data.budget b"
	" JOIN apikeys_data.budget_info i ON i.id OPERATOR(pg_catalog.=) b.id"
	" WHERE b.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

#define BUDGET_CONFIG_COLUMNS \
	"b.name, b.max_cost, b.reset_every, b.parent_id, b.rate_limits, b.warn_at," \
	" b.starts_at, b.time_zone, b.metadata"

static Statement read_budget = {
	.sql = SELECT_BY_ID(BUDGET_CONFIG_COLUMNS, "budget", "b"),
	STATEMENT_ARGS(UUIDOID)
};

/* Against changes; keys can still be assigned to it. */
static RowLock change_lock = ROW_LOCK("this budget", "budget", "b", BUDGET_CONFIG_COLUMNS,
									  "NO KEY UPDATE");

static RowLock deletion_lock = ROW_LOCK("this budget", "budget", "b", BUDGET_CONFIG_COLUMNS,
										"UPDATE");

/* Against its deletion, but not against a change. */
static RowLock share_lock = ROW_LOCK("this budget", "budget", "b", "", "KEY SHARE");

static Statement budget_info = {
	.sql = "SELECT i FROM apikeys_data.budget_info i WHERE i.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

/* Those that are neither revoked nor expired, as status_at() says. */
static Statement live_budget_keys = {
	.sql = "SELECT FROM ONLY apikeys_data.key k"
	" WHERE k.budget_id OPERATOR(pg_catalog.=) $1"
	" AND k.revoked_at IS NULL"
	" AND COALESCE(" KEY_ENDS_AT ", 'infinity') OPERATOR(pg_catalog.>=) $2"
	" LIMIT 1",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID)
};

/* The configuration of a budget, as a document. */
#define BUDGET_DOCUMENT \
	"pg_catalog.jsonb_build_object('name', name, 'max_cost', max_cost," \
	" 'reset_every', reset_every, 'parent_id', parent_id, 'rate_limits', rate_limits," \
	" 'warn_at', warn_at, 'starts_at', starts_at, 'time_zone', time_zone," \
	" 'metadata', metadata) AS document"

/* id, now, role, and the configuration */
#define BUDGET_ARGS \
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID, TEXTOID, NUMERICOID, INTERVALOID, \
				   UUIDOID, JSONBOID, NUMERICARRAYOID, TIMESTAMPTZOID, TEXTOID, JSONBOID)

/* Here as well Citus wants nothing but columns in RETURNING, see keys.c. */
static Statement insert_budget = {
	.sql = "WITH added AS ("
	"INSERT INTO apikeys_data.budget (id, created_at, updated_at,"
	" name, max_cost, reset_every, parent_id, rate_limits, warn_at, starts_at, time_zone, metadata)"
	" VALUES ($1, $2, $2, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	" RETURNING *),"
	" new AS (SELECT " BUDGET_DOCUMENT " FROM added)"
	" " ADD_EVENT
	" SELECT $2, $3, 'budget_create', NULL,"
	" pg_catalog.jsonb_build_object('budget_id', $1)"
	" OPERATOR(pg_catalog.||) new.document FROM new",
	BUDGET_ARGS
};

static Statement update_budget = {
	.sql = "WITH was AS (SELECT " BUDGET_DOCUMENT " FROM apikeys_data.budget"
	" WHERE id OPERATOR(pg_catalog.=) $1),"
	" changed AS (UPDATE apikeys_data.budget SET updated_at = $2, name = $4,"
	" max_cost = $5, reset_every = $6, parent_id = $7, rate_limits = $8, warn_at = $9,"
	" starts_at = $10, time_zone = $11, metadata = $12"
	" WHERE id OPERATOR(pg_catalog.=) $1"
	" RETURNING *),"
	" became AS (SELECT " BUDGET_DOCUMENT " FROM changed)"
	" " ADD_EVENT
	" SELECT $2, $3, 'budget_update', NULL,"
	" pg_catalog.jsonb_build_object('budget_id', $1)"
	" OPERATOR(pg_catalog.||) " CHANGED_MEMBERS " FROM was, became",
	BUDGET_ARGS
};

/* The update of the budget is for its trigger, which invalidates the caches. */
static Statement add_credit = {
	.sql = "WITH budget AS (UPDATE apikeys_data.budget SET updated_at = $2"
	" WHERE id OPERATOR(pg_catalog.=) $1 RETURNING name),"
	" credit AS (INSERT INTO apikeys_data.budget_credit AS c (budget_id, started_at, added)"
	" VALUES ($1, $4, $5) ON CONFLICT (budget_id, started_at) DO UPDATE"
	" SET added = c.added OPERATOR(pg_catalog.+) excluded.added RETURNING c.added)"
	" " ADD_EVENT
	" SELECT $2, $3, 'budget_add', NULL, pg_catalog.jsonb_build_object("
	"'budget_id', $1, 'name', budget.name, 'amount', $5, 'added', credit.added, 'note', $6)"
	" FROM budget, credit",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID)
};

/* The period, and the fractions that are spent in it without a warning. */
static Statement due_warnings = {
	.sql = "SELECT i.period_started_at, ARRAY(SELECT f FROM " WARNINGS_LEFT
	" AND i.spent OPERATOR(pg_catalog.>=)"
	" ((i.max_cost OPERATOR(pg_catalog.+) i.added) OPERATOR(pg_catalog.*) f) ORDER BY f)"
	" FROM apikeys_data.budget b"
	" JOIN apikeys_data.budget_info i ON i.id OPERATOR(pg_catalog.=) b.id"
	" WHERE b.id OPERATOR(pg_catalog.=) $1 AND b.warn_at IS NOT NULL",
	STATEMENT_ARGS(UUIDOID)
};

static Statement add_warnings = {
	.sql = "WITH warned AS (INSERT INTO apikeys_data.budget_warning AS w"
	" (budget_id, started_at, fraction)"
	" SELECT $1, $4, f FROM pg_catalog.unnest($5) f RETURNING w.fraction)"
	" " ADD_EVENT
	" SELECT $2, $3, 'budget_warning', NULL, pg_catalog.jsonb_build_object("
	"'budget_id', $1, 'name', i.name, 'fraction', warned.fraction, 'spent', i.spent,"
	" 'max_cost', i.max_cost, 'added', i.added, 'period', pg_catalog.to_char("
	"pg_catalog.timezone('UTC', $4), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"'))"
	" FROM warned, apikeys_data.budget_info i WHERE i.id OPERATOR(pg_catalog.=) $1"
	" ORDER BY warned.fraction",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID, TIMESTAMPTZOID, NUMERICARRAYOID)
};

/*
 * Keys that are revoked or expired are detached: the event has their number, and
 * they get no events of their own.  Rows of budget_period are left to
 * apikey_cleanup_expired, so that no flush has to wait.  Entries
 * in the ledger are discarded when they are rolled up.
 */
static Statement delete_budget = {
	.sql = "WITH detached AS (UPDATE ONLY apikeys_data.key k"
	" SET budget_id = NULL, updated_at = $2"
	" WHERE k.budget_id OPERATOR(pg_catalog.=) $1"
	" AND (k.revoked_at IS NOT NULL OR " KEY_ENDS_AT " OPERATOR(pg_catalog.<) $2)"
	" RETURNING k.id),"
	" credit AS (DELETE FROM apikeys_data.budget_credit"
	" WHERE budget_id OPERATOR(pg_catalog.=) $1),"
	" deleted AS (DELETE FROM apikeys_data.budget"
	" WHERE id OPERATOR(pg_catalog.=) $1"
	" RETURNING id, name)"
	" " ADD_EVENT
	" SELECT $2, $3, 'budget_delete', NULL, pg_catalog.jsonb_build_object("
	"'budget_id', deleted.id, 'name', deleted.name,"
	" 'detached_keys', (SELECT pg_catalog.count(*) FROM detached)) FROM deleted",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, NAMEOID)
};

/*
 * Finds a budget, and what has been spent of it; returns false if it does not
 * exist.  Takes no row lock.  What this transaction has written itself counts if
 * own is set.  saved, unless NULL, is set to the snapshot with which the budget
 * was read.
 */
bool
store_find_budget(const pg_uuid_t *id, bool own, BudgetRow *row, SavedSnapshot *saved)
{
	StoreScope	scope;
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[10];
	bool		nulls[10];
	bool		found;

	store_open(&scope);
	found = (own ? store_read_latest_saved : store_read_committed_saved)(&find_budget, (Datum[]) {UUIDPGetDatum(id)}, NULL, saved, caller) > 0;
	if (found)
	{
		Assert(SPI_tuptable->tupdesc->natts == lengthof(values));
		heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, values, nulls);
	}
	store_close(&scope);

	if (found)
	{
		row->name = TextDatumGetCString(values[0]);
		row->limit = nulls[1] ? NULL : DatumGetNumericCopy(values[1]);
		row->spent = DatumGetNumericCopy(values[2]);
		row->remaining = nulls[3] ? NULL : DatumGetNumericCopy(values[3]);
		row->started_at = DatumGetTimestampTz(values[4]);
		row->ends_at = nulls[5] ? DT_NOEND : DatumGetTimestampTz(values[5]);
		row->own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(values[6]));
		row->warn_next = nulls[7] ? NULL : DatumGetNumericCopy(values[7]);
		row->has_parent = !nulls[8];
		if (row->has_parent)
			row->parent_id = *DatumGetUUIDP(values[8]);
		row->rate_limits = DatumGetJsonbPCopy(values[9]);
	}

	return found;
}

/* Copies the configuration of the budget that is the result, if there is one. */
static void
copy_config(bool found, BudgetConfig *config)
{
	if (!found)
		return;
	Assert(SPI_tuptable->tupdesc->natts == BUDGET_NMEMBERS);
	heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc,
					  config->values, config->nulls);
}

/* Reads the configuration of a budget; returns false if it does not exist. */
bool
store_read_budget(const pg_uuid_t *id, BudgetConfig *config)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read(&read_budget, (Datum[]) {UUIDPGetDatum(id)}, NULL) > 0;
	copy_config(found, config);
	store_close(&scope);

	return found;
}

/*
 * Locks a budget against every change until the transaction ends, and against
 * keys that are assigned to it if it is to be deleted.  Reads its configuration;
 * returns false if it does not exist.
 */
bool
store_lock_budget(const pg_uuid_t *id, bool for_deletion, BudgetConfig *config)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_lock_row(for_deletion ? &deletion_lock : &change_lock, id);
	copy_config(found, config);
	store_close(&scope);

	return found;
}

/*
 * Prevents the deletion of a budget until the transaction ends; returns false
 * if it does not exist.  To be called before a key is assigned to it: a
 * transaction that deletes the budget checks for keys, and cannot see ours yet.
 */
bool
store_lock_budget_for_share(const pg_uuid_t *id)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_lock_row(&share_lock, id);
	store_close(&scope);

	return found;
}

/* Returns the row of apikeys_data.budget_info of a budget that is locked. */
Datum
store_budget_info(const pg_uuid_t *id)
{
	Datum		info;

	if (!store_read_info(&budget_info, id, &info))
		elog(ERROR, "apikeys_data.budget_info has no row for what exists");
	return info;
}

/* Is any key assigned to a budget that is neither revoked nor expired at now? */
bool
store_budget_has_live_keys(const pg_uuid_t *id, TimestampTz now)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read_latest(&live_budget_keys,
							  (Datum[]) {UUIDPGetDatum(id), TimestampTzGetDatum(now)}, NULL) > 0;
	store_close(&scope);

	return found;
}

/* Executes a statement with BUDGET_ARGS. */
static void
write_budget(Statement *statement, const pg_uuid_t *id, const BudgetConfig *config,
			 TimestampTz now)
{
	StoreScope	scope;
	Datum		values[3 + BUDGET_NMEMBERS];
	bool		nulls[3 + BUDGET_NMEMBERS] = {0};

	Assert(statement->nargs == lengthof(values));

	store_open(&scope);
	values[0] = UUIDPGetDatum(id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = store_acting_role(&scope);
	memcpy(values + 3, config->values, sizeof(config->values));
	memcpy(nulls + 3, config->nulls, sizeof(config->nulls));
	store_write_one(statement, "budget", values, nulls);
	store_close(&scope);
}

/* Stores a new budget. */
void
store_insert_budget(const pg_uuid_t *id, const BudgetConfig *config, TimestampTz now)
{
	write_budget(&insert_budget, id, config, now);
}

/* Stores the configuration of a locked budget; its event has the changes. */
void
store_update_budget(const pg_uuid_t *id, const BudgetConfig *config, TimestampTz now)
{
	write_budget(&update_budget, id, config, now);
}

/*
 * Adds the warnings that a budget has to give by now, and their events.  Returns
 * false if there was none, or another transaction is about to: it holds the lock
 * of this budget's warnings, which is not waited for.  No trigger of a user
 * runs, so none prevents that usage is recorded or rolled up.
 */
bool
store_warn_budget(const pg_uuid_t *id, TimestampTz now)
{
	StoreScope	scope;
	Datum		due[2];
	bool		nulls[2];
	bool		found;

	if (!store_try_lock_warnings(id))
		return false;

	store_open(&scope);
	found = store_read_latest(&due_warnings, (Datum[]) {UUIDPGetDatum(id)}, NULL) > 0;
	if (found)
	{
		heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc, due, nulls);
		found = ARR_NDIM(DatumGetArrayTypeP(due[1])) > 0;
	}
	if (found)
		store_write_silently(&add_warnings,
							 (Datum[]) {UUIDPGetDatum(id), TimestampTzGetDatum(now),
									   store_acting_role(&scope), due[0], due[1]},
							 NULL);
	store_close(&scope);

	return found;
}

/*
 * Adds an amount to a locked budget in the period that started at started_at;
 * note may be NULL.
 */
void
store_add_credit(const pg_uuid_t *id, TimestampTz started_at, Numeric amount,
				 const text *note, TimestampTz now)
{
	StoreScope	scope;
	Datum		values[] = {
		UUIDPGetDatum(id),
		TimestampTzGetDatum(now),
		(Datum) 0,
		TimestampTzGetDatum(started_at),
		NumericGetDatum(amount),
		PointerGetDatum(note)
	};

	store_open(&scope);
	values[2] = store_acting_role(&scope);
	store_write_one(&add_credit, "budget", values,
					(bool[lengthof(values)]){[5] = note == NULL});
	store_close(&scope);
}

/* Deletes a locked budget, and detaches keys that are revoked or expired at now. */
void
store_delete_budget(const pg_uuid_t *id, TimestampTz now)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_one(&delete_budget, "budget",
					(Datum[]) {UUIDPGetDatum(id), TimestampTzGetDatum(now),
							  store_acting_role(&scope)},
					NULL);
	store_close(&scope);
}
