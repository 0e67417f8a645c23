/*-------------------------------------------------------------------------
 *
 * keytable.c
 *	  The shared hash table of keys, and its locking protocol.
 *
 * The table has a fixed size and holds no pointers, so that it can be born
 * in a DSM segment as well.  It is cut into partitions, each with a lock,
 * chains and entries of its own.
 *
 * The LWLock of a partition guards which entries are in which chain: share
 * it to find an entry, have it exclusively to add or remove one.  The times
 * in an entry are atomics that only ever grow; to advance them the shared
 * lock is enough.  Never more than one partition is locked at a time, and
 * nothing that could raise an error runs under a lock.
 *
 * The windows of an entry, the slots it holds and the partition's pool of
 * slots are read and written under the exclusive lock: whoever finds room in
 * all of them spends there before anybody else looks.  Random numbers are
 * drawn before, complaints are raised after.
 *
 * When a partition is full, the entry that was used least recently makes
 * room, of those with nothing pending, no live window and no held slot.  If
 * there is none, nothing does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/shmem.h"

#include "live/keytable.h"
#include "settings/guc.h"

#define ENTRIES_PER_PARTITION	1024	/* at least, unless there is but one */
#define MAX_PARTITIONS			64
#define EVICTION_SAMPLE			64	/* entries looked at to find a victim */
#define EVICTION_EFFORT			1024	/* looked at before giving up */
#define NO_ENTRY				(-1)

/* A lock does not share its cache line with another. */
typedef union PaddedPartition
{
	Partition	partition;
	char		padding[PG_CACHE_LINE_SIZE];
} PaddedPartition;

#define TABLE_SIZE	TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(KeyTable))

static Size table_size(void);
static void table_born(void *address);

static ShmemSegment segment = {
	.name = "apikeys keys",
	.size = table_size,
	.init = table_born,
};

void
keytable_init(void)
{
	shmem_add(&segment);
}

/* Returns the table, or NULL where there is no shared memory. */
KeyTable *
keytable_attach(void)
{
	return shmem_attach(&segment);
}

/* ---------------------------------------------------------------- layout */

/*
 * How many keys there is room for.  A named DSM segment must have the same
 * size for all who attach, so there the setting, which may be changed while
 * the server runs, does not count.
 */
static int
max_keys(void)
{
	return shmem_preloaded() ? guc_max_tracked_keys : GUC_DEFAULT_TRACKED_KEYS;
}

static int
count_partitions(void)
{
	return Max(1, Min(MAX_PARTITIONS, max_keys() / ENTRIES_PER_PARTITION));
}

/* The partitions, the chains' heads, the entries and the slots follow the table. */
static Size
table_size(void)
{
	Size		npartitions = count_partitions();
	Size		nentries = max_keys() / npartitions * npartitions;
	Size		size = TABLE_SIZE;

	size = add_size(size, mul_size(npartitions, sizeof(PaddedPartition)));
	size = add_size(size, MAXALIGN(mul_size(nentries, sizeof(int))));
	size = add_size(size, mul_size(nentries, sizeof(Entry)));
	return add_size(size, mul_size(nentries, sizeof(Slot)));
}

static PaddedPartition *
get_partition(KeyTable *table, int p)
{
	return (PaddedPartition *) ((char *) table + TABLE_SIZE) + p;
}

/* The heads of a partition's chains, one for each of its entries. */
static int *
get_buckets(KeyTable *table, int p)
{
	return (int *) get_partition(table, table->npartitions) + p * table->nentries;
}

static Entry *
get_entries(KeyTable *table, int p)
{
	Size		buckets_size = MAXALIGN(sizeof(int) * table->npartitions * table->nentries);

	return (Entry *) ((char *) get_buckets(table, 0) + buckets_size) + p * table->nentries;
}

/* As many slots as entries. */
static SlotPool
get_pool(KeyTable *table, int p)
{
	Slot	   *slots = (Slot *) get_entries(table, table->npartitions);
	SlotPool	pool;

	pool.first_index = (int64) p * table->nentries;
	pool.slots = slots + pool.first_index;
	pool.first_free = &get_partition(table, p)->partition.first_free_slot;
	return pool;
}

static void
table_born(void *address)
{
	KeyTable   *table = address;

	table->npartitions = count_partitions();
	table->nentries = max_keys() / table->npartitions;
	pg_atomic_init_u64(&table->last_flush, 0);

	for (int p = 0; p < table->npartitions; p++)
	{
		Entry	   *entries = get_entries(table, p);
		SlotPool	pool = get_pool(table, p);

		slots_born(&pool, table->nentries);
		LWLockInitialize(&get_partition(table, p)->partition.lock, table->header.tranche_id);
		for (int i = 0; i < table->nentries; i++)
		{
			get_buckets(table, p)[i] = NO_ENTRY;
			entries[i].next = (i + 1 < table->nentries) ? i + 1 : NO_ENTRY;
			pg_atomic_init_u64(&entries[i].seen, 0);
			pg_atomic_init_u64(&entries[i].persisted, 0);
			pg_atomic_init_u64(&entries[i].written_at, 0);
			slots_hold_none(&entries[i].held);
		}
	}
}

/* Returns a partition with its table->nentries entries, free ones included. */
Place
keytable_partition(KeyTable *table, int p)
{
	Place		place = {0};

	place.partition = &get_partition(table, p)->partition;
	place.entries = get_entries(table, p);
	place.pool = get_pool(table, p);
	return place;
}

