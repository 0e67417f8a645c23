/*-------------------------------------------------------------------------
 *
 * events.c
 *	  Events without a change.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The statement that changes a key, budget or plan writes its event itself.  These
 * are of updates that were asked for and change nothing: they lock nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store/events.h"
#include "store/spi.h"

static Statement key_unchanged = {
	.sql = ADD_EVENT " VALUES ($1, $2, 'update', $3, '{}')",
	STATEMENT_ARGS(TIMESTAMPTZOID, NAMEOID, UUIDOID)
};

static Statement budget_unchanged = {
	.sql = ADD_EVENT " VALUES ($1, $2, 'budget_update', NULL,"
	" pg_catalog.jsonb_build_object('budget_id', $3))",
	STATEMENT_ARGS(TIMESTAMPTZOID, NAMEOID, UUIDOID)
};

static Statement plan_unchanged = {
	.sql = ADD_EVENT " VALUES ($1, $2, 'plan_set', NULL,"
	" pg_catalog.jsonb_build_object('plan', $3))",
	STATEMENT_ARGS(TIMESTAMPTZOID, NAMEOID, TEXTOID)
};

static void
add_event(Statement *statement, Datum which, TimestampTz now)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_one(statement, "event",
					(Datum[]) {TimestampTzGetDatum(now), store_acting_role(&scope),
							  which},
					NULL);
	store_close(&scope);
}

/* Adds the event of an update of a key that is as it was. */
void
store_add_key_unchanged(const pg_uuid_t *id, TimestampTz now)
{
	add_event(&key_unchanged, UUIDPGetDatum(id), now);
}

/* Adds the event of an update of a budget that is as it was. */
void
store_add_budget_unchanged(const pg_uuid_t *id, TimestampTz now)
{
	add_event(&budget_unchanged, UUIDPGetDatum(id), now);
}

/* Adds the event of apikey_plan_set for a plan that is as it was. */
void
store_add_plan_unchanged(text *name, TimestampTz now)
{
	add_event(&plan_unchanged, PointerGetDatum(name), now);
}
