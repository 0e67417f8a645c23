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
#include "store/row_by_id.h"
#include "store/spi.h"

#define LIMITS_NCOLUMNS 6

/* Of a key with a plan. */
static Statement key_limits = {
	.sql = "SELECT k.id, " ROOT_OF("k") ", " EFFECTIVE("rate_limits") ", k.budget_id, k.parent_id,"
	" NULL::pg_catalog.jsonb"
	" FROM apikeys_data.key k" JOIN_PLAN
	" WHERE k.id OPERATOR(pg_catalog.=) $1" OF_USER("k"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

static Statement derived_key_limits = {
	.sql = "SELECT o.id, " ROOT_OF("o") ", " EFFECTIVE_OF("o", "rate_limits") ", o.budget_id, k.parent_id,"
	" k.rate_limits"
	" FROM apikeys_data.key k" JOIN_OWNER
	" WHERE k.id OPERATOR(pg_catalog.=) $1" OF_USER("k"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

/* Reads a row of the statement; false if there is none. */
static bool
read_row(Statement *statement, const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *values,
		 bool *nulls)
{
	if (store_read_latest(statement, KEY_OF_USER(id, user_id)) == 0)
		return false;
	Assert(SPI_tuptable->tupdesc->natts == LIMITS_NCOLUMNS);
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	return true;
}

/*
 * Reads the row of any key, without its plan and parent, for which wants is set;
 * false if there is none.
 */
static bool
read_key(const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *values, bool *nulls,
		 Statement **wants)
{
	static RowColumn columns[] = {{.name = "id"}, {.name = "root_id"}, {.name = "rate_limits"}, {.name = "budget_id"}, {.name = "parent_id"}, {.name = "plan"}, {.name = "user_id"}};
	RowTable	table;
	Datum		row[lengthof(columns)];
	bool		is_null[lengthof(columns)];
	bool		found;

	store_open_rows(&table, "key");
	found = store_read_row(&table, id, columns, lengthof(columns), row, is_null);
	store_close_rows(&table);
	if (!found || (user_id != NULL && (is_null[6] || memcmp(user_id, DatumGetUUIDP(row[6]), UUID_LEN) != 0)))
		return false;

	memcpy(values, row, sizeof(Datum) * (LIMITS_NCOLUMNS - 1));
	memcpy(nulls, is_null, sizeof(bool) * (LIMITS_NCOLUMNS - 1));
	nulls[LIMITS_NCOLUMNS - 1] = true;
	*wants = !is_null[4] ? &derived_key_limits : !is_null[5] ? &key_limits
															 : NULL;
	return true;
}

/*
 * Reads the committed limits of a key into memory, in an open scope; returns
 * false if it does not exist, or is not of this user, unless that is NULL.
 */
bool
store_read_limits(const pg_uuid_t *id, const pg_uuid_t *user_id, MemoryContext memory,
				  KeyLimits *limits)
{
	Datum		values[LIMITS_NCOLUMNS];
	bool		nulls[LIMITS_NCOLUMNS];
	Statement  *wants;

	if (!read_key(id, user_id, values, nulls, &wants) ||
		(wants != NULL && !read_row(wants, id, user_id, values, nulls)))
		return false;

	limits->id = *DatumGetUUIDP(values[0]);
	limits->root_id = *DatumGetUUIDP(values[nulls[1] ? 0 : 1]); /* null: the key itself */
	limits->limits = rate_limits_parse(DatumGetJsonbP(values[2]), memory);
	limits->has_budget = !nulls[3];
	if (limits->has_budget)
		limits->budget_id = *DatumGetUUIDP(values[3]);
	limits->is_derived = !nulls[4];
	limits->own_limits = nulls[5] ? NULL : rate_limits_parse(DatumGetJsonbP(values[5]), memory);
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