/* Tells where a key belongs, whether it is there or not.  No lock needed. */
Place
keytable_place(KeyTable *table, Oid database, const pg_uuid_t *id)
{
	EntryKey	key = {database, *id};
	uint32		hash = hash_bytes((const unsigned char *) &key, sizeof(key));
	int			p = hash % table->npartitions;
	Place		place = keytable_partition(table, p);

	place.key = key;
	place.bucket = get_buckets(table, p) + hash / table->npartitions % table->nentries;

	return place;
}

/*
 * Locks a partition.  The postmaster, which saves the table when all its
 * children have gone, is alone with it and takes no lock: one of a child
 * that was killed would stay.
 */
void
keytable_lock(Partition *partition, LWLockMode mode)
{
	if (IsUnderPostmaster)
		LWLockAcquire(&partition->lock, mode);
}

void
keytable_unlock(Partition *partition)
{
	if (IsUnderPostmaster)
		LWLockRelease(&partition->lock);
}

/*
 * Tells in which partition the slot with a number would be; false when there
 * is no such slot.  No lock needed.
 */
bool
keytable_slot_place(KeyTable *table, int64 slot, Place *place)
{
	int64		p = slot_index(slot) / table->nentries;

	if (slot <= 0 || p >= table->npartitions)
		return false;

	*place = keytable_partition(table, p);
	return true;
}

/* --------------------------------------------------------------- entries */

/* Advances a time that only grows.  Shared lock. */
void
keytable_advance(pg_atomic_uint64 *time, TimestampTz to)
{
	uint64		from = pg_atomic_read_u64(time);

	while (to > (TimestampTz) from && !pg_atomic_compare_exchange_u64(time, &from, to))
		/* somebody else has advanced it */;
}

/* Has a key been used since its last use was persisted?  Shared lock. */
bool
keytable_is_pending(Entry *entry)
{
	return (TimestampTz) pg_atomic_read_u64(&entry->seen) >
		   (TimestampTz) pg_atomic_read_u64(&entry->persisted);
}

/* apikeys.slot_timeout in microseconds. */
int64
keytable_slot_timeout(void)
{
	return guc_slot_timeout * INT64CONST(1000);
}

/* Does an entry hold a window or a slot that counts now?  Exclusive lock. */
bool
keytable_is_limiting(const Place *place, Entry *entry, TimestampTz now)
{
	slots_expire(&place->pool, &entry->held, keytable_slot_timeout(), now);
	return entry->held.count > 0 || window_any_live(entry->windows, now);
}

/* Returns the entry of a key or NULL.  Shared lock. */
Entry *
keytable_find(const Place *place)
{
	for (int i = *place->bucket; i != NO_ENTRY; i = place->entries[i].next)
	{
		if (memcmp(&place->entries[i].key, &place->key, sizeof(EntryKey)) == 0)
			return &place->entries[i];
	}

	return NULL;
}

/* Takes an entry out of its chain and frees it.  Exclusive lock. */
void
keytable_remove(const Place *place, Entry *entry)
{
	int		   *link = place->bucket;

	while (&place->entries[*link] != entry)
		link = &place->entries[*link].next;
	*link = entry->next;

	while (entry->held.count > 0)
		slots_give_back(&place->pool, &entry->held, entry->held.oldest);
	memset(entry->windows, 0, sizeof(entry->windows));
	memset(&entry->key, 0, sizeof(EntryKey));
	pg_atomic_write_u64(&entry->seen, 0);
	pg_atomic_write_u64(&entry->persisted, 0);
	pg_atomic_write_u64(&entry->written_at, 0);
	entry->next = place->partition->first_free;
	place->partition->first_free = entry - place->entries;
	place->partition->nused--;
}

/*
 * Frees the entry used least recently among those that nothing is lost with.
 * In a large partition a sample stands for all of it, as long as the sample
 * has one that can go.  False when none can.  Exclusive lock.
 */
static bool
evict_entry(KeyTable *table, const Place *place, TimestampTz now)
{
	Partition  *partition = place->partition;
	Entry	   *victim = NULL;
	Place		victim_place;

	for (int looked = 0; looked < Min(table->nentries, EVICTION_EFFORT); looked++)
	{
		Entry	   *entry = &place->entries[partition->hand];

		if (looked >= EVICTION_SAMPLE && victim != NULL)
			break;
		partition->hand = (partition->hand + 1) % table->nentries;
		if ((victim == NULL ||
			 pg_atomic_read_u64(&entry->seen) < pg_atomic_read_u64(&victim->seen)) &&
			!keytable_is_pending(entry) && !keytable_is_limiting(place, entry, now))
			victim = entry;
	}
	if (victim == NULL)
		return false;

	victim_place = keytable_place(table, victim->key.database, &victim->key.id);
	keytable_remove(&victim_place, victim);
	return true;
}

/*
 * Adds an entry for a key that has none, if need be in place of another.
 * NULL when there is no room.  Exclusive lock.
 */
Entry *
keytable_add(KeyTable *table, const Place *place, TimestampTz now, bool *evicted)
{
	Partition  *partition = place->partition;
	Entry	   *entry;
	int			i;

	*evicted = partition->first_free == NO_ENTRY && evict_entry(table, place, now);
	if (partition->first_free == NO_ENTRY)
		return NULL;

	i = partition->first_free;
	entry = &place->entries[i];
	partition->first_free = entry->next;
	partition->nused++;
	entry->key = place->key;
	entry->next = *place->bucket;
	*place->bucket = i;

	return entry;
}

/* Returns the entry of a key, added if there was none; NULL as above. */
Entry *
keytable_get(KeyTable *table, const Place *place, TimestampTz now, bool *evicted)
{
	Entry	   *entry = keytable_find(place);

	*evicted = false;
	return entry != NULL ? entry : keytable_add(table, place, now, evicted);
}
