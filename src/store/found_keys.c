/*-------------------------------------------------------------------------
 *
 * found_keys.c
 *	  What is shown of a key that was found by its text.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The text is looked up among the keys that are committed now, so the rest is
 * read as it is committed now, too.  By then the key may have been deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store/found_keys.h"
#include "store/spi.h"

static Statement found_info = {
	.sql = "SELECT i FROM apikeys_data.key_info i WHERE i.id OPERATOR(pg_catalog.=) $1" OF_USER("i"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

static Statement found_status = {
	.sql = "SELECT i.status FROM apikeys_data.key_info i WHERE i.id OPERATOR(pg_catalog.=) $1" OF_USER("i"),
	STATEMENT_ARGS(UUIDOID, UUIDOID)
};

/*
 * Reads one column of a key, palloc'd; false if there is no such key any more, or
 * it is not of this user, unless that is NULL.
 */
static bool
read_column(Statement *statement, const pg_uuid_t *id, const pg_uuid_t *user_id,
			bool byval, int len, Datum *value)
{
	StoreScope	scope;
	bool		found;
	bool		isnull;

	store_open(&scope);
	found = store_read_latest(statement, KEY_OF_USER(id, user_id)) > 0;
	if (found)
		*value = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
								   byval, len);
	store_close(&scope);

	return found;
}

/* Reads a key's row of apikeys_data.key_info. */
bool
store_found_info(const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *info)
{
	return read_column(&found_info, id, user_id, false, -1, info);
}

/* Reads a key's status, an apikeys.key_status. */
bool
store_found_status(const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *status)
{
	return read_column(&found_status, id, user_id, true, sizeof(Oid), status);
}
