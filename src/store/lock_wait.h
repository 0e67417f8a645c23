/*-------------------------------------------------------------------------
 *
 * lock_wait.h
 *	  Waiting for a lock, and telling the client who holds it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_LOCK_WAIT_H
#define APIKEYS_STORE_LOCK_WAIT_H

#include "nodes/pg_list.h"
#include "utils/uuid.h"

#include "store/spi.h"

/* A kind of lock that may have to be waited for. */
typedef struct LockKind
{
	const char *what;			/* is locked, for messages */
	void (*wait)(void *arg);	/* takes the lock */
	List *(*holders)(void *arg); /* pids of those who hold it, sorted; 0:
										 * a prepared transaction */
} LockKind;

extern void lock_and_tell(const LockKind *kind, void *arg);

/* How the row of a table is locked that has the id or the name $1, and meets a condition. */
typedef struct RowLock
{
	const char *what;			/* the row is, for messages */
	const char *table;
	const char *strength;		/* KEY SHARE: the row stays as it is */
	Statement	try;			/* skips a row that is locked */
	Statement	wait;
	Statement	find;			/* returns its ctid */
} RowLock;

#define SELECT_BY(key, columns, table, alias) \
	"SELECT " columns " FROM ONLY apikeys_data." table " " alias \
	" WHERE " alias "." key " OPERATOR(pg_catalog.=) $1"

/* With a further condition, and the types of all its parameters. */
#define ROW_LOCK_IF(key, condition, what_, table_, alias, columns, strength_, ...) { \
	.what = what_, \
	.table = table_, \
	.strength = strength_, \
	.try = { \
		.sql = SELECT_BY(key, columns, table_, alias) condition " FOR " strength_ " SKIP LOCKED", \
		STATEMENT_ARGS(__VA_ARGS__) \
	}, \
	.wait = { \
		.sql = SELECT_BY(key, columns, table_, alias) condition " FOR " strength_, \
		STATEMENT_ARGS(__VA_ARGS__) \
	}, \
	.find = { \
		.sql = SELECT_BY(key, alias ".ctid", table_, alias) condition, \
		STATEMENT_ARGS(__VA_ARGS__) \
	}, \
}

#define ROW_LOCK_BY(key, type, what, table, alias, columns, strength) \
	ROW_LOCK_IF(key, "", what, table, alias, columns, strength, type)

#define SELECT_BY_ID(columns, table, alias) SELECT_BY("id", columns, table, alias)
#define ROW_LOCK(what, table, alias, columns, strength) \
	ROW_LOCK_BY("id", UUIDOID, what, table, alias, columns, strength)

extern bool store_lock_row(RowLock *lock, const pg_uuid_t *id);
extern bool store_lock_row_by(RowLock *lock, Datum key);
extern bool store_lock_row_if(RowLock *lock, Datum *values, const bool *nulls);

#endif							/* APIKEYS_STORE_LOCK_WAIT_H */
