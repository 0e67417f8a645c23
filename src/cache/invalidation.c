/*-------------------------------------------------------------------------
 *
 * invalidation.c
 *	  The messages that tell all backends what their caches must forget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Triggers on the tables of keys, plans and budgets send relcache invalidation
 * messages.  The server delivers them after the commit has become visible and
 * before it is acknowledged, also for COMMIT PREPARED and on a standby that
 * replays the commit; those of a savepoint that is rolled back it drops.
 *
 * A message about one row has a number made from the row in place of an oid.
 * The server takes any relation's pg_class row, and for a relation that it does
 * not have in its relcache it does nothing but call the callbacks; a table that
 * happens to have the number is read into the relcache once more.  A message
 * about apikeys_data.cache_invalidation, a table that nobody reads, is about
 * everything.  It is sent at a TRUNCATE, and when a transaction changes too many
 * rows to name them all: each backend's queue has room for 4096 messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "cache/changes.h"
#include "cache/invalidation.h"
#include "cache/messages.h"
#include "store/catalog.h"

#define MAX_MESSAGES	64		/* of one transaction about single rows */
#define NTRIGGERS		2		/* that a table has from us */

/* The last transaction of this backend that has sent messages, and what. */
static FullTransactionId sender;
static int	nmessages;			/* about single rows */
static SubTransactionId sent_all_in; /* one about everything, if valid */

/* What is to be counted when it commits, and what has changed it: see changes.c. */
typedef struct Uncounted
{
	Oid			number;			/* of a key or plan */
	SubTransactionId subid;
} Uncounted;

static Uncounted uncounted[MAX_MESSAGES];
static int	nuncounted = 0;
static SubTransactionId all_changed_in = InvalidSubTransactionId; /* the outermost */

/* Does this backend count the messages that it gets: in this transaction, in all? */
static bool counting_received = false;
static bool always_counting = false;
static bool in_doubt = false;	/* see changes.c */

PG_FUNCTION_INFO_V1(apikeys_invalidate_caches);

/* Makes a number of a kind from 29 bits that are evenly distributed. */
static Oid
make_number(uint32 bits, Oid kind)
{
	return (bits & ~(INVALIDATION_BIT | INVALIDATION_KINDS)) | INVALIDATION_BIT | kind;
}

/* A key is named by its hash, which begins as evenly distributed as it ends. */
Oid
invalidation_of_key(const bytea *hash)
{
	uint32		bits = 0;

	memcpy(&bits, VARDATA_ANY(hash), Min(VARSIZE_ANY_EXHDR(hash), sizeof(bits)));
	return make_number(bits, INVALIDATION_KEY);
}

Oid
invalidation_of_budget(const pg_uuid_t *id)
{
	return make_number(hash_bytes(id->data, UUID_LEN), INVALIDATION_BUDGET);
}

Oid
invalidation_of_plan(const text *name)
{
	return make_number(hash_bytes((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)),
					   INVALIDATION_PLAN);
}

/*
 * Has this transaction changed what caches depend on?  The messages are
 * delivered only when it commits, and another trigger may look up a key after
 * ours has run and before the row is changed.
 */
bool
invalidation_is_pending(void)
{
	return FullTransactionIdIsValid(sender) &&
		   FullTransactionIdEquals(sender, GetTopFullTransactionIdIfAny());
}

/*
 * The number of a row of the trigger's table, made from the column that the
 * trigger's argument names; InvalidOid if there is none.
 */
static Oid
number_of(const TriggerData *trigger, HeapTuple row)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);
	AttrNumber	attnum = get_attnum(RelationGetRelid(trigger->tg_relation), trigger->tg_trigger->tgargs[0]);
	Datum		value;
	bool		isnull = true;

	if (attnum > 0)
		value = heap_getattr(row, attnum, tupdesc, &isnull);
	if (isnull)
		return InvalidOid;

	switch (TupleDescAttr(tupdesc, attnum - 1)->atttypid)
	{
		case BYTEAOID:
			return invalidation_of_key(DatumGetByteaPP(value));
		case UUIDOID:
			return invalidation_of_budget(DatumGetUUIDP(value));
		case TEXTOID:
			return invalidation_of_plan(DatumGetTextPP(value));
		default:
			return InvalidOid;
	}
}

