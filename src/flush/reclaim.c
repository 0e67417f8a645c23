/*-------------------------------------------------------------------------
 *
 * reclaim.c
 *	  Removes from shared memory what nobody can use any more.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The entry of a key family lives as long as its windows, up to two days.  If
 * its keys have been deleted or revoked or have expired meanwhile, it takes
 * space that others need, and shared memory does not know it: keys expire by
 * themselves, and are changed by COMMIT PREPARED, by hand, or on the primary.
 * So the tables are asked: by a backend that finds no space, since nothing is stored
 * that could be evicted, and by apikey_flush().  On a standby, a backend that finds no
 * space looks first for what has been stored meanwhile (replayed_windows.c).
 *
 * A batch of entries is copied under the lock of their partition.  Without a
 * lock, one query finds which of their families have no live key.  Then the
 * entries of these are removed under the lock again, unless they have changed.
 * What the limits of a living key have counted is never lost:
 *
 * - Only committed changes count, and a key that is being changed is alive.
 * - A family that a transaction has used while it had an id is alive until that
 *	 transaction has ended: it may have made a key that nobody else sees yet.
 *	 That is checked before the snapshot of the query is taken.
 * - If a family gets a key that is alive after the query, and that is used, its
 *	 entry has changed.
 *
 * If nothing was found in a partition, none is searched for a second, so that a
 * table full of living keys costs no query for each refusal.
 *
 * Nothing is known here of the keys of other databases.  Entries of databases
 * that have been dropped are removed, and flush workers are sent to the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/syscache.h"

#include "base/shmem.h"
#include "flush/flush_queue.h"
#include "flush/reclaim.h"
#include "flush/replayed_windows.h"
#include "live/counters.h"
#include "live/rate_limiter.h"
#include "live/tracked_keys.h"
#include "store/families.h"

#define RECLAIM_BATCH		1024	/* entries of which a lock is held, and of one query */
#define RECLAIM_PAUSE_MS	1000	/* after a search that freed nothing */

/* An entry as it was before its family was looked up. */
typedef struct Candidate
{
	TrackedKeyTag tag;
	TransactionId xid;
	uint32		version;		/* of its limits */
} Candidate;

/* Other databases that have entries in a partition. */
typedef struct OtherDatabases
{
	Oid			oids[FLUSH_QUEUE_MAX_DATABASES];
	int			n;
} OtherDatabases;

static void
add_database(OtherDatabases *others, Oid database)
{
	for (int i = 0; i < others->n; i++)
	{
		if (others->oids[i] == database)
			return;
	}
	if (others->n < FLUSH_QUEUE_MAX_DATABASES)
		others->oids[others->n++] = database;
}

/*
 * Copies those of n entries, from first on, that are in the way: with a live
 * window or a hold, or with needed, with a pending use.  Returns how many.
 */
static int
copy_candidates(const TrackedKeyRef *ref, int first, int n, bool needed,
				Candidate *candidates, OtherDatabases *others)
{
	TimestampTz now = GetCurrentTimestamp();
	int			ncandidates = 0;

	tracked_keys_lock(ref->partition, LW_EXCLUSIVE);
	for (int i = first; i < first + n; i++)
	{
		TrackedKey *entry = &ref->entries[i];
		Candidate  *candidate = &candidates[ncandidates];

		if (!OidIsValid(entry->tag.database) ||
			(!tracked_keys_is_limiting(ref, entry, now) && !(needed && tracked_keys_is_pending(entry))))
			continue;
		if (entry->tag.database != MyDatabaseId)
		{
			add_database(others, entry->tag.database);
			continue;
		}
		candidate->tag = entry->tag;
		candidate->xid = entry->limits.xid;
		candidate->version = entry->limits.version;
		ncandidates++;
	}
	tracked_keys_unlock(ref->partition);

	return ncandidates;
}

/*
 * Reduces the candidates to those whose family has no live key; returns their
 * number, and their states.
 */
static int
find_dead(Candidate *candidates, int ncandidates, FamilyState *states)
{
	pg_uuid_t  *ids = palloc(RECLAIM_BATCH * sizeof(pg_uuid_t));
	int			n = 0;
	int			ndead = 0;

	for (int i = 0; i < ncandidates; i++)
	{
		if (TransactionIdIsValid(candidates[i].xid) && TransactionIdIsInProgress(candidates[i].xid))
			continue;
		ids[n] = candidates[i].tag.id;
		candidates[n++] = candidates[i];
	}

	if (n > 0)
		store_family_states(ids, n, GetCurrentTimestamp(), states);
	for (int i = 0; i < n; i++)
	{
		if (states[i] == FAMILY_LIVE)
			continue;
		states[ndead] = states[i];
		candidates[ndead++] = candidates[i];
	}
	pfree(ids);

	return ndead;
}

/*
 * Removes the entry of a candidate unless it has changed; false if it has, or
 * is gone, or has reservations that may still be settled: those of a key that was
 * revoked while requests were under way are ended only for want of space.  The pending
 * use of a family that is not gone is lost only if the space is needed, and counted
 * then.  Exclusive lock.
 */
static bool
remove_candidate(const TrackedKeyRef *ref, const Candidate *candidate, FamilyState state,
				 bool needed, int *ndropped)
{
	TrackedKey *entry = tracked_keys_find(ref);
	bool		pending;

	if (entry == NULL || entry->limits.xid != candidate->xid ||
		entry->limits.version != candidate->version)
		return false;
	if (!needed && state == FAMILY_DEAD && entry->limits.holds.count > 0)
		return false;

	pending = tracked_keys_is_pending(entry);
	if (pending && !needed)
		tracked_keys_clear_limits(ref, entry);
	else
	{
		*ndropped += (pending && state != FAMILY_GONE);
		tracked_keys_remove(ref, entry);
	}
	return true;
}

