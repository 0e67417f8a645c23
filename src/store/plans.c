/*-------------------------------------------------------------------------
 *
 * plans.c
 *	  The statements on apikeys_data.plan, with their events.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "store/lock_wait.h"
#include "store/plans.h"
#include "store/spi.h"

/* ONLY: child tables have no triggers that invalidate caches. */
static Statement read_plan = {
	.sql = SELECT_BY("name", "p.name, p.permissions, p.rate_limits, p.description", "plan", "p"),
	STATEMENT_ARGS(TEXTOID)
};

#define PLAN_ROW_LOCK(strength) \
	ROW_LOCK_BY("name", TEXTOID, "this plan", "plan", "p", "", strength)

static RowLock locks[] = {
	[PLAN_LOCK_SHARE] = PLAN_ROW_LOCK("KEY SHARE"),
	[PLAN_LOCK_CHANGE] = PLAN_ROW_LOCK("NO KEY UPDATE"),
	[PLAN_LOCK_DELETION] = PLAN_ROW_LOCK("UPDATE"),
};

static Statement find_key_of_plan = {
	.sql = "SELECT FROM ONLY apikeys_data.key k"
	" WHERE k.plan OPERATOR(pg_catalog.=) $1 LIMIT 1",
	STATEMENT_ARGS(TEXTOID)
};

/* A plan as a document, and one that does not exist, for events. */
#define PLAN_DOCUMENT \
	"pg_catalog.jsonb_build_object('permissions', permissions," \
	" 'rate_limits', rate_limits, 'description', description) AS document"
#define NO_DOCUMENT \
	"(SELECT pg_catalog.jsonb_build_object('permissions', NULL," \
	" 'rate_limits', NULL, 'description', NULL) AS document)"

#define PLAN_EVENT(action) \
	ADD_EVENT " SELECT $5, $6, '" action "', NULL," \
	" pg_catalog.jsonb_build_object('plan', $1)" \
	" OPERATOR(pg_catalog.||) " CHANGED_MEMBERS " FROM was, became"

/* PlanConfig's members, now, role */
#define PLAN_ARGS STATEMENT_ARGS(TEXTOID, JSONBOID, JSONBOID, TEXTOID, TIMESTAMPTZOID, NAMEOID)

/* Here as well Citus wants nothing but columns in RETURNING, see keys.c. */
static Statement insert_plan = {
	.sql = "WITH was AS " NO_DOCUMENT ","
	" added AS (INSERT INTO apikeys_data.plan"
	" (name, permissions, rate_limits, description, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (name) DO NOTHING"
	" RETURNING *),"
	" became AS (SELECT " PLAN_DOCUMENT " FROM added)"
	" " PLAN_EVENT("plan_set"),
	PLAN_ARGS
};

/* Restores leave it alone from now on: see replace_installed_plan(). */
static Statement update_plan = {
	.sql = "WITH was AS (SELECT " PLAN_DOCUMENT " FROM ONLY apikeys_data.plan"
	" WHERE name OPERATOR(pg_catalog.=) $1),"
	" changed AS (UPDATE ONLY apikeys_data.plan SET permissions = $2, rate_limits = $3,"
	" description = $4, updated_at = $5, installed = false"
	" WHERE name OPERATOR(pg_catalog.=) $1"
	" RETURNING *),"
	" became AS (SELECT " PLAN_DOCUMENT " FROM changed)"
	" " PLAN_EVENT("plan_set"),
	PLAN_ARGS
};

static Statement delete_plan = {
	.sql = "WITH deleted AS (DELETE FROM ONLY apikeys_data.plan"
	" WHERE name OPERATOR(pg_catalog.=) $1"
	" RETURNING *),"
	" was AS (SELECT " PLAN_DOCUMENT " FROM deleted),"
	" became AS " NO_DOCUMENT
	" " PLAN_EVENT("plan_delete"),
	PLAN_ARGS
};

/* Reads a plan; returns false if it does not exist. */
bool
store_read_plan(const text *name, PlanConfig *config)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read(&read_plan, (Datum[]) {PointerGetDatum(name)}, NULL) > 0;
	if (found)
		heap_deform_tuple(store_copy_row(), SPI_tuptable->tupdesc,
						  config->values, config->nulls);
	store_close(&scope);

	return found;
}

/*
 * Locks a plan until the transaction ends; returns false if it does not exist.
 * To be called before a key is given it, too: a transaction that deletes the
 * plan cannot see that key yet.
 */
bool
store_lock_plan(const text *name, PlanLock lock)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_lock_row_by(&locks[lock], PointerGetDatum(name));
	store_close(&scope);

	return found;
}

/* Has any key a plan, whatever its status? */
bool
store_plan_has_keys(const text *name)
{
	StoreScope	scope;
	bool		found;

	store_open(&scope);
	found = store_read_latest(&find_key_of_plan, (Datum[]) {PointerGetDatum(name)}, NULL) > 0;
	store_close(&scope);

	return found;
}

/* Executes a statement with PLAN_ARGS; returns whether it wrote a plan. */
static bool
write_plan(Statement *statement, const PlanConfig *config, TimestampTz now)
{
	StoreScope	scope;
	Datum		values[PLAN_NMEMBERS + 2];
	bool		nulls[PLAN_NMEMBERS + 2] = {0};
	bool		written;

	Assert(statement->nargs == lengthof(values));

	store_open(&scope);
	memcpy(values, config->values, sizeof(config->values));
	memcpy(nulls, config->nulls, sizeof(config->nulls));
	values[PLAN_NMEMBERS] = TimestampTzGetDatum(now);
	values[PLAN_NMEMBERS + 1] = store_acting_role(&scope);
	written = store_write_durably(statement, values, nulls) == 1;
	store_close(&scope);

	return written;
}

/*
 * Creates a plan, or replaces the one of this name; its event has the changes.
 * If another session creates it meanwhile, that one's is replaced.
 */
void
store_set_plan(const PlanConfig *config, TimestampTz now)
{
	const text *name = (const text *) DatumGetPointer(config->values[PLAN_NAME]);

	if (!store_lock_plan(name, PLAN_LOCK_CHANGE))
	{
		if (write_plan(&insert_plan, config, now))
			return;
		if (!store_lock_plan(name, PLAN_LOCK_CHANGE))
			store_not_written("plan");
	}
	if (!write_plan(&update_plan, config, now))
		store_not_written("plan");
}

/* Deletes a locked plan. */
void
store_delete_plan(const text *name, TimestampTz now)
{
	PlanConfig	config = {
		.values = {[PLAN_NAME] = PointerGetDatum(name)},
		.nulls = {[PLAN_PERMISSIONS] = true, [PLAN_RATE_LIMITS] = true, [PLAN_DESCRIPTION] = true}};

	if (!write_plan(&delete_plan, &config, now))
		store_not_written("plan");
}
