/*-------------------------------------------------------------------------
 *
 * tracked_check.c
 *	  Is the shared table of keys and budgets sound?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Windows, holds and chains are written under the exclusive lock of their
 * partition, so under the shared lock they must agree with each other.  The lock
 * is held for what is cheap of a whole partition, and for a batch of its entries.
 * Nothing is changed, and no link is followed further than there are things to
 * be linked: it may be a circle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "live/tracked_check.h"

/* What the holds of an owner add up to. */
typedef struct HoldSums
{
	int64		count;
	int64		cost;			/* of a budget's */
	int64		broken_links;	/* to another owner, or not there and back */
	int64		reserved[MAX_TRACKED_WINDOWS]; /* in each window, by its number */
} HoldSums;

/* Returns a set without a hold, palloc'd. */
HoldSet
tracked_check_new_set(const TrackedKeys *table)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, tracked_keys_nholds(table) / 8 + 1,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* Adds a fault, unless the number is as expected, of a partition or an entry in it; tag may be NULL. */
void
tracked_check_expect(TrackedFaults *faults, int partition, const TrackedKeyTag *tag, const char *what,
					 int64 found, int64 expected)
{
	TrackedFault *fault = &faults->faults[faults->n];

	if (found == expected)
		return;
	if (faults->n++ >= TRACKED_FAULTS_MAX)
		return;
	memset(fault, 0, sizeof(TrackedFault));
	if (tag != NULL)
		fault->tag = *tag;
	fault->partition = partition;
	fault->what = what;
	fault->found = found;
	fault->expected = expected;
}

static void
expect(TrackedFaults *faults, int partition, const TrackedKey *entry, const char *what,
	   int64 found, int64 expected)
{
	tracked_check_expect(faults, partition, entry != NULL ? &entry->tag : NULL, what, found, expected);
}

/* -------------------------------------------------------- whole partitions */

/* How many free entries are linked, up to one more than there are entries. */
static int64
count_free_entries(const TrackedKeys *table, const TrackedKeyRef *ref)
{
	int64		n = 0;
	int			i = ref->partition->first_free;

	while (i >= 0 && i < table->nentries && n <= table->nentries && !OidIsValid(ref->entries[i].tag.database))
	{
		i = ref->entries[i].next;
		n++;
	}
	return n;
}

static int64
count_free_windows(const TrackedKeys *table, const TrackedKeyRef *ref)
{
	int64		n = 0;
	int			w = ref->partition->first_free_window;

	while (w >= 0 && w < tracked_keys_nwindows(table) && n <= tracked_keys_nwindows(table))
	{
		w = ref->pools.windows.windows[w].next;
		n++;
	}
	return n;
}

/* Checks what a partition counts and has free.  Takes its lock. */
void
tracked_check_partition(TrackedKeys *table, int p, TrackedFaults *faults)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);
	int64		nused = 0;
	int64		nwindows = 0;

	tracked_keys_lock(ref.partition, LW_SHARED);
	for (int i = 0; i < table->nentries; i++)
	{
		nused += OidIsValid(ref.entries[i].tag.database);
		nwindows += pg_popcount32(ref.entries[i].limits.windows.numbers);
	}
	expect(faults, p, NULL, "its number of entries", ref.partition->nused, nused);
	expect(faults, p, NULL, "the number of its free entries", count_free_entries(table, &ref), table->nentries - nused);
	expect(faults, p, NULL, "the number of its free windows", count_free_windows(table, &ref), tracked_keys_nwindows(table) - nwindows);
	tracked_keys_unlock(ref.partition);
}

/* Checks how many holds are said to be free.  Takes the lock of the pool. */
void
tracked_check_pool(TrackedKeys *table, TrackedFaults *faults)
{
	HoldPool   *pool = &table->free_holds;
	int			nholds = tracked_keys_nholds(table);
	int64		nfree;
	bool		has_first;

	SpinLockAcquire(&pool->lock);
	nfree = pool->nfree;
	has_first = pool->first_free >= 0 && pool->first_free < nholds;
	SpinLockRelease(&pool->lock);

	expect(faults, NO_PARTITION, NULL, "the number of free reservations", nfree, Min(Max(nfree, 0), nholds));
	expect(faults, NO_PARTITION, NULL, "whether there is a first free reservation", has_first, nfree > 0);
}

