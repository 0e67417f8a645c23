/*-------------------------------------------------------------------------
 *
 * spi.h
 *	  How the store executes its statements.  For src/store/ alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_SPI_H
#define APIKEYS_STORE_SPI_H

#include "executor/spi.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/saved_snapshot.h"

/*
 * A statement and its saved plan, which is prepared on first use in a backend.
 * The text is constant and qualifies all names, operators included.
 */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	const Oid  *argtypes;
	SPIPlanPtr	plan;
	List	   *relations;		/* which its generic plan reads */
	int			generation;		/* of that plan */
} Statement;

#define STATEMENT_ARGS(...) \
	.nargs = lengthof(((const Oid[]) {__VA_ARGS__})), \
	.argtypes = (const Oid[]) {__VA_ARGS__}

/* The caller's user, to be restored by store_close(). */
typedef struct StoreScope
{
	Oid			userid;
	int			sec_context;
} StoreScope;

extern void store_open(StoreScope *scope);
extern void store_close(const StoreScope *scope);

extern void store_prepare(Statement *statement);
extern uint64 store_read(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_read_latest(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_read_latest_saved(Statement *statement, Datum *values, const bool *nulls,
									  SavedSnapshot *saved, MemoryContext context);
extern uint64 store_read_committed_saved(Statement *statement, Datum *values, const bool *nulls,
										 SavedSnapshot *saved, MemoryContext context);
extern void store_lock_keys_first(void);
extern uint64 store_write(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_write_durably(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_write_silently(Statement *statement, Datum *values, const bool *nulls);
extern uint64 store_write_silently_at(Statement *statement, Datum *values, const bool *nulls,
									  Snapshot snapshot);

pg_noreturn extern void store_not_written(const char *table);
extern void store_write_one(Statement *statement, const char *table, Datum *values,
							const bool *nulls);

extern HeapTuple store_copy_row(void);
extern bool store_read_info(Statement *statement, const pg_uuid_t *id, Datum *info);
extern Datum store_acting_role(const StoreScope *scope);

/*
 * Every statement that changes keys or budgets inserts its events itself, and
 * returns their number, so that no change is without its event.
 */
#define ADD_EVENT "INSERT INTO apikeys_data.event (at, acting_role, action, key_id, details)"

/* What is said of a key in the event of its birth or death.  For a text nothing is looked up. */
#define NAME_AND_PREFIX(name, key_prefix) \
	"pg_catalog.jsonb_object('{name, key_prefix}', ARRAY[" name ", " key_prefix "])"

/* Revoke, and delete, the keys for which a condition on $1 holds; $2 is now, $3 the role. */
#define REVOKE_KEYS(condition) \
	"WITH revoked AS (UPDATE ONLY apikeys_data.key SET revoked_at = $2, updated_at = $2," \
	" revoke_reason = $4 WHERE " condition " RETURNING id)" \
	" " ADD_EVENT \
	" SELECT $2, $3, 'revoke', revoked.id, (SELECT pg_catalog.jsonb_strip_nulls(" \
	"pg_catalog.jsonb_build_object('reason', $4))) FROM revoked"
#define DELETE_KEYS(condition, action) \
	"WITH deleted AS (DELETE FROM ONLY apikeys_data.key" \
	" WHERE " condition " RETURNING id, name, key_prefix)" \
	" " ADD_EVENT \
	" SELECT $2, $3, '" action "', deleted.id, " NAME_AND_PREFIX("deleted.name", "deleted.key_prefix") \
	" FROM deleted ORDER BY deleted.id"

/*
 * The condition that restricts a statement to the keys of user $2, unless that is
 * null.  It stands in the statement that reads or locks a key, so that others'
 * keys are not found, and their rows not waited for; and what is locked is
 * checked again after the wait.
 */
#define OF_USER(alias) \
	" AND ($2 IS NULL OR " alias ".user_id OPERATOR(pg_catalog.=) $2)"

/* The values of $1, the id of a key, and $2, the user, NULL for all keys. */
#define KEY_OF_USER(id, user) \
	(Datum[]) {UUIDPGetDatum(id), UUIDPGetDatum(user)}, (bool[]) {false, (user) == NULL}

/* What keys are found by: the start of their hash, a uuid. */
#define KEY_HASH_START(hash) "apikeys.key_hash_start(" hash ")"

/* The first key of the family of a key. */
#define ROOT_OF(key) "COALESCE(" key ".root_id, " key ".id)"

/* When the row of a key that is made at created_at is updated, if not then. */
#define UPDATED_AT(now, created_at) \
	"CASE WHEN " now " OPERATOR(pg_catalog.<>) " created_at " THEN " now " END"

/* Has key k expired at a time?  The index has times in steps. */
#define EXPIRES_BEFORE(time) \
	"(k.expires_at OPERATOR(pg_catalog.<) " time \
	" AND apikeys_data.ten_minutes(k.expires_at) OPERATOR(pg_catalog.<=)" \
	" apikeys_data.ten_minutes(" time "))"

/*
 * Since when key k has been idle, as it is known to the table and in shared
 * memory, and when it expires, by that or by expires_at.
 */
#define KEY_IDLE_FROM \
	"GREATEST(k.idle_since, k.created_at, apikeys.last_use(k.id)," \
	" (SELECT pg_catalog.max(u.last_used_at) FROM apikeys_data.usage u" \
	" WHERE u.key_id OPERATOR(pg_catalog.=) k.id))"
#define KEY_ENDS_AT \
	"CASE WHEN k.idle_timeout IS NULL THEN k.expires_at" \
	" ELSE apikeys.ends_at(k.expires_at, k.idle_timeout, " KEY_IDLE_FROM ") END"

/*
 * What an update changed: {"member": {"from": value, "to": value}, ...}.
 * was.document and became.document have all members.  Of two functions in one
 * FROM, with arguments of the query around it, Citus 13.2 crashes.
 */
#define CHANGED_MEMBERS \
	"(SELECT COALESCE(pg_catalog.jsonb_object_agg(o.key," \
	" pg_catalog.jsonb_build_object('from', o.value, 'to'," \
	" became.document OPERATOR(pg_catalog.->) o.key)), '{}')" \
	" FROM pg_catalog.jsonb_each(was.document) o" \
	" WHERE o.value OPERATOR(pg_catalog.<>) (became.document OPERATOR(pg_catalog.->) o.key))"

#endif							/* APIKEYS_STORE_SPI_H */
