/*-------------------------------------------------------------------------
 *
 * key_limits.c
 *	  The limits of a key, as read from its row.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "store/key_limits.h"
#include "store/plans.h"
#include "store/spi.h"

static Statement key_limits = {
	.sql = "SELECT o.root_id, " EFFECTIVE_OF("o", "rate_limits") ", o.budget_id"
	" FROM apikeys_data.key k" JOIN_OWNER
	" WHERE k.id OPERATOR(pg_catalog.=) $1" OF_USER("k"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

/*
 * Reads the committed limits of a key into memory, in an open scope; returns
 * false if it does not exist, or is not of this user, unless that is NULL.
 */
bool
store_read_limits(const pg_uuid_t *id, const pg_uuid_t *user_id, MemoryContext memory,
				  KeyLimits *limits)
{
	Datum		values[3];
	bool		nulls[3];

	if (store_read_latest(&key_limits, KEY_OF_USER(id, user_id)) == 0)
		return false;

	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	limits->root_id = *DatumGetUUIDP(values[0]);
	limits->limits = rate_limits_parse(DatumGetJsonbP(values[1]), memory);
	limits->has_budget = !nulls[2];
	if (limits->has_budget)
		limits->budget_id = *DatumGetUUIDP(values[2]);
	return true;
}

/* The same, in a scope of its own, into the current memory. */
bool
store_key_limits(const pg_uuid_t *id, const pg_uuid_t *user_id, KeyLimits *limits)
{
	StoreScope	scope;
	MemoryContext memory = CurrentMemoryContext;
	bool		found;

	store_open(&scope);
	found = store_read_limits(id, user_id, memory, limits);
	store_close(&scope);

	return found;
}
