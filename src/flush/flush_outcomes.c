/*-------------------------------------------------------------------------
 *
 * flush_outcomes.c
 *	  What comes of a flush or a deletion in shared memory when it commits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A use counts as persisted, and a key as deleted, only once the transaction has
 * committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "flush/flush_outcomes.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/tracked_keys.h"
#include "store/families.h"

#define DELETED_AFTER_MS	60000	/* not visible this long after its use */

/* What to do with a use when this transaction commits. */
typedef enum OutcomeKind
{
	OUTCOME_PERSISTED,
	OUTCOME_KEY_GONE,			/* its family may still have keys */
	OUTCOME_FAMILY_GONE
} OutcomeKind;

typedef struct Outcome
{
	KeyUse		use;
	OutcomeKind kind;
} Outcome;

/* They live in TopTransactionContext. */
static Outcome *at_commit = NULL;
static int	n_at_commit = 0;
static int64 rows_at_commit = 0;
static bool flush_at_commit = false;

static void
clear_outcomes(void)
{
	at_commit = NULL;			/* freed with the transaction */
	n_at_commit = 0;
	rows_at_commit = 0;
	flush_at_commit = false;
}

static void
mark_persisted(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < n_at_commit; i++)
	{
		if (at_commit[i].kind == OUTCOME_PERSISTED)
			last_used_mark_persisted(MyDatabaseId, &at_commit[i].use, now);
	}
	if (flush_at_commit)
	{
		counters_add(COUNT_FLUSHES, 1);
		counters_add(COUNT_ROWS_FLUSHED, rows_at_commit);
		last_used_record_flush(now);
	}
}

/* Applies the outcomes of a transaction that has committed, but for deleted keys. */
void
flush_outcomes_at_eoxact(bool is_commit)
{
	if (is_commit && (at_commit != NULL || flush_at_commit))
		mark_persisted();
	else
		clear_outcomes();
}

/*
 * Removes deleted keys from shared memory, once the messages about them have been
 * sent: whoever still has one in a cache finds what its limits have counted, or that
 * keys have changed.
 */
void
flush_outcomes_remove_deleted(void)
{
	TimestampTz now = n_at_commit > 0 ? GetCurrentTimestamp() : 0;

	for (int i = 0; i < n_at_commit; i++)
	{
		if (at_commit[i].kind != OUTCOME_PERSISTED)
			last_used_remove_key(MyDatabaseId, &at_commit[i].use.id, at_commit[i].kind == OUTCOME_FAMILY_GONE, now);
	}
	clear_outcomes();
}

/* Which uses a rolled-back savepoint takes along is not recorded, so all of them stay pending. */
void
flush_outcomes_at_subxact_abort(void)
{
	clear_outcomes();
}

/* Attaches what the commit needs: nothing may fail after the commit. */
static void
expect_outcomes(void)
{
	(void) counters_attach();
	(void) last_used_is_shared();
}

/* Counts this transaction as a flush, with so many rows, when it commits. */
void
flush_outcomes_count_rows(int64 rows)
{
	expect_outcomes();
	flush_at_commit = true;
	rows_at_commit += rows;
}

/*
 * Has a key been deleted that this transaction cannot see?  It may also have
 * been inserted by a transaction that has not committed, or after our
 * snapshot.
 */
static bool
is_surely_deleted(const KeyUse *use)
{
	return !IsolationUsesXactSnapshot() &&
		   use->used_at < TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -DELETED_AFTER_MS);
}

/* May a key have an entry in shared memory? */
static bool
is_tracked(const pg_uuid_t *id)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	bool		found;

	if (table == NULL)
		return false;

	ref = tracked_keys_locate(table, MyDatabaseId, id);
	tracked_keys_lock(ref.partition, LW_SHARED);
	found = tracked_keys_find(&ref) != NULL;
	tracked_keys_unlock(ref.partition);
	return found;
}

/* Enlarges the array by n outcomes. */
static void
enlarge_outcomes(int n)
{
	Size		size = (n_at_commit + n) * sizeof(Outcome);

	Assert(n > 0);
	Assert(IsTransactionState());

	at_commit = at_commit ? repalloc_huge(at_commit, size)
						  : MemoryContextAllocHuge(TopTransactionContext, size);
}

static void
add_outcome(const KeyUse *use, OutcomeKind kind)
{
	at_commit[n_at_commit].use = *use;
	at_commit[n_at_commit++].kind = kind;
}

/* Adds the outcomes of a batch.  A use whose row was locked stays pending. */
void
flush_outcomes_add(const KeyUse *uses, const UseOutcome *outcomes, int nuses)
{
	enlarge_outcomes(nuses);
	for (int i = 0; i < nuses; i++)
	{
		if (outcomes[i] == USE_PERSISTED)
			add_outcome(&uses[i], OUTCOME_PERSISTED);
		else if (outcomes[i] == USE_KEY_GONE && is_surely_deleted(&uses[i]))
			add_outcome(&uses[i], OUTCOME_KEY_GONE);
	}
}

/*
 * Removes keys from shared memory, a uuid[], which this transaction has
 * deleted, when it commits: with what limits have counted, unless they have
 * successors, which share that.  What is used only now, before the commit, is
 * removed when its use is flushed.
 */
void
flush_outcomes_remove_keys(ArrayType *ids)
{
	Datum	   *elements;
	bool	   *have_successors;
	int			n;
	int			ntracked = 0;

	Assert(ARR_ELEMTYPE(ids) == UUIDOID && !ARR_HASNULL(ids));

	expect_outcomes();
	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		if (is_tracked(DatumGetUUIDP(elements[i])))
			elements[ntracked++] = elements[i];
	}
	if (ntracked == 0)
		return;

	n = ntracked;
	ids = construct_array(elements, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	have_successors = palloc0(n * sizeof(bool));
	store_find_successors(ids, have_successors);
	enlarge_outcomes(n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_outcome(&(KeyUse){.id = *DatumGetUUIDP(elements[i])},
					have_successors[i] ? OUTCOME_KEY_GONE : OUTCOME_FAMILY_GONE);
	}
}
