/*-------------------------------------------------------------------------
 *
 * damage.c
 *	  Changes what is in the shared table of keys and budgets, for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "base/compat.h"

/* The layout of the table is its own. */
#include "live/tracked_keys.c"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(test_damage);

int			guc_max_tracked_keys;
int			guc_reservation_timeout;
int			guc_flush_interval;

void
shmem_add(ShmemSegment *added)
{
}

void *
shmem_attach(ShmemSegment *attached)
{
	return NULL;
}

bool
shmem_preloaded(void)
{
	return true;
}

UseDelta *
feed_state_deltas(void)
{
	return NULL;
}

/* The holds of an owner that are taken out of its list. */
static HoldList unlinked;

static void
unlink_holds(HoldList *list, bool back)
{
	if (back)
		*list = unlinked;
	else
	{
		unlinked = *list;
		holds_init(list);
	}
}

/*
 * test_damage(size bigint, what text, id uuid, by integer): void.  Changes a
 * number of a key's entry, or of its partition; by -1 what by 1 has done is undone.
 */
Datum
test_damage(PG_FUNCTION_ARGS)
{
	bool		found;
	TrackedKeys *table = ShmemInitStruct("apikeys keys", PG_GETARG_INT64(0), &found);
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(1));
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, PG_GETARG_UUID_P(2));
	int			by = PG_GETARG_INT32(3);
	static TrackedKey *entry;
	TrackedWindow *window;
	Hold	   *hold;

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	if (by > 0)
		entry = tracked_keys_find(&ref);
	if (entry == NULL)
		elog(PANIC, "the key has no entry");
	window = &ref.pools.windows.windows[entry->limits.windows.first];
	hold = &ref.pools.holds[entry->limits.holds.oldest];

	if (strcmp(what, "used entries") == 0)
		ref.partition->nused += by;
	else if (strcmp(what, "free entries") == 0)
		ref.partition->first_free += by;
	else if (strcmp(what, "free windows") == 0)
		ref.partition->first_free_window += by;
	else if (strcmp(what, "free reservations") == 0)
		table->free_holds.nfree += by * (1 << 30);
	else if (strcmp(what, "first free reservation") == 0)
		table->free_holds.first_free = -2 - table->free_holds.first_free;
	else if (strcmp(what, "stored window") == 0)
		window->window.current += by; /* without a new version */
	else if (strcmp(what, "id") == 0)
		entry->tag.id.data[0] += by;
	else if (strcmp(what, "stored use") == 0)
		pg_atomic_fetch_add_u64(&entry->persisted, by * 100 * 365 * USECS_PER_DAY);
	else if (strcmp(what, "pinned") == 0)
		entry->pinned = by > 0;
	else if (strcmp(what, "window numbers") == 0)
		entry->limits.windows.numbers += by * 128;
	else if (strcmp(what, "window unit") == 0)
		window->unit += by * 100;
	else if (strcmp(what, "window reserved") == 0)
		window->reserved += by;
	else if (strcmp(what, "window counted") == 0)
		window->window.previous -= by;
	else if (strcmp(what, "reservations") == 0)
		entry->limits.holds.count += by;
	else if (strcmp(what, "reserved cost") == 0)
		entry->limits.holds.cost += by;
	else if (strcmp(what, "owner") == 0)
		hold->owner += by;
	else if (strcmp(what, "newest") == 0)
		entry->limits.holds.newest += by;
	else if (strcmp(what, "circle") == 0)
		hold->newer = by > 0 ? entry->limits.holds.oldest : NO_HOLD;
	else if (strcmp(what, "unlinked") == 0)
		unlink_holds(&entry->limits.holds, by < 0);
	else
		elog(PANIC, "unknown damage: %s", what);
	tracked_keys_unlock(ref.partition);

	PG_RETURN_VOID();
}
