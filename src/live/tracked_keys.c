/*-------------------------------------------------------------------------
 *
 * tracked_keys.c
 *	  The shared hash table of keys and budgets, and its locking protocol.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * An entry is that of a key and, if the key is the first of its family, of the
 * family's limits; or that of a budget and its limits.
 *
 * The table has a fixed size and contains no pointers, so that it can be in
 * a DSM segment as well.  It is divided into partitions, each with a lock,
 * hash chains, entries and windows of its own.
 *
 * The LWLock of a partition guards which entries are in which chain: it is
 * taken in shared mode to find an entry, in exclusive mode to add or remove
 * one.  The times in an entry are atomics that only grow; the shared lock is
 * enough to advance them.  A process locks one partition at a time, or those of
 * a request in the order of their numbers, and does nothing under a lock that
 * could raise an error.
 *
 * The windows of an entry, its holds and the partition's pool of windows are
 * read and written under the exclusive lock.  So a request that passes all
 * limits is counted in all of them before another request is checked.
 * Random numbers are generated before the lock is taken, and errors are
 * raised after it has been released.
 *
 * Which partition an entry belongs to depends on a hash with a seed that
 * nobody can read, or a user could choose ids, by making keys until they fit,
 * that fill one partition.  The seed is the same after a restart: so each
 * partition has space for the entries that the state file has for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"

#include "live/feed_state.h"
#include "live/tracked_keys.h"
#include "settings/guc.h"

#define ENTRIES_PER_PARTITION	1024	/* at least, unless there is only one */

/* Padded, so that no two locks share a cache line. */
typedef union PaddedPartition
{
	Partition	partition;
	char		padding[PG_CACHE_LINE_SIZE];
} PaddedPartition;

#define TABLE_SIZE	TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(TrackedKeys))

StaticAssertDecl(sizeof(TrackedKeyTag) == sizeof(Oid) + sizeof(pg_uuid_t),
				 "tags have no padding: they are hashed and compared as bytes");
StaticAssertDecl(sizeof(PaddedPartition) == PG_CACHE_LINE_SIZE,
				 "the partitions keep what follows them aligned");
StaticAssertDecl(sizeof(TrackedKey) % MAXIMUM_ALIGNOF == 0,
				 "the entries keep the windows aligned");
StaticAssertDecl(sizeof(TimestampTz) == sizeof(uint64),
				 "an atomic can hold a time");
StaticAssertDecl(TRACKED_KEYS_MAX_PARTITIONS <= sizeof(TrackedPartitionSet) * BITS_PER_BYTE,
				 "a set has a bit for each partition");

static Size table_size(void);
static void table_init_shared(void *address);

static ShmemSegment segment = {
	.name = "apikeys keys",
	.size = table_size,
	.init = table_init_shared,
};

void
tracked_keys_init(void)
{
	shmem_add(&segment);
}


/* ---------------------------------------------------------------- layout */

/*
 * How many keys the table has space for.  A named DSM segment must have the
 * same size for each backend that attaches it, but there the setting may be
 * changed while the server runs, so its default is used instead.
 */
static int
max_keys(void)
{
	return shmem_preloaded() ? guc_max_tracked_keys : GUC_DEFAULT_TRACKED_KEYS;
}

static int
count_partitions(void)
{
	return Max(1, Min(TRACKED_KEYS_MAX_PARTITIONS, max_keys() / ENTRIES_PER_PARTITION));
}

/* Windows are aligned, so that each is in one cache line. */
static TrackedKeysLayout
get_layout(void)
{
	Size		npartitions = count_partitions();
	Size		nentries = max_keys() / npartitions * npartitions;
	TrackedKeysLayout layout;

	layout.chains = add_size(TABLE_SIZE, mul_size(npartitions, sizeof(PaddedPartition)));
	layout.entries = add_size(layout.chains, mul_size(nentries, sizeof(TrackedChain)));
	layout.windows = CACHELINEALIGN(add_size(layout.entries, mul_size(nentries, sizeof(TrackedKey))));
	layout.holds = add_size(layout.windows, mul_size(nentries, TRACKED_WINDOWS_PER_ENTRY * sizeof(TrackedWindow)));
	layout.end = add_size(layout.holds, mul_size(nentries, sizeof(Hold)));
	return layout;
}

static Size
table_size(void)
{
	return get_layout().end;
}

static Partition *
get_partition(TrackedKeys *table, int p)
{
	Assert(p >= 0 && p < table->npartitions);
	return &((PaddedPartition *) ((char *) table + TABLE_SIZE))[p].partition;
}

/* The chains of a partition, one for each of its entries. */
static TrackedChain *
get_chains(TrackedKeys *table, int p)
{
	return (TrackedChain *) ((char *) table + table->layout.chains) + p * table->nentries;
}