/*
 * The only number that a change concerns; InvalidOid if there are others.  What
 * was read of a row is forgotten by the row's old number.  The new one matters
 * for budgets, of which a missing one is cached as well; triggers that are not
 * ours may change it after us.
 */
static Oid
number_of_change(const TriggerData *trigger)
{
	TriggerEvent event = trigger->tg_event;
	Oid			number;

	if (!TRIGGER_FIRED_FOR_ROW(event) || trigger->tg_trigger->tgnargs != 1)
		return InvalidOid;

	number = number_of(trigger, trigger->tg_trigtuple);
	if (INVALIDATION_IS_OF(number, INVALIDATION_BUDGET) && !TRIGGER_FIRED_BY_DELETE(event) &&
		trigger->tg_relation->trigdesc->numtriggers > NTRIGGERS)
		return InvalidOid;
	if (INVALIDATION_IS_OF(number, INVALIDATION_BUDGET) && TRIGGER_FIRED_BY_UPDATE(event) &&
		number_of(trigger, trigger->tg_newtuple) != number)
		return InvalidOid;
	return number;
}

/*
 * Waits until the change that has made the old row is counted, if it has only just
 * become visible.  It may have given the row another number, as a rehash does: caches
 * have what was before it by a number that is not the one of this change, which is
 * about to be acknowledged.  The lock is released after the count; that of a
 * subtransaction would not be, so no hash is changed in one.
 */
static void
wait_for_last_change(const TriggerData *trigger)
{
	TransactionId xmin;

	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return;
	xmin = HeapTupleHeaderGetXmin(trigger->tg_trigtuple->t_data);
	if (TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin))
		XactLockTableWait(xmin, NULL, NULL, XLTW_None);
}

/* Sends a message that has a number in place of a relation's oid. */
static void
send_number(Oid number)
{
	Oid			oid = store_relation_oid("cache_invalidation");
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(oid));

	if (!HeapTupleIsValid(tuple))
		store_undefined_table("cache_invalidation");
	((Form_pg_class) GETSTRUCT(tuple))->oid = number;
	CacheInvalidateRelcacheByTuple(tuple);
	heap_freetuple(tuple);
}

/* This transaction may change everything. */
static void
change_all(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (all_changed_in == InvalidSubTransactionId || subid < all_changed_in)
		all_changed_in = subid;
}

/* This transaction changes what caches depend on. */
static void
begin_sending(void)
{
	if (invalidation_is_pending())
		return;
	sender = GetTopFullTransactionId();
	nmessages = 0;
	sent_all_in = InvalidSubTransactionId;

	/* Released before the transaction's locks: who waits for them may go on then. */
	(void) ResourceOwnerCreate(TopTransactionResourceOwner, "apikeys changes");
}

/*
 * Has a message about everything been sent that can't be rolled back without
 * what is done now?  It has emptied the caches of this backend, too, and nothing
 * is cached until the transaction ends.
 */
static bool
is_sent_all(void)
{
	return sent_all_in == GetCurrentSubTransactionId() && invalidation_is_pending();
}

/* Sends a message about a row, or about everything. */
static void
send(Oid number)
{
	begin_sending();

	if (OidIsValid(number) && nmessages < MAX_MESSAGES)
	{
		send_number(number);
		nmessages++;
		if (!INVALIDATION_IS_OF(number, INVALIDATION_BUDGET))
			uncounted[nuncounted++] = (Uncounted){number, GetCurrentSubTransactionId()};
	}
	else
	{
		CacheInvalidateRelcacheByRelid(store_relation_oid("cache_invalidation"));
		sent_all_in = GetCurrentSubTransactionId();
		change_all();
	}
}

/* -------------------------------------------- what all backends share */

