/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  What messages have told this backend, and whether changes send any.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Messages are counted: all that may concern keys, plans and budgets, and those
 * about everything, which start a new generation: invalidation.c explains them.
 *
 * Which relations' messages are about everything, and whether the triggers are in
 * place that send messages, is looked up when it is first asked for, and again
 * for each generation: any change of the tables or of their triggers starts one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "cache/invalidation.h"
#include "cache/messages.h"
#include "cache/watch.h"
#include "store/catalog.h"

static uint64 nmessages = 0;
static uint64 generation = 0;

static bool watching = false;
static uint64 watched_generation; /* of what follows */
static bool triggers_enabled;	/* each change sends messages */

static void
accept_message(Oid relid)
{
	if (messages_concern_everything(relid))
		generation++;
	else if ((relid & INVALIDATION_BIT) == 0)
		return;
	nmessages++;
}

/*
 * Does each change of a table invalidate the caches?  Not after ALTER TABLE
 * ... ENABLE TRIGGER ALL, which changes ENABLE ALWAYS to ENABLE, and which is
 * what pg_restore --disable-triggers does at its end.
 */
static bool
has_enabled_triggers(const char *table)
{
	Relation	rel = store_open_table(table);
	int			ntriggers = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger	   *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
			(strcmp(trigger->tgname, "invalidate_row") == 0 ||
			 strcmp(trigger->tgname, "invalidate_truncate") == 0))
			ntriggers++;
	}
	table_close(rel, AccessShareLock);

	return ntriggers == 2;
}

/* Looks up what depends on the generation. */
static void
watch_tables(void)
{
	/* First, so that a message accepted by the lookups below counts. */
	watched_generation = generation;
	watching = false;
	(void) messages_look_up_tables();
	triggers_enabled = has_enabled_triggers("key") && has_enabled_triggers("budget") &&
					   has_enabled_triggers("plan");
	watching = true;
}

/* Accepts the messages that have been sent. */
void
watch_accept_messages(void)
{
	messages_listen(accept_message);
	AcceptInvalidationMessages();
}

/* Changes with each message about everything. */
uint64
watch_generation(void)
{
	return generation;
}

/* Changes with each message that may concern keys, plans or budgets. */
uint64
watch_nmessages(void)
{
	return nmessages;
}

/*
 * May rows that are read now be cached, until there is a message about them?
 * Looks at the catalogs, after which messages may have come.
 */
bool
watch_is_cacheable(void)
{
	Assert(IsTransactionState());
	if (!watching || watched_generation != generation)
		watch_tables();
	return triggers_enabled && !invalidation_is_pending();
}
