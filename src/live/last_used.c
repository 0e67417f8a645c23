/*-------------------------------------------------------------------------
 *
 * last_used.c
 *	  When keys were last used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Verify records a use in the shared hash table of tracked_keys.c, whose
 * locking protocol applies here.  With it goes the address of the client, if
 * that is given: it changes rarely, so the exclusive lock that this takes is
 * rare.  A use without an address leaves the one that is known.
 *
 * A flush worker persists the uses that are due, and marks them.  A use is
 * pending if it is later than the one known to be in the table
 * apikeys_data.usage, and due if that one was written at least
 * apikeys.last_used_throttle ago; for a key with an idle_timeout, also if that
 * was max_lag ago (idleness_max_lag()).  Its uses are recorded to the
 * microsecond, even if others are not at all: it expires by them.
 *
 * If the shared table is full of pending uses, a use is dropped and counted.
 * Uses that are already stored are not affected.
 *
 * Without shared memory (15 and 16 without preloading) the use is written in
 * the call, unless that would have to wait for a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "live/counters.h"
#include "live/last_used.h"
#include "live/stored_windows.h"
#include "live/tracked_keys.h"
#include "live/tracked_space.h"
#include "settings/guc.h"
#include "store/last_used.h"

/* apikeys.last_used_throttle for a key, in microseconds; negative: off. */
static int64
throttle(int max_lag)
{
	int64		general = guc_last_used_throttle * USECS_PER_SEC;
	int64		own = max_lag * INT64CONST(1000);

	return max_lag != 0 && (general < 0 || own < general) ? own : general;
}

/* When a pending use is due: at once if none is known to be stored; DT_NOEND: there is none. */
static TimestampTz
due_at(TrackedKey *entry)
{
	TimestampTz written_at = pg_atomic_read_u64(&entry->written_at);

	if (!tracked_keys_is_pending(entry))
		return DT_NOEND;
	return written_at != 0 ? written_at + throttle(pg_atomic_read_u32(&entry->max_lag)) : 0;
}

/* ------------------------------------------------------ recording a use */

/*
 * Is a use written into the entry?  Of those within one second only the first
 * is, to avoid contention for the cache line of a hot key; not so if max_lag is
 * set, for a key with an idle_timeout.  Shared lock.
 */
static bool
is_written(TrackedKey *entry, TimestampTz now, const UseNote *use)
{
	TimestampTz last_used = pg_atomic_read_u64(&entry->last_used);

	return throttle(use->max_lag) >= 0 && now > last_used &&
		   (use->max_lag != 0 || now / USECS_PER_SEC != last_used / USECS_PER_SEC);
}

/*
 * Would a use change the address in the entry?  Not if apikeys.last_used_throttle
 * is -1: idleness needs none.  Shared lock.
 */
static bool
changes_ip(const TrackedKey *entry, const UseNote *use)
{
	return guc_last_used_throttle >= 0 && ip_address_is_packed(&use->client_ip) &&
		   memcmp(&use->client_ip, &entry->last_used_ip, sizeof(PackedAddress)) != 0;
}

/*
 * Records a use in the key's entry.  Returns true if the flush workers have to
 * be woken: if the entry had no pending use; without a launcher at each use that
 * is written, since the worker that was started for it may have been lost.  The
 * shared lock is enough if the address does not change.
 */
bool
last_used_record_in_entry(TrackedKey *entry, TimestampTz now, const UseNote *use)
{
	bool		newly_pending;

	Assert(OidIsValid(entry->tag.database));
	if (!is_written(entry, now, use))
		return false;

	if (pg_atomic_read_u32(&entry->max_lag) != (uint32) use->max_lag)
		pg_atomic_write_u32(&entry->max_lag, use->max_lag);
	newly_pending = !shmem_preloaded() || !tracked_keys_is_pending(entry);
	tracked_keys_advance(&entry->last_used, now);
	if (changes_ip(entry, use))
		entry->last_used_ip = use->client_ip;
	return newly_pending;
}

/*
 * Records a use of a key that has no entry yet, or another address in it; the
 * result is that of last_used_record().  An eviction needs the current time,
 * whenever the use was.
 */
static bool
record_exclusively(TrackedKeys *table, const TrackedKeyRef *ref, TimestampTz used_at,
				   const UseNote *use)
{
	TimestampTz now = GetCurrentTimestamp();
	TrackedKey *entry;
	bool		newly_pending = false;
	bool		evicted;

	tracked_keys_lock(ref->partition, LW_EXCLUSIVE);
	entry = tracked_keys_find_or_add(table, ref, now, &evicted);
	if (entry != NULL)
		newly_pending = last_used_record_in_entry(entry, used_at, use);
	tracked_keys_unlock(ref->partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (entry == NULL)
		counters_add(COUNT_DROPPED, 1);

	return newly_pending;
}

/* Records a use in the shared table; as last_used_record(). */
static bool
record_in_table(TrackedKeys *table, const pg_uuid_t *id, TimestampTz now, const UseNote *use,
				TimestampTz *recorded_at)
{
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, id);
	TrackedKey *entry;
	bool		newly_pending = false;
	bool		exclusively;

	tracked_keys_lock(ref.partition, LW_SHARED);
	entry = tracked_keys_find(&ref);
	exclusively = entry == NULL || (is_written(entry, now, use) && changes_ip(entry, use));
	if (!exclusively)
		newly_pending = last_used_record_in_entry(entry, now, use);
	tracked_keys_unlock(ref.partition);

	if (exclusively)
		return record_exclusively(table, &ref, now, use);
	*recorded_at = now;
	return newly_pending;
}

