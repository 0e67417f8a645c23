/*-------------------------------------------------------------------------
 *
 * activity.c
 *	  What happens to keys all the time: their last use.
 *
 * Verify notes a use in a shared hash table of fixed size; the flusher
 * persists what is due and tells us so.  A use is pending when it is later
 * than what is known to be in the table apikeys.usage, and due when the last
 * one was written at least apikeys.last_used_throttle ago.
 *
 * The table and its locking protocol are keytable.c's.  When it is full of
 * pending uses, a use is dropped and counted; what is in the table is not
 * lost for that.
 *
 * Where there is no shared memory (15 and 16 without preloading) the use is
 * written in the call, but only if nobody has to wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "live/activity.h"
#include "live/counters.h"
#include "live/keytable.h"
#include "settings/guc.h"
#include "store/store.h"

/* When a pending use is due: at once if it is not known to be written. */
static TimestampTz
due_at(Entry *entry)
{
	TimestampTz written_at = pg_atomic_read_u64(&entry->written_at);

	return written_at != 0 ? written_at + guc_last_used_throttle * USECS_PER_SEC : 0;
}

/* --------------------------------------------------------- noting a use */

/*
 * Notes a use of a key that has no entry yet; true unless it is dropped.
 * What makes room is chosen by the time as it is, whenever the use was.
 */
static bool
note_first_use(KeyTable *table, const Place *place, TimestampTz used_at)
{
	TimestampTz now = GetCurrentTimestamp();
	Entry	   *entry;
	bool		evicted;

	keytable_lock(place->partition, LW_EXCLUSIVE);
	entry = keytable_get(table, place, now, &evicted);
	if (entry != NULL)
		keytable_advance(&entry->seen, used_at);
	keytable_unlock(place->partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (entry == NULL)
		counters_add(COUNT_DROPPED, 1);

	return entry != NULL;
}

/*
 * Notes a use in the key's entry.  Of the uses within one second only the
 * first is written, so that backends with one hot key do not fight over its
 * cache line.  Returns true when there is something new to persist; where
 * no launcher watches, each such second, since a flusher may have been lost.
 * Shared lock.
 */
bool
activity_note_in_entry(Entry *entry, TimestampTz now)
{
	TimestampTz seen = pg_atomic_read_u64(&entry->seen);
	bool		news;

	if (guc_last_used_throttle < 0 || now <= seen ||
		now / USECS_PER_SEC == seen / USECS_PER_SEC)
		return false;

	news = !shmem_preloaded() || !keytable_is_pending(entry);
	keytable_advance(&entry->seen, now);
	return news;
}

/* Notes a use in the shared table; returns as activity_note_in_entry() does. */
static bool
note_in_table(KeyTable *table, const pg_uuid_t *id, TimestampTz now)
{
	Place		place = keytable_place(table, MyDatabaseId, id);
	Entry	   *entry;
	bool		news = false;

	keytable_lock(place.partition, LW_SHARED);
	entry = keytable_find(&place);
	if (entry != NULL)
		news = activity_note_in_entry(entry, now);
	keytable_unlock(place.partition);

	return entry != NULL ? news : note_first_use(table, &place, now);
}

/*
 * May this call write a last use itself?  Not in a transaction that may not
 * write.  Not in one with a snapshot of its own either: there, a row that
 * somebody has just written is a serialization failure, and a verify must
 * not fail.
 */
static bool
may_write(void)
{
	return !XactReadOnly && !IsolationUsesXactSnapshot();
}

/* Writes a use in the call, for want of shared memory. */
static void
note_in_call(const pg_uuid_t *id, TimestampTz now)
{
	static bool told = false;

	if (!told)
		ereport(LOG,
				(errmsg("apikeys writes the last use of a key in the call that verifies it"),
				 errhint("With \"apikeys\" in shared_preload_libraries verify never writes.")));
	told = true;

	if (may_write())
		store_last_use(id, now, now - guc_last_used_throttle * USECS_PER_SEC);
}

/*
 * Notes that a key was used; apikeys.last_used_throttle = -1 turns it off.
 * Returns true when the flusher has something new to persist.
 */
bool
activity_note_use(const pg_uuid_t *id, TimestampTz now)
{
	KeyTable   *table;

	if (guc_last_used_throttle < 0)
		return false;

	table = keytable_attach();
	if (table != NULL)
		return note_in_table(table, id, now);

	note_in_call(id, now);
	return false;
}

/* Are uses noted in shared memory, and written by flushes alone? */
bool
activity_is_shared(void)
{
	return keytable_attach() != NULL;
}

/* Returns the last use in shared memory of a key of this database, or 0. */
TimestampTz
activity_last_use(const pg_uuid_t *id)
{
	KeyTable   *table = keytable_attach();
	Place		place;
	Entry	   *entry;
	TimestampTz seen = 0;

	if (table == NULL)
		return 0;

	place = keytable_place(table, MyDatabaseId, id);
	keytable_lock(place.partition, LW_SHARED);
	entry = keytable_find(&place);
	if (entry != NULL)
		seen = pg_atomic_read_u64(&entry->seen);
	keytable_unlock(place.partition);

	return seen;
}

/* -------------------------------------------------------- for the flusher */

/*
 * Where there are too many databases, has one that is due earlier take the
 * place of the one that is due latest.
 */
static void
replace_latest(DueDatabase *databases, int n, Oid database, TimestampTz due)
{
	int			latest = 0;

	for (int d = 1; d < n; d++)
	{
		if (databases[d].due_at > databases[latest].due_at)
			latest = d;
	}
	if (due < databases[latest].due_at)
		databases[latest] = (DueDatabase){database, due};
}

/*
 * Finds the databases with pending uses, and when the earliest of each is
 * due.  Returns how many there are, at most max.
 */
int
activity_due_databases(DueDatabase *databases, int max)
{
	KeyTable   *table = keytable_attach();
	int			ndatabases = 0;

	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		Place		part = keytable_partition(table, p);
		Entry	   *entries = part.entries;

		keytable_lock(part.partition, LW_SHARED);
		for (int i = 0; i < table->nentries; i++)
		{
			Oid			database = entries[i].key.database;
			int			d = 0;

			if (!OidIsValid(database) || !keytable_is_pending(&entries[i]))
				continue;
			while (d < ndatabases && databases[d].database != database)
				d++;
			if (d == max)
			{
				replace_latest(databases, max, database, due_at(&entries[i]));
				continue;
			}
			if (d == ndatabases)
				databases[ndatabases++] = (DueDatabase){database, DT_NOEND};
			databases[d].due_at = Min(databases[d].due_at, due_at(&entries[i]));
		}
		keytable_unlock(part.partition);
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
 * are pending), in key order, palloc'd.
 */
int
activity_collect(Oid database, TimestampTz due_by, KeyUse **uses)
{
	KeyTable   *table = keytable_attach();
	int			nuses = 0;
	int			room = 0;

	*uses = NULL;
	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		Place		part = keytable_partition(table, p);
		Entry	   *entries = part.entries;

		/* No allocation under the lock: make room for a whole partition. */
		if (room < nuses + table->nentries)
		{
			room = 2 * (nuses + table->nentries);
			*uses = *uses ? repalloc(*uses, room * sizeof(KeyUse)) : palloc(room * sizeof(KeyUse));
		}

		keytable_lock(part.partition, LW_SHARED);
		for (int i = 0; i < table->nentries; i++)
		{
			if (entries[i].key.database == database && keytable_is_pending(&entries[i]) &&
				due_at(&entries[i]) <= due_by)
				(*uses)[nuses++] = (KeyUse){
					entries[i].key.id, pg_atomic_read_u64(&entries[i].seen)
			};
		}
		keytable_unlock(part.partition);
	}

	if (nuses > 0)
		qsort(*uses, nuses, sizeof(KeyUse), compare_uses);
	return nuses;
}

