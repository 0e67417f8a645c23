/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  Brings what is pending into the tables.
 *
 * The work is done in the transaction of whoever asks for it: the flusher's
 * own, or that of a caller of apikey_flush().  A use counts as persisted
 * only when that transaction has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "activity.h"
#include "counters.h"
#include "flush.h"
#include "store.h"

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
forget_outcomes(void)
{
	at_commit = NULL;			/* goes with the transaction's memory */
	n_at_commit = 0;
	rows_at_commit = 0;
	flush_at_commit = false;
}

static void
note_outcomes(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < n_at_commit; i++)
	{
		if (at_commit[i].gone)
			activity_forget_key(MyDatabaseId, &at_commit[i].use.id, now);
		else
			activity_mark_persisted(MyDatabaseId, &at_commit[i].use, 1);
	}
	if (flush_at_commit)
	{
		counters_add(COUNT_FLUSHES, 1);
		counters_add(COUNT_ROWS_FLUSHED, rows_at_commit);
		activity_note_flush(now);
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			note_outcomes();
			forget_outcomes();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_outcomes();
			break;
		default:
			break;
	}
}

/* Which uses a rolled-back savepoint takes along is not worth knowing. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_outcomes();
}

/* Has this transaction counted as a flush when it commits. */
static void
note_rows(int64 rows)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}

	flush_at_commit = true;
	rows_at_commit += rows;
}

/* Keeps the outcomes of a batch until the transaction ends. */
static void
keep_outcomes(const KeyUse *uses, const UseOutcome *outcomes, int nuses)
{
	Size		size = (n_at_commit + nuses) * sizeof(Outcome);

	at_commit = at_commit ? repalloc_huge(at_commit, size) : MemoryContextAllocHuge(TopTransactionContext, size);
	for (int i = 0; i < nuses; i++)
	{
		if (outcomes[i] != USE_BUSY)
			at_commit[n_at_commit++] = (Outcome){
				uses[i], outcomes[i] == USE_KEY_GONE
		};
	}
}

/* Persists up to FLUSH_BATCH uses; returns how many rows were written. */
int64
flush_uses(const KeyUse *uses, int nuses)
{
	UseOutcome	outcomes[FLUSH_BATCH];
	int64		written = store_persist_uses(uses, nuses, outcomes);

	keep_outcomes(uses, outcomes, nuses);
	note_rows(written);

	return written;
}

/* Rolls up to FLUSH_BATCH usage entries up; returns how many. */
int64
flush_usage(void)
{
	int64		taken = store_roll_up(FLUSH_BATCH);

	note_rows(taken);
	return taken;
}

/* apikey_flush(): bigint, how many rows were written. */
Datum
apikey_flush(PG_FUNCTION_ARGS)
{
	KeyUse	   *uses;
	int			nuses;
	int64		written = 0;
	int64		taken;

	store_lock_flush(true);

	nuses = activity_collect(MyDatabaseId, DT_NOEND, &uses);
	for (int i = 0; i < nuses; i += FLUSH_BATCH)
		written += flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));

	do
	{
		CHECK_FOR_INTERRUPTS();
		taken = flush_usage();
		written += taken;
	} while (taken == FLUSH_BATCH);

	PG_RETURN_INT64(written);
}