/*
 * May this call write a last use itself?  Not in a read-only transaction, nor
 * in one that keeps its snapshot: there, a row that another transaction has
 * just written is a serialization failure, and a verify must not fail.
 */
static bool
may_write(void)
{
	return !XactReadOnly && !IsolationUsesXactSnapshot();
}

/*
 * Writes a use in the call, since there is no shared memory.  Without it, the
 * time that a key may be idle is exact to a hundredth, and to a second.
 */
static void
write_in_call(const pg_uuid_t *id, TimestampTz now, const UseNote *note)
{
	static bool logged = false;
	int64		interval = throttle(note->max_lag);
	KeyUse		use = {.id = *id, .used_at = now};

	if (guc_last_used_throttle >= 0)
		use.ip = note->client_ip;
	if (note->max_lag != 0)
		interval = Min(interval, Min(USECS_PER_SEC, note->max_lag * INT64CONST(100)));

	Assert(IsTransactionState());
	if (!logged)
		ereport(LOG,
				(errmsg("apikeys writes the last use of a key in the call that verifies it"),
				 errhint("With \"apikeys\" in shared_preload_libraries verify never writes.")));
	logged = true;

	if (may_write())
		store_last_use(&use, now - interval);
}

/*
 * Records that a key was used, from an address if that is known;
 * apikeys.last_used_throttle = -1 turns it off, unless max_lag is set.  Returns
 * true if the flush workers have to be woken.  In recorded_at, the caller keeps
 * when a use of the key is known to be in its entry, at first 0: so another one
 * that would not be written takes no look at shared memory.
 */
bool
last_used_record(const pg_uuid_t *id, TimestampTz now, const UseNote *use, TimestampTz *recorded_at)
{
	TrackedKeys *table;

	if (throttle(use->max_lag) < 0 ||
		(use->max_lag == 0 && now / USECS_PER_SEC == *recorded_at / USECS_PER_SEC))
		return false;

	table = tracked_keys_attach();
	if (table != NULL)
		return record_in_table(table, id, now, use, recorded_at);

	write_in_call(id, now, use);
	return false;
}

/* Are uses recorded in shared memory, and written by flushes alone? */
bool
last_used_is_shared(void)
{
	return tracked_keys_attach() != NULL;
}

/*
 * Returns the last use of a key of this database in shared memory, or 0, and
 * the address in its entry, unless ip is NULL.
 */
TimestampTz
last_used_get(const pg_uuid_t *id, PackedAddress *ip)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;
	TimestampTz last_used = 0;

	if (ip != NULL)
		memset(ip, 0, sizeof(PackedAddress));
	if (table == NULL)
		return 0;

	ref = tracked_keys_locate(table, MyDatabaseId, id);
	tracked_keys_lock(ref.partition, LW_SHARED);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
	{
		last_used = pg_atomic_read_u64(&entry->last_used);
		if (ip != NULL)
			*ip = entry->last_used_ip;
	}
	tracked_keys_unlock(ref.partition);

	return last_used;
}

/* --------------------------------------------------- for flush workers */

/*
 * If there are too many databases, replaces the one that is due latest by one
 * that is due earlier.
 */
static void
replace_latest(DueDatabase *databases, int n, Oid database, TimestampTz due)
{
	int			latest = 0;

	Assert(n > 0);
	for (int d = 1; d < n; d++)
	{
		if (databases[d].due_at > databases[latest].due_at)
			latest = d;
	}
	if (due < databases[latest].due_at)
		databases[latest] = (DueDatabase){database, due};
}

/*
 * Finds the databases with pending uses, or windows to be stored, and when the
 * earliest of each is due: now if the table is crowded.  Returns their number, at
 * most max.
 */
int
last_used_due_databases(DueDatabase *databases, int max)
{
	TrackedKeys *table = tracked_keys_attach();
	int			ndatabases = 0;

	Assert(max > 0);
	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);
		TrackedKey *entries = ref.entries;

		tracked_keys_lock(ref.partition, LW_SHARED);
		for (int i = 0; i < table->nentries; i++)
		{
			Oid			database = entries[i].tag.database;
			TimestampTz due;
			int			d = 0;

			if (!OidIsValid(database))
				continue;
			due = Min(due_at(&entries[i]), stored_windows_due_at(&entries[i]));
			if (due == DT_NOEND)
				continue;
			if (tracked_keys_is_crowded(table))
				due = 0;
			while (d < ndatabases && databases[d].database != database)
				d++;
			if (d == max)
			{
				replace_latest(databases, max, database, due);
				continue;
			}
			if (d == ndatabases)
				databases[ndatabases++] = (DueDatabase){database, DT_NOEND};
			databases[d].due_at = Min(databases[d].due_at, due);
		}
		tracked_keys_unlock(ref.partition);
	}

	return ndatabases;
}

