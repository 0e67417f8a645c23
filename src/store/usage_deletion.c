/*-------------------------------------------------------------------------
 *
 * usage_deletion.c
 *	  The statements that delete what deleted keys and budgets have used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * They wait for nobody: rows that are locked are left for a later flush.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store/batch_write.h"
#include "store/spi.h"
#include "store/usage_deletion.h"

static Statement delete_usage = {
	.sql = "DELETE FROM apikeys_data.usage d USING ("
	"SELECT u.key_id, u.node FROM apikeys_data.usage u"
	" WHERE u.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED) l"
	" WHERE d.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" AND d.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND d.node OPERATOR(pg_catalog.=) l.node",
	STATEMENT_ARGS(UUIDARRAYOID)
};

static Statement delete_usage_days = {
	.sql = "DELETE FROM apikeys_data.usage_day d USING ("
	"SELECT l.key_id, l.day, l.model, l.node FROM apikeys_data.usage_day l"
	" WHERE l.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" FOR UPDATE SKIP LOCKED) l"
	" WHERE d.key_id OPERATOR(pg_catalog.=) ANY ($1)"
	" AND d.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND d.day OPERATOR(pg_catalog.=) l.day"
	" AND d.model OPERATOR(pg_catalog.=) l.model"
	" AND d.node OPERATOR(pg_catalog.=) l.node",
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
	" DELETE FROM apikeys_data.usage d USING ("
	"SELECT u.key_id, u.node FROM apikeys_data.usage u"
	" WHERE NOT EXISTS (SELECT FROM apikeys_data.key k"
	" WHERE k.id OPERATOR(pg_catalog.=) u.key_id)"
	" FOR UPDATE SKIP LOCKED) l"
	" WHERE d.key_id OPERATOR(pg_catalog.=) l.key_id"
	" AND d.node OPERATOR(pg_catalog.=) l.node",
};

/* Deletes the usage of keys, a uuid[].  For use in an open scope. */
void
store_delete_use(Datum ids)
{
	store_write_batch(&delete_usage, &ids);
	store_write_batch(&delete_usage_days, &ids);
}

/* Deletes the usage of deleted keys and budgets. */
void
store_delete_orphans(void)
{
	StoreScope	scope;

	store_open(&scope);
	store_write_silently(&delete_orphans, NULL, NULL);
	store_close(&scope);
}