/* Notes that a use is in the table and committed, now. */
void
activity_mark_persisted(Oid database, const KeyUse *use, TimestampTz now)
{
	KeyTable   *table = keytable_attach();
	Place		place;
	Entry	   *entry;

	if (table == NULL)
		return;

	place = keytable_place(table, database, &use->id);
	keytable_lock(place.partition, LW_SHARED);
	entry = keytable_find(&place);
	if (entry != NULL)
	{
		keytable_advance(&entry->persisted, use->used_at);
		keytable_advance(&entry->written_at, now);
	}
	keytable_unlock(place.partition);
}

/* Notes that a flush has committed. */
void
activity_note_flush(TimestampTz now)
{
	KeyTable   *table = keytable_attach();

	if (table != NULL)
		keytable_advance(&table->last_flush, now);
}

/*
 * Forgets the use of a key that has been deleted.  What its successors have
 * passed in its windows still counts for them.
 */
void
activity_forget_key(Oid database, const pg_uuid_t *id, TimestampTz now)
{
	KeyTable   *table = keytable_attach();
	Place		place;
	Entry	   *entry;

	if (table == NULL)
		return;

	place = keytable_place(table, database, id);
	keytable_lock(place.partition, LW_EXCLUSIVE);
	entry = keytable_find(&place);
	if (entry != NULL && keytable_is_limiting(&place, entry, now))
		keytable_advance(&entry->persisted, pg_atomic_read_u64(&entry->seen));
	else if (entry != NULL)
		keytable_remove(&place, entry);
	keytable_unlock(place.partition);
}

/* Forgets a database that was dropped, or that has no apikeys any more. */
void
activity_forget_database(Oid database)
{
	KeyTable   *table = keytable_attach();

	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		Place		part = keytable_partition(table, p);
		Entry	   *entries = part.entries;

		keytable_lock(part.partition, LW_EXCLUSIVE);
		for (int i = 0; i < table->nentries; i++)
		{
			if (entries[i].key.database == database)
			{
				Place		place = keytable_place(table, database, &entries[i].key.id);

				keytable_remove(&place, &entries[i]);
			}
		}
		keytable_unlock(part.partition);
	}
}

/* Tells how full the table is; false where there is none. */
bool
activity_fill(ActivityFill *fill)
{
	KeyTable   *table = keytable_attach();

	if (table == NULL)
		return false;

	memset(fill, 0, sizeof(ActivityFill));
	fill->last_flush = pg_atomic_read_u64(&table->last_flush);
	for (int p = 0; p < table->npartitions; p++)
	{
		Place		part = keytable_partition(table, p);
		Entry	   *entries = part.entries;

		keytable_lock(part.partition, LW_SHARED);
		fill->used += part.partition->nused;
		for (int i = 0; i < table->nentries; i++)
			fill->pending += keytable_is_pending(&entries[i]);
		keytable_unlock(part.partition);
	}
	fill->free = (int64) table->npartitions * table->nentries - fill->used;

	return true;
}