/* This transaction may change anything, in a way for which others send messages. */
void
invalidation_of_everything(void)
{
	begin_sending();
	change_all();
}

/*
 * Counts what this transaction has changed, now that it has committed and its
 * messages have been sent.
 */
void
invalidation_count_sent(void)
{
	for (int i = 0; i < nuncounted && changes_are_counted(); i++)
		changes_count(uncounted[i].number);
	if (all_changed_in != InvalidSubTransactionId && changes_are_counted())
		changes_count_everything();
	nuncounted = 0;
	all_changed_in = InvalidSubTransactionId;
}

/* The transaction has ended without a commit. */
void
invalidation_forget_sent(void)
{
	nuncounted = 0;
	all_changed_in = InvalidSubTransactionId;
}

/* A subtransaction has ended without a commit; those within it have higher ids. */
void
invalidation_at_subxact_abort(SubTransactionId subid)
{
	int			kept = 0;

	for (int i = 0; i < nuncounted; i++)
	{
		if (uncounted[i].subid < subid)
			uncounted[kept++] = uncounted[i];
	}
	nuncounted = kept;
	if (all_changed_in >= subid)
		all_changed_in = InvalidSubTransactionId;
}

/*
 * Does this backend count a message that it gets now?  What it gets at the begin of a
 * transaction was sent by others, who have counted it; and one that has sent messages
 * itself, which it gets at once, is not one that was prepared.
 */
static bool
is_counting(void)
{
	return IsTransactionState() &&
		   (counting_received || (always_counting && !invalidation_is_pending()));
}

/* Counts what a message has changed, if this backend is to count it. */
static void
count_message(Oid relid)
{
	if (!is_counting())
		return;
	if (INVALIDATION_IS_OF(relid, INVALIDATION_KEY) || INVALIDATION_IS_OF(relid, INVALIDATION_PLAN))
		changes_count(relid);
	else if (messages_concern_everything(relid))
		changes_count_everything();
}

/*
 * Counts all messages that come from now on: this backend commits a transaction
 * that another one has prepared, and that alone knows what it has changed.
 */
void
invalidation_begin_counting(void)
{
	if (!changes_are_counted())
		return;
	messages_listen(count_message);
	(void) messages_look_up_tables();

	/* Locks tell whether a prepared transaction has changed any of it. */
	in_doubt = store_table_is_changing("key") || store_table_is_changing("plan");
	if (in_doubt)
		changes_begin_doubt();
	counting_received = true;
}

/* All is counted. */
static void
end_counting(void)
{
	if (in_doubt)
		changes_end_doubt();
	in_doubt = false;
	counting_received = false;
}

/* Accepts what has been sent by then, which is counted, and nothing more. */
void
invalidation_count_received(void)
{
	AcceptInvalidationMessages();
	end_counting();
}

/*
 * Counts all messages that have been sent by then, and from now on all that come in
 * any transaction: this backend may commit one that was prepared, but not in its first.
 * Whatever has made it accept them before, and be it this look-up, they were counted;
 * but if the tables are others, not all of them.
 */
void
invalidation_always_count(void)
{
	if (!changes_are_counted())
		return;
	messages_listen(count_message);
	AcceptInvalidationMessages();
	if (messages_look_up_tables() && always_counting)
		changes_count_everything();
	always_counting = true;
}

/*
 * The transaction is rolled back.  If that was in the middle of COMMIT PREPARED, what
 * it has changed may be committed, and not all be counted.
 */
void
invalidation_at_abort(void)
{
	if (counting_received || always_counting)
		changes_count_everything();
	end_counting();
	invalidation_forget_sent();
}

/*
 * apikeys.invalidate_caches(column): trigger.  All backends forget what they
 * have cached of a row when this transaction commits, and this backend when the
 * command ends.
 */
Datum
apikeys_invalidate_caches(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("apikeys.invalidate_caches() must be called as a trigger")));

	if (!is_sent_all())
	{
		wait_for_last_change(trigger);
		send(number_of_change(trigger));
	}

	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
}