/* ------------------------------------------------------- single entries */

/* Is an entry in the chain of its tag?  The lock is held. */
static bool
is_in_chain(TrackedKeys *table, int p, const TrackedKeyRef *ref, int entry)
{
	TrackedKeyRef own = tracked_keys_locate(table, ref->entries[entry].tag.database, &ref->entries[entry].tag.id);
	int			i = own.number == p ? own.chain->first : -1;

	for (int n = 0; i >= 0 && i < table->nentries && n < table->nentries; n++)
	{
		if (i == entry)
			return true;
		i = ref->entries[i].next;
	}
	return false;
}

/* Adds what a hold reserves in the windows of its owner. */
static void
add_reserved(const TrackedKeyRef *ref, const TrackedKey *entry, int hold, HoldSums *sums)
{
	const Hold *held = &ref->pools.holds[hold];
	TrackedWindowSet windows = tracked_limits_reserving(&ref->pools, &entry->limits, hold);
	int			w = entry->limits.windows.first;

	for (int n = 0; w != NO_TRACKED_WINDOW && n < MAX_TRACKED_WINDOWS; n++)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];

		if (windows & 1 << window->number && window->unit != WINDOW_REQUESTS)
			sums->reserved[window->number] += window->unit == WINDOW_TOKENS ? held->tokens : held->cost;
		w = window->next;
	}
}

/* Follows the holds of an entry, and adds them to the set and up. */
static void
add_up_holds(const TrackedKeys *table, const TrackedKeyRef *ref, int i, bool with_windows,
			 HoldSet linked, HoldSums *sums)
{
	const TrackedKey *entry = &ref->entries[i];
	int			older = NO_HOLD;
	int			hold = entry->limits.holds.oldest;

	memset(sums, 0, sizeof(HoldSums));
	while (hold >= 0 && hold < tracked_keys_nholds(table) && sums->count <= tracked_keys_nholds(table))
	{
		const Hold *held = &ref->pools.holds[hold];

		linked[hold / 8] |= 1 << hold % 8;
		sums->broken_links += held->partition != ref->number || held->owner != i || held->older != older;
		sums->count++;
		sums->cost += held->of_budget ? held->cost : 0;
		if (with_windows)
			add_reserved(ref, entry, hold, sums);
		older = hold;
		hold = held->newer;
	}
	sums->broken_links += hold != NO_HOLD || older != entry->limits.holds.newest;
}

/* Are the windows of an entry linked as their numbers say? */
static bool
has_sound_windows(const TrackedKeys *table, const TrackedKeyRef *ref, const TrackedKey *entry)
{
	TrackedWindowSet numbers = 0;
	int			w = entry->limits.windows.first;

	for (int n = 0; w >= 0 && w < tracked_keys_nwindows(table) && n < MAX_TRACKED_WINDOWS; n++)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];

		if (window->number >= MAX_TRACKED_WINDOWS || numbers & 1 << window->number ||
			window->unit >= WINDOW_NUNITS || window->seconds <= 0)
			return false;
		numbers |= 1 << window->number;
		w = window->next;
	}
	return w == NO_TRACKED_WINDOW && numbers == entry->limits.windows.numbers;
}

