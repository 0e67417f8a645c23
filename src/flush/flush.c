/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  Brings what is pending into the tables.
 *
 * The work is done in the transaction of whoever asks for it: the flush worker's
 * own, or that of a caller of apikey_flush().  A use counts as persisted
 * only when that transaction has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "flush/flush.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rehash_queue.h"
#include "settings/hmac_secrets.h"
#include "store/advisory_locks.h"
#include "store/last_used.h"
#include "store/rehash.h"
#include "store/usage.h"

#define GONE_AFTER_MS	60000	/* unseen for so long after its last use */

/* Uses to be noted when this transaction commits, in its memory. */
typedef struct Outcome
{
	KeyUse		use;
	bool		gone;			/* the key has been deleted */
} Outcome;

static Outcome *at_commit = NULL;
static int	n_at_commit = 0;
static int64 rows_at_commit = 0;
static bool flush_at_commit = false;

PG_FUNCTION_INFO_V1(apikey_flush);

static void
clear_outcomes(void)
{
	at_commit = NULL;			/* goes with the transaction's memory */
	n_at_commit = 0;
	rows_at_commit = 0;
	flush_at_commit = false;
}

static void
apply_outcomes(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < n_at_commit; i++)
	{
		if (at_commit[i].gone)
			last_used_remove_key(MyDatabaseId, &at_commit[i].use.id, now);
		else
			last_used_mark_persisted(MyDatabaseId, &at_commit[i].use, now);
	}
	if (flush_at_commit)
	{
		counters_add(COUNT_FLUSHES, 1);
		counters_add(COUNT_ROWS_FLUSHED, rows_at_commit);
		last_used_record_flush(now);
	}
}

/* Applies the outcomes of a transaction that has committed. */
void
flush_at_eoxact(bool is_commit)
{
	if (at_commit == NULL && !flush_at_commit)
		return;

	if (is_commit)
		apply_outcomes();
	clear_outcomes();
}

/*
 * Which uses a rolled-back savepoint takes along is not recorded, so all of
 * them stay pending.
 */
void
flush_at_subxact_abort(void)
{
	clear_outcomes();
}

/* Attaches what apply_outcomes() needs: nothing may fail after the commit. */
static void
expect_outcomes(void)
{
	(void) counters_attach();
	(void) last_used_is_shared();
}

/* Has this transaction counted as a flush when it commits. */
static void
count_rows(int64 rows)
{
	expect_outcomes();
	flush_at_commit = true;
	rows_at_commit += rows;
}

/*
 * Is a key that was not seen gone?  It may have been made by a transaction
 * that has yet to commit, or after the snapshot of this one.
 */
static bool
is_surely_gone(const KeyUse *use)
{
	return !IsolationUsesXactSnapshot() &&
		   use->used_at < TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -GONE_AFTER_MS);
}

/* Makes room for n more outcomes, in the transaction's memory. */
static void
make_room(int n)
{
	Size		size = (n_at_commit + n) * sizeof(Outcome);

	at_commit = at_commit ? repalloc_huge(at_commit, size)
						  : MemoryContextAllocHuge(TopTransactionContext, size);
}

static void
add_outcome(const KeyUse *use, bool gone)
{
	at_commit[n_at_commit].use = *use;
	at_commit[n_at_commit++].gone = gone;
}

/* Keeps the outcomes of a batch until the transaction ends. */
static void
add_outcomes(const KeyUse *uses, const UseOutcome *outcomes, int nuses)
{
	make_room(nuses);
	for (int i = 0; i < nuses; i++)
	{
		if (outcomes[i] == USE_PERSISTED)
			add_outcome(&uses[i], false);
		else if (outcomes[i] == USE_KEY_GONE && is_surely_gone(&uses[i]))
			add_outcome(&uses[i], true);
	}
}

/* Has keys that this transaction deletes, an uuid[], forgotten if it commits. */
void
flush_remove_keys(ArrayType *ids)
{
	Datum	   *elements;
	int			n;

	expect_outcomes();
	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elements, NULL, &n);
	make_room(n);
	for (int i = 0; i < n; i++)
		add_outcome(&(KeyUse){*DatumGetUUIDP(elements[i]), 0}, true);
}

/* Persists up to FLUSH_BATCH uses; returns how many rows were written. */
int64
flush_uses(const KeyUse *uses, int nuses)
{
	UseOutcome	outcomes[FLUSH_BATCH];
	int64		written;

	count_rows(0);
	written = store_persist_uses(uses, nuses, outcomes);
	add_outcomes(uses, outcomes, nuses);
	rows_at_commit += written;

	return written;
}

/* Rolls a batch of usage entries up. */
void
flush_usage(RollUp *batch)
{
	batch->alone = last_used_is_shared();
	store_roll_up(batch);
	count_rows(batch->taken);
}

/*
 * Signs up to FLUSH_BATCH keys anew; returns how many rows were written.  Not
 * with a secret that has meanwhile been replaced by another: it may no longer
 * be in the file.  While a reload is pending nobody knows which that is.
 */
int64
flush_rehash(const RehashRequest *requests, int nrequests)
{
	const HmacSecret *first = ConfigReloadPending ? NULL : hmac_secrets_first();
	RehashRequest *good = palloc(nrequests * sizeof(RehashRequest));
	int			ngood = 0;
	int64		written;

	for (int i = 0; i < nrequests && first != NULL; i++)
	{
		if (strcmp(requests[i].secret, first->name) == 0)
			good[ngood++] = requests[i];
	}
	written = ngood > 0 ? store_rehash_keys(good, ngood) : 0;
	count_rows(written);
	pfree(good);

	return written;
}

/*
 * Signs all keys anew that are noted to be.  With a snapshot of its own a
 * transaction would fail for a row that somebody has changed since: it leaves
 * them to others.  So does one with a reload before it: it does not know
 * which secret is the first now, and the one that it knows may be gone from
 * the file soon.
 */
static int64
resign_all(void)
{
	RehashRequest *requests;
	int64		written = 0;
	int			n;

	if (IsolationUsesXactSnapshot())
		return 0;

	requests = palloc(FLUSH_BATCH * sizeof(RehashRequest));
	while (!ConfigReloadPending &&
		   (n = rehash_dequeue(MyDatabaseId, requests, FLUSH_BATCH)) > 0)
		written += flush_rehash(requests, n);
	pfree(requests);

	return written;
}

/* apikey_flush(): bigint, how many rows were written. */
Datum
apikey_flush(PG_FUNCTION_ARGS)
{
	RollUp		batch = {.limit = FLUSH_BATCH};
	KeyUse	   *uses;
	int			nuses;
	int64		written = 0;

	store_lock_flush(true);

	nuses = last_used_collect(MyDatabaseId, DT_NOEND, &uses);
	for (int i = 0; i < nuses; i += FLUSH_BATCH)
		written += flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));

	written += resign_all();
	do
	{
		CHECK_FOR_INTERRUPTS();
		flush_usage(&batch);
		batch.skip += batch.seen - batch.taken;
		written += batch.taken;
	} while (batch.seen == batch.limit);

	PG_RETURN_INT64(written);
}