static TrackedKey *
get_entries(TrackedKeys *table, int p)
{
	return (TrackedKey *) ((char *) table + table->layout.entries) + p * table->nentries;
}

static TrackedWindow *
get_windows(TrackedKeys *table, int p)
{
	return (TrackedWindow *) ((char *) table + table->layout.windows) + (Size) p * tracked_keys_nwindows(table);
}

/* The holds of all partitions.  No lock needed. */
Hold *
tracked_keys_holds(TrackedKeys *table)
{
	return (Hold *) ((char *) table + table->layout.holds);
}

/* Returns the table, or NULL if there is no shared memory.  A standby notes its use. */
TrackedKeys *
tracked_keys_attach(void)
{
	static bool attached = false;
	TrackedKeys *table = shmem_attach(&segment);

	if (!attached && table != NULL && IsUnderPostmaster && RecoveryInProgress())
		tracked_windows_note_in(get_windows(table, 0), feed_state_deltas());
	attached = IsUnderPostmaster;
	return table;
}

static LimitPools
get_pools(TrackedKeys *table, int p)
{
	return (LimitPools){
		.windows = {
			.windows = get_windows(table, p),
			.first_free = &get_partition(table, p)->first_free_window,
		},
		.free_holds = &table->free_holds,
		.holds = tracked_keys_holds(table),
		.last_version = &get_partition(table, p)->last_version,
	};
}

static void
table_init_shared(void *address)
{
	TrackedKeys *table = address;

	table->layout = get_layout();
	table->npartitions = count_partitions();
	table->nentries = max_keys() / table->npartitions;
	Assert(table->nentries > 0);
	table->seed = DatumGetUInt64(hash_any_extended((unsigned char *) GetMockAuthenticationNonce(),
												   MOCK_AUTH_NONCE_LEN, 0));
	pg_atomic_init_u64(&table->last_flush, 0);
	pg_atomic_init_u64(&table->searched_at, 0);
	pg_atomic_init_u32(&table->crowded, 0);
	pg_atomic_init_u32(&table->next_written, 0);
	holds_init_pool(&table->free_holds, tracked_keys_holds(table), tracked_keys_nholds(table));

	for (int p = 0; p < table->npartitions; p++)
	{
		TrackedKey *entries = get_entries(table, p);
		LimitPools	pools = get_pools(table, p);

		tracked_windows_init_pool(&pools.windows, tracked_keys_nwindows(table));
		LWLockInitialize(&get_partition(table, p)->lock, table->header.tranche_id);
		for (int i = 0; i < table->nentries; i++)
		{
			get_chains(table, p)[i].first = NO_ENTRY;
			entries[i].next = (i + 1 < table->nentries) ? i + 1 : NO_ENTRY;
			pg_atomic_init_u64(&entries[i].last_used, 0);
			pg_atomic_init_u64(&entries[i].persisted, 0);
			pg_atomic_init_u64(&entries[i].written_at, 0);
			pg_atomic_init_u64(&entries[i].told, 0);
			pg_atomic_init_u32(&entries[i].max_lag, 0);
			tracked_limits_init(&entries[i].limits);
			entries[i].pinned = false;
		}
	}
}

/* Returns a partition with its table->nentries entries, free ones included. */
TrackedKeyRef
tracked_keys_partition(TrackedKeys *table, int p)
{
	return (TrackedKeyRef){
		.partition = get_partition(table, p),
		.entries = get_entries(table, p),
		.pools = get_pools(table, p),
		.number = p,
	};
}

/* Returns where a key belongs, whether it is there or not.  No lock needed. */
TrackedKeyRef
tracked_keys_locate(TrackedKeys *table, Oid database, const pg_uuid_t *id)
{
	TrackedKeyTag tag = {database, *id};
	uint64		hash = hash_bytes_extended((const unsigned char *) &tag, sizeof(tag), table->seed);
	int			p = (uint32) hash % table->npartitions;

	Assert(OidIsValid(database));
	return (TrackedKeyRef){
		.partition = get_partition(table, p),
		.tag = tag,
		.chain = get_chains(table, p) + (uint32) (hash >> 32) % table->nentries,
		.entries = get_entries(table, p),
		.pools = get_pools(table, p),
		.number = p,
	};
}

/*
 * Locks a partition.  The postmaster takes no lock: it loads the table before
 * it has children and saves it after all have exited, and then a child that
 * was killed may have left a partition locked.
 */
void
tracked_keys_lock(Partition *partition, LWLockMode mode)
{
	Assert(!LWLockHeldByMe(&partition->lock));
	if (IsUnderPostmaster)
		LWLockAcquire(&partition->lock, mode);
}

void
tracked_keys_unlock(Partition *partition)
{
	if (IsUnderPostmaster)
		LWLockRelease(&partition->lock);
}

