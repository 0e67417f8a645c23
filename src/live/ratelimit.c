/*-------------------------------------------------------------------------
 *
 * ratelimit.c
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

#include "base/errors.h"
#include "base/shmem.h"
#include "live/activity.h"
#include "live/counters.h"
#include "live/keytable.h"
#include "live/ratelimit.h"

/* Can limits be enforced here? */
bool
ratelimit_available(void)
{
	return keytable_attach() != NULL;
}

static KeyTable *
require_table(void)
{
	KeyTable   *table = keytable_attach();

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
take_slot(KeyTable *table, const Place *place, Entry *entry, uint64 random,
		  TimestampTz now)
{
	int64		timeout = keytable_slot_timeout();
	int			holder = entry - place->entries;
	int64		slot;

	if (entry->held.count >= table->nentries / 2)
		return 0;
	slot = slots_take(&place->pool, &entry->held, holder, random, now);
	if (slot != 0)
		return slot;

	for (int i = 0; i < table->nentries; i++)
		slots_expire(&place->pool, &place->entries[i].held, timeout, now);
	return slots_take(&place->pool, &entry->held, holder, random, now);
}

/*
 * When may a holder of max slots or more have another?  When so many have
 * timed out that less than max are left: if max was lowered, more than one.
 */
static TimestampTz
slots_wait(const SlotPool *pool, const HeldSlots *held, int64 max)
{
	int			last = held->oldest;

	for (int64 excess = held->count - max; excess > 0; excess--)
		last = pool->slots[last].newer;
	return pool->slots[last].taken_at + keytable_slot_timeout();
}

/*
 * Finds the limit that refuses a request, or returns a negative number.  A
 * full window comes before a lack of slots, whose end nobody knows: they time
 * out at the latest.  At retry_at neither refuses any more.
 */
static int
find_refusing(const Place *place, Entry *entry, const RateLimits *limits,
			  const int64 *costs, bool slot, TimestampTz now, TimestampTz *retry_at)
{
	Window		none[WINDOW_NKINDS] = {0};
	int			refusing = window_find_full(entry != NULL ? entry->windows : none,
											limits->max, costs, now, retry_at);

	if (!slot || entry == NULL)
		return refusing;

	slots_expire(&place->pool, &entry->held, keytable_slot_timeout(), now);
	if (entry->held.count < limits->max[RATE_SLOTS])
		return refusing;

	*retry_at = Max(*retry_at, slots_wait(&place->pool, &entry->held, limits->max[RATE_SLOTS]));
	return refusing != NO_WINDOW ? refusing : RATE_SLOTS;
}

/*
 * Spends a request and takes its slot, all or nothing; false: no room.  A key
 * with limits on tokens alone needs an entry as well: those that are recorded
 * later must find room.  The entry of a line, NULL if it has none yet, is that
 * of its first key: the use of that key is noted in passing.
 */
static bool
spend(KeyTable *table, const Place *place, Entry *entry, const RateLimitDemand *demand,
	  bool slot, uint64 random, TimestampTz now, RateLimitAnswer *answer, bool *evicted)
{
	static const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_REQUESTS_MINUTE] = 1,
		[WINDOW_REQUESTS_DAY] = 1,
	};

	if (entry == NULL && !slot && !policy_has_windows(demand->limits))
		return true;
	if (entry == NULL)
		entry = keytable_add(table, place, now, evicted);
	if (entry == NULL)
		return false;
	if (slot)
	{
		answer->slot = take_slot(table, place, entry, random, now);
		if (answer->slot == 0)
			return false;
	}
	window_spend(entry->windows, demand->limits->max, costs, now);

	answer->use_noted = memcmp(demand->id, demand->root_id, sizeof(pg_uuid_t)) == 0;
	if (answer->use_noted)
		answer->use_is_news = activity_note_in_entry(entry, now);

	return true;
}

/* Says why a limit refuses a request. */
static char *
explain(int limit, int64 max, int64 tokens)
{
	const char *name = policy_limit_name(limit);

	if (tokens > max && (limit == WINDOW_TOKENS_MINUTE || limit == WINDOW_TOKENS_DAY))
		return psprintf(INT64_FORMAT " tokens are more than the %s limit of " INT64_FORMAT,
						tokens, name, max);
	return psprintf("%s limit of " INT64_FORMAT " is reached", name, max);
}

/*
 * Judges whether a request passes now, and spends it if so.  Tokens are only
 * checked, at least one: how many it will be is known when the request is
 * done.  now must be now: see judge.c.
 */
