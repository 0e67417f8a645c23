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

/* How the row of a table is locked that has the id $1, a uuid. */
typedef struct RowLock
{
	const char *what;			/* the row is, for messages */
	const char *table;
	Statement	try;			/* skips a row that is locked */
	Statement	wait;
	Statement	find;			/* returns its ctid */
} RowLock;

#define SELECT_BY_ID(columns, table, alias) \
	"SELECT " columns " FROM ONLY apikeys_data." table " " alias \
	" WHERE " alias ".id OPERATOR(pg_catalog.=) $1"

#define ROW_LOCK(what_, table_, alias, columns, strength) { \
	.what = what_, \
	.table = table_, \
	.try = { \
		.sql = SELECT_BY_ID(columns, table_, alias) " FOR " strength " SKIP LOCKED", \
		STATEMENT_ARGS(UUIDOID) \
	}, \
	.wait = { \
		.sql = SELECT_BY_ID(columns, table_, alias) " FOR " strength, \
		STATEMENT_ARGS(UUIDOID) \
	}, \
	.find = { \
		.sql = SELECT_BY_ID(alias ".ctid", table_, alias), \
		STATEMENT_ARGS(UUIDOID) \
	}, \
}

extern bool store_lock_row(RowLock *lock, const pg_uuid_t *id);

#endif							/* APIKEYS_STORE_LOCK_WAIT_H */