/* Locks partitions exclusively, in the order of their numbers. */
void
tracked_keys_lock_all(TrackedKeys *table, TrackedPartitionSet partitions)
{
	for (; partitions != 0; partitions &= partitions - 1)
		tracked_keys_lock(get_partition(table, pg_rightmost_one_pos64(partitions)), LW_EXCLUSIVE);
}

void
tracked_keys_unlock_all(TrackedKeys *table, TrackedPartitionSet partitions)
{
	for (; partitions != 0; partitions &= partitions - 1)
		tracked_keys_unlock(get_partition(table, pg_rightmost_one_pos64(partitions)));
}

/* --------------------------------------------------------------- entries */

/* Advances a time that only grows.  Shared lock if it is an entry's. */
void
tracked_keys_advance(pg_atomic_uint64 *time, TimestampTz to)
{
	uint64		from = pg_atomic_read_u64(time);

	while (to > (TimestampTz) from && !pg_atomic_compare_exchange_u64(time, &from, to))
		/* another process has advanced it */;
}

/* Has what is pending written now, whatever apikeys.last_used_throttle says. */
void
tracked_keys_set_crowded(TrackedKeys *table)
{
	if (pg_atomic_read_u32(&table->crowded) == 0)
		pg_atomic_write_u32(&table->crowded, 1);
}

/* Is it to be? */
bool
tracked_keys_is_crowded(TrackedKeys *table)
{
	return pg_atomic_read_u32(&table->crowded) != 0;
}

/* Who is going to write what is pending clears it, and learns whether it was set. */
bool
tracked_keys_clear_crowded(TrackedKeys *table)
{
	return pg_atomic_exchange_u32(&table->crowded, 0) != 0;
}

/* Returns the partition where somebody begins to make space: another one each time. */
int
tracked_keys_next_written(TrackedKeys *table)
{
	return pg_atomic_fetch_add_u32(&table->next_written, 1) % table->npartitions;
}

/*
 * Has a key been used since its last use was persisted?  On a standby, it is not
 * for this server to persist what the one knows that it follows.  Shared lock.
 */
bool
tracked_keys_is_pending(TrackedKey *entry)
{
	TimestampTz last_used = pg_atomic_read_u64(&entry->last_used);

	return last_used > (TimestampTz) pg_atomic_read_u64(&entry->persisted) &&
		   (last_used > (TimestampTz) pg_atomic_read_u64(&entry->told) || !RecoveryInProgress());
}

/* Has an entry a window or a hold that counts now?  Exclusive lock. */
bool
tracked_keys_is_limiting(const TrackedKeyRef *ref, TrackedKey *entry, TimestampTz now)
{
	AssertLockedExclusively(ref->partition);
	return tracked_limits_any(&ref->pools, &entry->limits, now);
}

/* Returns the entry of a key or NULL.  Shared lock. */
TrackedKey *
tracked_keys_find(const TrackedKeyRef *ref)
{
	AssertLocked(ref->partition);
	for (int i = ref->chain->first; i != NO_ENTRY; i = ref->entries[i].next)
	{
		if (memcmp(&ref->entries[i].tag, &ref->tag, sizeof(TrackedKeyTag)) == 0)
			return &ref->entries[i];
	}

	return NULL;
}

/*
 * Forgets what the owner of an entry has used.  Whoever has read its row meanwhile
 * learns from its chain that there may be a later one.  Exclusive lock.
 */
void
tracked_keys_clear_limits(const TrackedKeyRef *ref, TrackedKey *entry)
{
	AssertLockedExclusively(ref->partition);
	tracked_limits_clear(&ref->pools, &entry->limits);
	ref->chain->removals++;
}

/* Removes an entry from its chain and frees it.  Exclusive lock. */
void
tracked_keys_remove(const TrackedKeyRef *ref, TrackedKey *entry)
{
	int		   *link = &ref->chain->first;

	AssertLockedExclusively(ref->partition);
	Assert(OidIsValid(entry->tag.database));
	Assert(ref->partition->nused > 0);

	while (&ref->entries[*link] != entry)
	{
		link = &ref->entries[*link].next;
		Assert(*link != NO_ENTRY);
	}
	*link = entry->next;

	tracked_keys_clear_limits(ref, entry);
	memset(&entry->tag, 0, sizeof(TrackedKeyTag));
	pg_atomic_write_u64(&entry->last_used, 0);
	pg_atomic_write_u64(&entry->persisted, 0);
	pg_atomic_write_u64(&entry->written_at, 0);
	pg_atomic_write_u64(&entry->told, 0);
	memset(&entry->last_used_ip, 0, sizeof(PackedAddress));
	pg_atomic_write_u32(&entry->max_lag, 0);
	entry->next = ref->partition->first_free;
	ref->partition->first_free = entry - ref->entries;
	ref->partition->nused--;
}