void
ratelimit_judge(const RateLimitDemand *demand, TimestampTz now, RateLimitAnswer *answer)
{
	KeyTable   *table = require_table();
	Place		place = keytable_place(table, MyDatabaseId, demand->root_id);
	const RateLimits *limits = demand->limits;
	int64		tokens = Max(demand->tokens, 1);
	const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_REQUESTS_MINUTE] = 1,
		[WINDOW_TOKENS_MINUTE] = tokens,
		[WINDOW_REQUESTS_DAY] = 1,
		[WINDOW_TOKENS_DAY] = tokens,
	};
	bool		slot = demand->slot && limits->max[RATE_SLOTS] > 0;
	uint64		random = slot && demand->spend ? draw_random() : 0;
	Entry	   *entry;
	int			refusing;
	bool		room = true;
	bool		evicted = false;

	memset(answer, 0, sizeof(RateLimitAnswer));

	keytable_lock(place.partition, LW_EXCLUSIVE);
	entry = keytable_find(&place);
	refusing = find_refusing(&place, entry, limits, costs, slot, now, &answer->retry_at);
	if (refusing < 0 && demand->spend)
		room = spend(table, &place, entry, demand, slot, random, now, answer, &evicted);
	keytable_unlock(place.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (!room)
		no_room(ERROR);
	if (refusing >= 0)
		answer->reason = explain(refusing, limits->max[refusing], tokens);
}

/*
 * Spends tokens that have been used, even if they are more than was left.
 * Where there is no shared memory nothing is spent: the key does not pass.
 * Where there is no room it does not pass either, and what has been used is
 * to be recorded all the same: a warning has to do.
 */
void
ratelimit_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits, int64 tokens)
{
	KeyTable   *table = keytable_attach();
	TimestampTz now;
	const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_TOKENS_MINUTE] = tokens,
		[WINDOW_TOKENS_DAY] = tokens,
	};
	Place		place;
	Entry	   *entry;
	bool		evicted;

	if (table == NULL || tokens == 0 ||
		(limits->max[WINDOW_TOKENS_MINUTE] == 0 && limits->max[WINDOW_TOKENS_DAY] == 0))
		return;

	place = keytable_place(table, MyDatabaseId, root_id);
	now = GetCurrentTimestamp();
	keytable_lock(place.partition, LW_EXCLUSIVE);
	entry = keytable_get(table, &place, now, &evicted);
	if (entry != NULL)
		window_spend(entry->windows, limits->max, costs, now);
	keytable_unlock(place.partition);

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
ratelimit_release(int64 slot)
{
	KeyTable   *table = keytable_attach();
	TimestampTz now = GetCurrentTimestamp();
	Place		place;
	bool		held = false;
	int			i;

	if (table == NULL || !keytable_slot_place(table, slot, &place))
		return false;

	i = slot_index(slot) - place.pool.first_index;
	keytable_lock(place.partition, LW_EXCLUSIVE);
	if (place.pool.slots[i].number == slot)
	{
		Entry	   *entry = &place.entries[place.pool.slots[i].holder];

		slots_expire(&place.pool, &entry->held, keytable_slot_timeout(), now);
		held = place.pool.slots[i].number == slot && entry->key.database == MyDatabaseId;
		if (held)
			slots_give_back(&place.pool, &entry->held, i);
	}
	keytable_unlock(place.partition);

	return held;
}

/* Reads how the RATE_NLIMITS limits of a line stand, and tells the time. */
TimestampTz
ratelimit_read(const pg_uuid_t *root_id, RateLimitState *states)
{
	KeyTable   *table = require_table();
	TimestampTz now = GetCurrentTimestamp();
	Place		place = keytable_place(table, MyDatabaseId, root_id);
	Entry	   *entry;

	memset(states, 0, RATE_NLIMITS * sizeof(RateLimitState));

	keytable_lock(place.partition, LW_EXCLUSIVE);
	entry = keytable_find(&place);
	if (entry != NULL)
	{
		HeldSlots  *held = &entry->held;

		for (int kind = 0; kind < WINDOW_NKINDS; kind++)
		{
			/* Once nothing is used, a cost of 1 passes a limit of 1. */
			states[kind].used = window_used(entry->windows, kind, now);
			states[kind].resets_at = window_wait(entry->windows, kind, 1, 1, now);
		}

		slots_expire(&place.pool, held, keytable_slot_timeout(), now);
		states[RATE_SLOTS].used = held->count;
		if (held->count > 0)
			states[RATE_SLOTS].resets_at =
				place.pool.slots[held->newest].taken_at + keytable_slot_timeout();
	}
	keytable_unlock(place.partition);

	return now;
}
