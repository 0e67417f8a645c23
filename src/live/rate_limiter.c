/*-------------------------------------------------------------------------
 *
 * rate_limiter.c
 *	  Rate limits and slots, checked and spent together.
 *
 * The keys of one line, a key and its successors by rotation, share the
 * entry of their root_id in the shared table.  A request is judged under the
 * exclusive lock of the entry's partition: either it passes in all windows
 * and gets its slot, and all of it is spent, or nothing is.  What was spent
 * stays spent when the transaction is rolled back.
 *
 * Whoever looks with a time that lies behind ages what others have spent, as
 * after a clock that was set back.  So the time is taken here, right before
 * the lock, save where the hot path has just taken it.
 *
 * Limits fail closed: where there is no shared memory, or no room in it, a
 * key with limits is an error and not a key without limits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/arguments.h"
#include "base/shmem.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "live/tracked_keys.h"

/* Can limits be enforced here? */
bool
rate_limiter_available(void)
{
	return tracked_keys_attach() != NULL;
}

static TrackedKeys *
require_table(void)
{
	TrackedKeys *table = tracked_keys_attach();

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rate limits need shared memory"),
				 hint_preload()));
	return table;
}

/* Complains that shared memory is too small. */
static void
no_room(int elevel)
{
	ereport(elevel,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("there is no room to enforce the limits of this API key"),
			 shmem_preloaded()
				 ? errhint("Raise apikeys.max_tracked_keys, at least to 128 times the largest max_concurrent_requests, and restart the server.")
				 : errhint("Add \"apikeys\" to shared_preload_libraries, raise apikeys.max_tracked_keys and restart the server.")));
}

/* Drawn before the lock is taken, since it may fail. */
static uint64
draw_random(void)
{
	uint64		random;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return random;
}

/*
 * Takes a slot; 0: no room.  A line has half of the partition's slots at
 * most, so that none can lock all others out.  When the pool is empty, slots
 * that have timed out with other holders come back first.
 */
static int64
acquire_slot_for(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry, uint64 random,
				 TimestampTz now)
{
	int64		timeout = tracked_keys_slot_timeout();
	int			owner = entry - ref->entries;
	int64		slot;

	if (entry->slots.count >= table->nentries / 2)
		return 0;
	slot = slots_acquire(&ref->pool, &entry->slots, owner, random, now);
	if (slot != 0)
		return slot;

	for (int i = 0; i < table->nentries; i++)
		slots_expire(&ref->pool, &ref->entries[i].slots, timeout, now);
	return slots_acquire(&ref->pool, &entry->slots, owner, random, now);
}

/*
 * When may a owner of max slots or more have another?  When so many have
 * timed out that less than max are left: if max was lowered, more than one.
 */
static TimestampTz
slots_wait(const SlotPool *pool, const SlotList *slots, int64 max)
{
	int			last = slots->oldest;

	for (int64 excess = slots->count - max; excess > 0; excess--)
		last = pool->slots[last].newer;
	return pool->slots[last].acquired_at + tracked_keys_slot_timeout();
}

/*
 * Finds the limit that refuses a request, or returns a negative number.  A
 * full window comes before a lack of slots, whose end nobody knows: they time
 * out at the latest.  At retry_at neither refuses any more.
 */
static int
find_refusing(const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits,
			  const int64 *costs, bool slot, TimestampTz now, TimestampTz *retry_at)
{
	Window		none[WINDOW_NKINDS] = {0};
	int			refusing = window_find_full(entry != NULL ? entry->windows : none,
											limits->max, costs, now, retry_at);

	if (!slot || entry == NULL)
		return refusing;

	slots_expire(&ref->pool, &entry->slots, tracked_keys_slot_timeout(), now);
	if (entry->slots.count < limits->max[RATE_SLOTS])
		return refusing;

	*retry_at = Max(*retry_at, slots_wait(&ref->pool, &entry->slots, limits->max[RATE_SLOTS]));
	return refusing != NO_WINDOW ? refusing : RATE_SLOTS;
}

/*
 * Spends a request and takes its slot, all or nothing; false: no room.  A key
 * with limits on tokens alone needs an entry as well: those that are recorded
 * later must find room.  The entry of a line, NULL if it has none yet, is that
 * of its first key: the use of that key is noted in passing.
 */
static bool
spend(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey *entry, const RateLimitRequest *request,
	  bool slot, uint64 random, TimestampTz now, RateLimitResult *result, bool *evicted)
{
	static const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_REQUESTS_MINUTE] = 1,
		[WINDOW_REQUESTS_DAY] = 1,
	};

	if (entry == NULL && !slot && !rate_limits_have_windows(request->limits))
		return true;
	if (entry == NULL)
		entry = tracked_keys_add(table, ref, now, evicted);
	if (entry == NULL)
		return false;
	if (slot)
	{
		result->slot = acquire_slot_for(table, ref, entry, random, now);
		if (result->slot == 0)
			return false;
	}
	window_spend(entry->windows, request->limits->max, costs, now);

	result->use_recorded = memcmp(request->id, request->root_id, sizeof(pg_uuid_t)) == 0;
	if (result->use_recorded)
		result->use_newly_pending = last_used_record_in_entry(entry, now);

	return true;
}