/* Checks what the windows of an entry say is reserved in them, and count. */
static void
check_windows(const TrackedKeyRef *ref, const TrackedKey *entry, const HoldSums *sums, TrackedFaults *faults)
{
	for (int w = entry->limits.windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
	{
		const TrackedWindow *window = &ref->pools.windows.windows[w];
		int			before = faults->n;

		expect(faults, ref->number, entry, "what a window has reserved", window->reserved, sums->reserved[window->number]);
		if (faults->n > before && before < TRACKED_FAULTS_MAX)
			faults->faults[before].is_minor = true;
		expect(faults, ref->number, entry, "what a window has counted",
			   Min(window->window.current, window->window.previous), Max(Min(window->window.current, window->window.previous), 0));
	}
}

static void
check_entry(TrackedKeys *table, const TrackedKeyRef *ref, int i, HoldSet linked, TrackedFaults *faults)
{
	TrackedKey *entry = &ref->entries[i];
	int			p = ref->number;
	bool		sound_windows = has_sound_windows(table, ref, entry);
	int64		last_used = pg_atomic_read_u64(&entry->last_used);
	int64		persisted = pg_atomic_read_u64(&entry->persisted);
	HoldSums	sums;

	add_up_holds(table, ref, i, sound_windows, linked, &sums);
	expect(faults, p, entry, "whether it is found by its id", is_in_chain(table, p, ref, i), true);
	expect(faults, p, entry, "whether its windows are linked", sound_windows, true);
	expect(faults, p, entry, "the number of its broken links to reservations", sums.broken_links, 0);
	expect(faults, p, entry, "the number of its reservations", entry->limits.holds.count, sums.count);
	expect(faults, p, entry, "what its reservations cost", entry->limits.holds.cost, sums.cost);
	expect(faults, p, entry, "its stored last use", persisted, Min(persisted, last_used));
	expect(faults, p, entry, "whether it is kept from eviction", entry->pinned, false);
	if (sound_windows)
		check_windows(ref, entry, &sums, faults);
}

/*
 * Checks a batch of the entries of a partition, from first on, and adds the holds
 * that are linked to them to the set.  Takes the lock of the partition.
 */
void
tracked_check_entries(TrackedKeys *table, int p, int first, HoldSet linked, TrackedFaults *faults)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);

	tracked_keys_lock(ref.partition, LW_SHARED);
	for (int i = first; i < Min(first + TRACKED_CHECK_BATCH, table->nentries); i++)
	{
		if (OidIsValid(ref.entries[i].tag.database))
			check_entry(table, &ref, i, linked, faults);
	}
	tracked_keys_unlock(ref.partition);
}

/* ----------------------------------------------- holds that nobody finds */

/* Is a hold linked to its owner now?  The lock of the partition is held. */
static bool
is_linked(const TrackedKeys *table, const TrackedKeyRef *ref, int hold)
{
	int			owner = ref->pools.holds[hold].owner;
	int			h = owner >= 0 && owner < table->nentries ? ref->entries[owner].limits.holds.oldest : NO_HOLD;

	for (int n = 0; h >= 0 && h < tracked_keys_nholds(table) && n < tracked_keys_nholds(table); n++)
	{
		if (h == hold)
			return true;
		h = ref->pools.holds[h].newer;
	}
	return false;
}

/*
 * Looks for a hold, from first on, that is taken since before a time and not in
 * the set, and checks it, with the lock of its partition.  Returns where to go on;
 * NO_HOLD: there is no other.
 */
int
tracked_check_unlinked(TrackedKeys *table, HoldSet linked, TimestampTz since, int first, TrackedFaults *faults)
{
	const volatile Hold *holds = tracked_keys_holds(table);
	int			nholds = tracked_keys_nholds(table);
	int			hold = first;
	TrackedKeyRef ref;
	int			p;

	while (hold < nholds &&
		   (holds[hold].partition == NO_PARTITION || linked[hold / 8] & 1 << hold % 8 ||
			holds[hold].reserved_at >= since))
		hold++;
	if (hold >= nholds)
		return NO_HOLD;

	/* Without the lock: it may be another's by now. */
	p = holds[hold].partition;
	if (p < 0 || p >= table->npartitions)
		return hold + 1;
	ref = tracked_keys_partition(table, p);
	tracked_keys_lock(ref.partition, LW_SHARED);
	if (holds[hold].partition == p)
		expect(faults, p, NULL, "whether a reservation is linked to its owner", is_linked(table, &ref, hold), true);
	tracked_keys_unlock(ref.partition);

	return hold + 1;
}