static int
compare_uses(const void *a, const void *b)
{
	return memcmp(&((const KeyUse *) a)->id, &((const KeyUse *) b)->id, UUID_LEN);
}

/*
 * Returns the uses of a database that are due by a time (DT_NOEND: all that
 * are pending), in a partition or in all (ALL_PARTITIONS), in key order, palloc'd.
 */
int
last_used_collect(Oid database, int partition, TimestampTz due_by, KeyUse **uses)
{
	TrackedKeys *table = tracked_keys_attach();
	int			nuses = 0;
	int			capacity = 0;

	Assert(OidIsValid(database));
	*uses = NULL;
	if (table != NULL && partition == ALL_PARTITIONS)
		(void) tracked_keys_clear_crowded(table);
	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);
		TrackedKey *entries = ref.entries;

		if (partition != ALL_PARTITIONS && p != partition)
			continue;
		/* Allocate before the lock is taken, for a whole partition. */
		if (capacity < nuses + table->nentries)
		{
			capacity = 2 * (nuses + table->nentries);
			*uses = *uses ? repalloc_huge(*uses, capacity * sizeof(KeyUse)) : palloc(capacity * sizeof(KeyUse));
		}

		tracked_keys_lock(ref.partition, LW_SHARED);
		for (int i = 0; i < table->nentries; i++)
		{
			if (entries[i].tag.database == database && tracked_keys_is_pending(&entries[i]) &&
				due_at(&entries[i]) <= due_by)
				(*uses)[nuses++] = (KeyUse){
					entries[i].tag.id, pg_atomic_read_u64(&entries[i].last_used),
					entries[i].last_used_ip
			};
		}
		tracked_keys_unlock(ref.partition);
	}

	if (nuses > 0)
		qsort(*uses, nuses, sizeof(KeyUse), compare_uses);
	return nuses;
}

/* Marks a use as stored and committed, now. */
void
last_used_mark_persisted(Oid database, const KeyUse *use, TimestampTz now)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;

	if (table == NULL)
		return;

	ref = tracked_keys_locate(table, database, &use->id);
	tracked_keys_lock(ref.partition, LW_SHARED);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
	{
		tracked_keys_advance(&entry->persisted, use->used_at);
		tracked_keys_advance(&entry->written_at, now);
	}
	tracked_keys_unlock(ref.partition);
}

/* Will uses be dropped soon if none are persisted? */
bool
last_used_is_crowded(void)
{
	return last_used_is_shared() && tracked_keys_is_crowded(tracked_keys_attach());
}

/* Has all that is pending written now: something has found no space. */
void
last_used_set_crowded(void)
{
	if (last_used_is_shared())
		tracked_keys_set_crowded(tracked_keys_attach());
}

/* Records that a flush has committed. */
void
last_used_record_flush(TimestampTz now)
{
	TrackedKeys *table = tracked_keys_attach();

	if (table != NULL)
		tracked_keys_advance(&table->last_flush, now);
}

/*
 * Removes the entry of a key that has been deleted, with the windows and holds
 * of its family if that is gone as well.  If not, and there is something in
 * them, only the last use is discarded.
 */
void
last_used_remove_key(Oid database, const pg_uuid_t *id, bool family_gone, TimestampTz now)
{
	TrackedKeys *table = tracked_keys_attach();
	TrackedKeyRef ref;
	TrackedKey *entry;

	if (table == NULL)
		return;

	ref = tracked_keys_locate(table, database, id);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL && !family_gone && tracked_keys_is_limiting(&ref, entry, now))
		tracked_keys_advance(&entry->persisted, pg_atomic_read_u64(&entry->last_used));
	else if (entry != NULL)
		tracked_keys_remove(&ref, entry);
	tracked_keys_unlock(ref.partition);
}

/* Removes all entries of a database that is dropped, or no longer has apikeys. */
void
last_used_remove_database(Oid database)
{
	TrackedKeys *table = tracked_keys_attach();

	Assert(OidIsValid(database));
	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		TrackedKeyRef ref = tracked_keys_partition(table, p);
		TrackedKey *entries = ref.entries;

		tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
		for (int i = 0; i < table->nentries; i++)
		{
			if (entries[i].tag.database == database)
			{
				TrackedKeyRef entry_ref = tracked_keys_locate(table, database, &entries[i].tag.id);

				tracked_keys_remove(&entry_ref, &entries[i]);
			}
		}
		tracked_keys_unlock(ref.partition);
	}
}