/* Says why a limit refuses a request. */
static char *
explain(int limit, int64 max, int64 tokens)
{
	const char *name = rate_limits_name(limit);

	if (tokens > max && (limit == WINDOW_TOKENS_MINUTE || limit == WINDOW_TOKENS_DAY))
		return psprintf(INT64_FORMAT " tokens are more than the %s limit of " INT64_FORMAT,
						tokens, name, max);
	return psprintf("%s limit of " INT64_FORMAT " is reached", name, max);
}

/*
 * Judges whether a request passes now, and spends it if so.  Tokens are only
 * checked, at least one: how many it will be is known when the request is
 * done.  now must be now: see authorize.c.
 */
void
rate_limiter_check_and_spend(const RateLimitRequest *request, TimestampTz now, RateLimitResult *result)
{
	TrackedKeys *table = require_table();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, request->root_id);
	const RateLimits *limits = request->limits;
	int64		tokens = Max(request->tokens, 1);
	const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_REQUESTS_MINUTE] = 1,
		[WINDOW_TOKENS_MINUTE] = tokens,
		[WINDOW_REQUESTS_DAY] = 1,
		[WINDOW_TOKENS_DAY] = tokens,
	};
	bool		slot = request->slot && limits->max[RATE_SLOTS] > 0;
	uint64		random = slot && request->spend ? draw_random() : 0;
	TrackedKey *entry;
	int			refusing;
	bool		room = true;
	bool		evicted = false;

	memset(result, 0, sizeof(RateLimitResult));

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	refusing = find_refusing(&ref, entry, limits, costs, slot, now, &result->retry_at);
	if (refusing < 0 && request->spend)
		room = spend(table, &ref, entry, request, slot, random, now, result, &evicted);
	tracked_keys_unlock(ref.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (!room)
		no_room(ERROR);
	if (refusing >= 0)
		result->reason = explain(refusing, limits->max[refusing], tokens);
}

/*
 * Spends tokens that have been used, even if they are more than was left.
 * Where there is no shared memory nothing is spent: the key does not pass.
 * Where there is no room it does not pass either, and what has been used is
 * to be recorded all the same: a warning has to do.
 */
void
rate_limiter_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits, int64 tokens)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now;
	const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_TOKENS_MINUTE] = tokens,
		[WINDOW_TOKENS_DAY] = tokens,
	};
	TrackedKeyRef ref;
	TrackedKey *entry;
	bool		evicted;

	if (table == NULL || tokens == 0 ||
		(limits->max[WINDOW_TOKENS_MINUTE] == 0 && limits->max[WINDOW_TOKENS_DAY] == 0))
		return;

	ref = tracked_keys_locate(table, MyDatabaseId, root_id);
	now = GetCurrentTimestamp();
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find_or_add(table, &ref, now, &evicted);
	if (entry != NULL)
		window_spend(entry->windows, limits->max, costs, now);
	tracked_keys_unlock(ref.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (entry == NULL)
	{
		counters_add(COUNT_DROPPED, 1);
		no_room(WARNING);
	}
}

/* Gives a slot back; false when this database does not hold it. */
bool
rate_limiter_release(int64 slot)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref;
	bool		held = false;
	int			i;

	if (table == NULL || !tracked_keys_locate_slot(table, slot, &ref))
		return false;

	i = slot_index(slot) - ref.pool.first_index;
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	if (ref.pool.slots[i].number == slot)
	{
		TrackedKey *entry = &ref.entries[ref.pool.slots[i].owner];

		slots_expire(&ref.pool, &entry->slots, tracked_keys_slot_timeout(), now);
		held = ref.pool.slots[i].number == slot && entry->tag.database == MyDatabaseId;
		if (held)
			slots_release(&ref.pool, &entry->slots, i);
	}
	tracked_keys_unlock(ref.partition);

	return held;
}

/* Reads how the RATE_NLIMITS limits of a line stand, and tells the time. */
TimestampTz
rate_limiter_read(const pg_uuid_t *root_id, RateLimitState *states)
{
	TrackedKeys *table = require_table();
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, root_id);
	TrackedKey *entry;

	memset(states, 0, RATE_NLIMITS * sizeof(RateLimitState));

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
	{
		SlotList   *slots = &entry->slots;

		for (int kind = 0; kind < WINDOW_NKINDS; kind++)
		{
			/* Once nothing is used, a cost of 1 passes a limit of 1. */
			states[kind].used = window_used(entry->windows, kind, now);
			states[kind].resets_at = window_wait(entry->windows, kind, 1, 1, now);
		}

		slots_expire(&ref.pool, slots, tracked_keys_slot_timeout(), now);
		states[RATE_SLOTS].used = slots->count;
		if (slots->count > 0)
			states[RATE_SLOTS].resets_at =
				ref.pool.slots[slots->newest].acquired_at + tracked_keys_slot_timeout();
	}
	tracked_keys_unlock(ref.partition);

	return now;
}