/* Removes the entries of a partition whose families have no live key. */
static void
remove_dead(TrackedKeys *table, const TrackedKeyRef *ref, const Candidate *candidates,
			const FamilyState *states, int ndead, bool needed)
{
	int			nremoved = 0;
	int			ndropped = 0;

	if (ndead == 0)
		return;

	tracked_keys_lock(ref->partition, LW_EXCLUSIVE);
	for (int i = 0; i < ndead; i++)
	{
		TrackedKeyRef key = tracked_keys_locate(table, MyDatabaseId, &candidates[i].tag.id);

		nremoved += remove_candidate(&key, &candidates[i], states[i], needed, &ndropped);
	}
	tracked_keys_unlock(ref->partition);

	counters_add(COUNT_RECLAIMED, nremoved);
	counters_add(COUNT_DROPPED, ndropped);
}

/*
 * Removes the entries of databases that have been dropped, and returns their
 * number.  If the space is needed, sends flush workers to the others.
 */
static int
reclaim_from_others(const OtherDatabases *others, bool needed)
{
	int			ndropped = 0;

	for (int i = 0; i < others->n; i++)
	{
		if (!SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(others->oids[i])))
		{
			flush_queue_remove_database(others->oids[i]);
			ndropped++;
		}
		else if (needed && shmem_preloaded() && !RecoveryInProgress())
			flush_queue_exchange_usage(others->oids[i], true);
	}
	if (ndropped < others->n && needed && shmem_preloaded())
		flush_queue_wake();

	return ndropped;
}

/* May there be too few holds for a request? */
static bool
lacks_holds(const TrackedKeys *table)
{
	return table->free_holds.nfree < MAX_LIMIT_OWNERS;
}

/*
 * Records that a search freed nothing, unless there is space now: then another
 * process was faster.
 */
static void
record_vain_search(TrackedKeys *table, const TrackedKeyRef *ref)
{
	Partition  *partition = ref->partition;
	bool		full;

	tracked_keys_lock(partition, LW_SHARED);
	full = partition->nused == table->nentries || partition->first_free_window == NO_TRACKED_WINDOW ||
		   lacks_holds(table);
	tracked_keys_unlock(partition);
	if (full)
		pg_atomic_write_u64(&table->searched_at, GetCurrentTimestamp());
}

/* Is a time less than so long ago?  One in the future is not. */
static bool
is_recent(TimestampTz time, int64 ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return now >= time && now < TimestampTzPlusMilliseconds(time, ms);
}

/*
 * Reclaims a partition.  If the space is needed, stops after the first batch
 * in which something was found, if another process was faster or not; false
 * if nothing was.
 */
static bool
reclaim_partition(TrackedKeys *table, const TrackedKeyRef *ref, bool needed)
{
	Candidate  *candidates = palloc(RECLAIM_BATCH * sizeof(Candidate));
	FamilyState *states = palloc(RECLAIM_BATCH * sizeof(FamilyState));
	OtherDatabases others = {.n = 0};
	int			nfound = 0;

	for (int first = 0; first < table->nentries && (nfound == 0 || !needed); first += RECLAIM_BATCH)
	{
		int			n = Min(RECLAIM_BATCH, table->nentries - first);
		int			ndead;

		CHECK_FOR_INTERRUPTS();
		n = copy_candidates(ref, first, n, needed, candidates, &others);
		ndead = find_dead(candidates, n, states);
		remove_dead(table, ref, candidates, states, ndead, needed);
		nfound += ndead;
	}
	pfree(candidates);
	pfree(states);

	if (flush_queue_attach())
		nfound += reclaim_from_others(&others, needed && nfound == 0);
	if (nfound == 0 && needed)
		record_vain_search(table, ref);

	return nfound > 0;
}

/*
 * Ends the reservations that have timed out, whoever's they are, if there may
 * be too few holds for another; returns how many holds that has freed.
 */
static int
reclaim_holds(TrackedKeys *table)
{
	int			nfreed = 0;

	if (!lacks_holds(table))
		return 0;

	for (int p = 0; p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);
		TimestampTz now = GetCurrentTimestamp();

		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
		for (int i = 0; i < table->nentries; i++)
			nfreed += tracked_limits_expire(&ref.pools, &ref.entries[i].limits, now);
		tracked_keys_unlock(ref.partition);
	}

	return nfreed;
}

/*
 * Reclaims space for a key family or a budget for which there was none; false if there is
 * nothing to be found.  Executes a query, so the time has to be read again.
 */
bool
reclaim_for(const pg_uuid_t *owner)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;

	if (table == NULL)
		return false;

	ref = tracked_keys_locate(table, MyDatabaseId, owner);
	return !is_recent(pg_atomic_read_u64(&table->searched_at), RECLAIM_PAUSE_MS) &&
		   (reclaim_holds(table) > 0 || (RecoveryInProgress() && replayed_windows_mark(table, &ref) > 0) ||
			reclaim_partition(table, &ref, true));
}

/* Reclaims all partitions: for apikey_flush(). */
void
reclaim_all_partitions(void)
{
	TrackedKeys *table = tracked_keys_attach();

	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);

		(void) reclaim_partition(table, &ref, false);
	}
}
