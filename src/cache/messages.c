/*-------------------------------------------------------------------------
 *
 * messages.c
 *	  Who hears of relcache invalidation messages.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A process has ten callbacks for all extensions.  One of them is ours, and calls
 * those of the modules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/inval.h"

#include "cache/messages.h"
#include "store/catalog.h"

#define MAX_LISTENERS	4		/* the modules that listen */

static MessageListener listeners[MAX_LISTENERS];
static int	nlisteners = 0;

/* The tables that caches depend on; InvalidOid if there is none. */
static Oid	tables[4];

static void
accept_message(Datum arg, Oid relid)
{
	for (int i = 0; i < nlisteners; i++)
		listeners[i](relid);
}

/* Calls a function with each message, from now on; once, however often it is passed. */
void
messages_listen(MessageListener listener)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i] == listener)
			return;
	}

	if (nlisteners == 0)
		CacheRegisterRelcacheCallback(accept_message, (Datum) 0);
	Assert(nlisteners < MAX_LISTENERS);
	listeners[nlisteners++] = listener;
}

/* Looks up which relations' messages concern everything.  Are they others than before? */
bool
messages_look_up_tables(void)
{
	static const char *const names[] = {"cache_invalidation", "key", "budget", "plan"};
	bool		moved = false;

	StaticAssertStmt(lengthof(names) == lengthof(tables), "each table has its place");
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		Oid			relid = store_find_relation(names[i]);

		moved |= relid != tables[i];
		tables[i] = relid;
	}
	return moved;
}

/* Does a message concern all keys, plans and budgets, as far as tables were looked up? */
bool
messages_concern_everything(Oid relid)
{
	for (int i = 0; i < (int) lengthof(tables); i++)
	{
		if (relid == tables[i])
			return true;
	}
	return !OidIsValid(relid);
}
