/*-------------------------------------------------------------------------
 *
 * lists.c
 *	  The statements on apikeys.info, and those that read apikeys.event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"

#include "store/lists.h"
#include "store/spi.h"

static Statement key_info = {
	.sql = "SELECT i FROM apikeys.info i WHERE i.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

static Statement page_start = {
	.sql = "SELECT k.created_at FROM apikeys.key k WHERE k.id OPERATOR(pg_catalog.=) $1",
	STATEMENT_ARGS(UUIDOID)
};

/*
 * Planned for each call, since the index to use depends on which filters are
 * null.
 */
static Statement list_keys = {
	.sql = "SELECT i.* FROM apikeys.info i"
	" WHERE ($1 IS NULL OR i.status::pg_catalog.text OPERATOR(pg_catalog.=) $1)"
	" AND ($2 IS NULL OR i.user_id OPERATOR(pg_catalog.=) $2)"
	" AND ($3 IS NULL OR i.team_id OPERATOR(pg_catalog.=) $3)"
	" AND ($4 IS NULL OR i.external_id OPERATOR(pg_catalog.=) $4)"
	" AND ($7 IS NULL OR ROW(i.created_at, i.id) OPERATOR(pg_catalog.<) ROW($8, $7))"
	" ORDER BY i.created_at DESC, i.id DESC LIMIT $5 OFFSET $6",
	STATEMENT_ARGS(TEXTOID, UUIDOID, UUIDOID, TEXTOID, INT4OID, INT4OID, UUIDOID,
				   TIMESTAMPTZOID),
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

/* Planned for each call, likewise. */
static Statement list_events = {
	.sql = "SELECT e.id, e.at, e.action, e.key_id, e.session_role, e.acting_role,"
	" e.client_addr, e.application_name, e.details"
	" FROM apikeys.event e"
	" WHERE ($1 IS NULL OR e.key_id OPERATOR(pg_catalog.=) $1)"
	" AND ($2 IS NULL OR e.at OPERATOR(pg_catalog.>=) $2)"
	" ORDER BY e.at DESC, e.id DESC LIMIT $3",
	STATEMENT_ARGS(UUIDOID, TIMESTAMPTZOID, INT4OID),
	.cursor_options = CURSOR_OPT_CUSTOM_PLAN
};

/* Returns the row of apikeys.info of an existing key. */
Datum
store_key_info(const pg_uuid_t *id)
{
	return store_read_info(&key_info, "info", id);
}

/*
 * Finds the creation time of the key after which a page starts; returns false
 * if the key does not exist.
 */
bool
store_page_start(const pg_uuid_t *id, TimestampTz *created_at)
{
	StoreScope	scope;
	bool		isnull;
	bool		found;

	store_open(&scope);
	found = store_read(&page_start, (Datum[]) {UUIDPGetDatum(id)}, NULL) > 0;
	if (found)
		*created_at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
														SPI_tuptable->tupdesc, 1, &isnull));
	store_close(&scope);

	return found;
}

/* Puts the rows of apikeys.info that pass the filter into rsinfo's store. */
void
store_list_keys(ListFilter *filter, ReturnSetInfo *rsinfo)
{
	StoreScope	scope;

	store_open(&scope);
	store_read_all(&list_keys, filter->values, filter->nulls, rsinfo->setResult);
	store_close(&scope);
}

/* Puts the events that pass the filter into rsinfo's store. */
void
store_list_events(EventFilter *filter, ReturnSetInfo *rsinfo)
{
	StoreScope	scope;

	store_open(&scope);
	store_read_all(&list_events, filter->values, filter->nulls, rsinfo->setResult);
	store_close(&scope);
}
