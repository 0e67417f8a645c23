/*-------------------------------------------------------------------------
 *
 * rate_limiter.c
 *	  Rate limits and slots, checked and spent in one step.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The keys of one family, a key and its successors by rotation, share the
 * entry of their root_id in the shared table.  A request is checked under the
 * exclusive lock of the entry's partition: either it passes in all windows
 * and gets its slot, and all of it is spent, or nothing is.  What was spent
 * stays spent if the transaction is rolled back.
 *
 * Reading a window with an outdated time would age what others have spent, as
 * if the clock had been set back.  So the time is read here, right before the
 * lock is taken, except where the caller has just read it.
 *
 * Limits fail closed: if there is no shared memory, or no space in it, a key
 * with limits raises an error and is not treated as a key without limits.
 * The caller may try to reclaim space first (flush/reclaim.c).
 *
 * A transaction that has an id may have written the key or its successor,
 * which nobody else can see yet.  So the entry remembers the id, and is not
 * taken for that of a deleted key before that transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "base/arguments.h"
#include "base/shmem.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rate_limiter.h"
#include "live/tracked_keys.h"

/* A copy of what a key family has used, so that the lock is held briefly. */
typedef struct FamilyUse
{
	Window		windows[WINDOW_NKINDS];
	int64		slots;
	TimestampTz slots_reset_at; /* 0: none is held */
} FamilyUse;

StaticAssertDecl(RATE_SLOTS == WINDOW_NKINDS && RATE_NLIMITS == WINDOW_NKINDS + 1,
				 "the limits are those of the windows, then that of the slots");

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

/*
 * Reports that shared memory has no space for an entry or a slot: 53400, or a
 * warning.
 */
void
rate_limiter_report_no_space(int elevel)
{
	counters_add(elevel >= ERROR ? COUNT_REFUSED : COUNT_DROPPED, 1);
	ereport(elevel,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("not enough shared memory to enforce the limits of this API key"),
			 shmem_preloaded()
				 ? errhint("Raise apikeys.max_tracked_keys, at least to 128 times the largest max_concurrent_requests, and restart the server.")
				 : errhint("Add \"apikeys\" to shared_preload_libraries, raise apikeys.max_tracked_keys and restart the server.")));
}

/* To be called before the lock is taken, since it may fail. */
static uint64
generate_random(void)
{
	uint64		random;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return random;
}

/* A key family gets at most half of a partition's slots: others need some. */
static bool
has_too_many_slots(const TrackedKeys *table, const TrackedKey *entry)
{
	return entry != NULL && entry->slots.count >= table->nentries / 2;
}

/*
 * Acquires a slot; 0 if there is none.  If the pool is empty, one of another
 * owner that has timed out is taken.  Exclusive lock.
 */
static int64
acquire_slot_for(const TrackedKeyRef *ref, TrackedKey *entry, uint64 random, TimestampTz now)
{
	int			owner = entry - ref->entries;
	int64		slot;
	int			expired;

	AssertLockedExclusively(ref->partition);
	slot = slots_acquire(&ref->pool, &entry->slots, owner, random, now);
	if (slot != 0)
		return slot;

	expired = slots_find_expired(&ref->pool, tracked_keys_slot_timeout(), now);
	if (expired == NO_SLOT)
		return 0;
	slots_release(&ref->pool, &ref->entries[ref->pool.slots[expired].owner].slots, expired);
	return slots_acquire(&ref->pool, &entry->slots, owner, random, now);
}

/*
 * When may an owner of max slots or more acquire another?  When so many have
 * timed out that fewer than max are left: more than one if max was lowered.
 * Exclusive lock.
 */
static TimestampTz
slots_wait(const SlotPool *pool, const SlotList *slots, int64 max)
{
	int			last = slots->oldest;

	Assert(max > 0 && slots->count >= max);
	for (int64 excess = slots->count - max; excess > 0; excess--)
		last = pool->slots[last].newer;
	return pool->slots[last].acquired_at + tracked_keys_slot_timeout();
}

/*
 * Returns the limit that a request exceeds, or a negative number.  A full
 * window is reported before a lack of slots, since it is known when it ends;
 * slots may be released before they time out.  At retry_at the request passes
 * both, at slots_retry_at it gets a slot.  Exclusive lock.
 */
static int
find_exceeded(const TrackedKeyRef *ref, TrackedKey *entry, const RateLimits *limits,
			  const int64 *costs, bool slot, TimestampTz now, TimestampTz *retry_at,
			  TimestampTz *slots_retry_at)
{
	Window		none[WINDOW_NKINDS] = {0};
	int			exceeded = window_find_full(entry != NULL ? entry->windows : none,
											limits->max, costs, now, retry_at);

	AssertLockedExclusively(ref->partition);
	*slots_retry_at = 0;
	if (!slot || entry == NULL)
		return exceeded;

	slots_expire(&ref->pool, &entry->slots, tracked_keys_slot_timeout(), now);
	if (entry->slots.count < limits->max[RATE_SLOTS])
		return exceeded;

	*slots_retry_at = slots_wait(&ref->pool, &entry->slots, limits->max[RATE_SLOTS]);
	*retry_at = Max(*retry_at, *slots_retry_at);
	return exceeded != NO_WINDOW ? exceeded : RATE_SLOTS;
}

/*
 * Spends a request and acquires its slot, both or neither; false if there is
 * no space.  A key that limits nothing but tokens needs an entry as well, so
 * that there is space when its tokens are recorded later.  The entry of a key
 * family, NULL if it has none yet, is that of its first key, so the use of
 * that key is recorded here as well.  Exclusive lock.
 */
static bool
spend(TrackedKeys *table, const TrackedKeyRef *ref, TrackedKey **entry, const RateLimitRequest *request,
	  bool slot, uint64 random, TransactionId xid, TimestampTz now, RateLimitResult *result,
	  bool *evicted)
{
	static const int64 costs[WINDOW_NKINDS] = {
		[WINDOW_REQUESTS_MINUTE] = 1,
		[WINDOW_REQUESTS_DAY] = 1,
	};

	AssertLockedExclusively(ref->partition);
	Assert(*entry == tracked_keys_find(ref));

	if (*entry == NULL && !slot && !rate_limits_have_windows(request->limits))
		return true;
	if (*entry == NULL)
		*entry = tracked_keys_add(table, ref, now, evicted);
	if (*entry == NULL)
		return false;
	if (TransactionIdIsValid(xid))
		(*entry)->xid = xid;
	if (slot)
	{
		result->slot = acquire_slot_for(ref, *entry, random, now);
		if (result->slot == 0)
			return false;
	}
	window_spend((*entry)->windows, request->limits->max, costs, now);

	result->use_recorded = memcmp(request->id, request->root_id, sizeof(pg_uuid_t)) == 0;
	if (result->use_recorded)
		result->use_newly_pending = last_used_record_in_entry(*entry, now, request->use_max_lag);

	return true;
}

/*
 * Copies what a key family has used; entry is NULL if that is nothing.  Slots
 * that have timed out count unless the caller has released them.  Exclusive
 * lock.
 */
static void
copy_use(const TrackedKeyRef *ref, const TrackedKey *entry, FamilyUse *use)
{
	AssertLockedExclusively(ref->partition);
	memset(use, 0, sizeof(FamilyUse));
	if (entry == NULL)
		return;

	memcpy(use->windows, entry->windows, sizeof(use->windows));
	use->slots = entry->slots.count;
	if (use->slots > 0)
		use->slots_reset_at = ref->pool.slots[entry->slots.newest].acquired_at +
							  tracked_keys_slot_timeout();
}

/* Sets the status of one limit of a key family, except for retry_at. */
static void
set_status(FamilyUse *use, const RateLimits *limits, int limit, TimestampTz now, LimitStatus *status)
{
	int64		used = limit == RATE_SLOTS ? use->slots : window_used(use->windows, limit, now);

	limit_status_set_number(status, limits->max[limit], used);
	status->name = rate_limits_name(limit);
	status->retry_at = 0;
	/* A cost of 1 passes a limit of 1 when nothing is used any more. */
	status->resets_at = limit == RATE_SLOTS ? use->slots_reset_at
											: window_wait(use->windows, limit, 1, 1, now);
}

/*
 * Finds the limit that is nearest to its end, of those that a request is
 * checked against: that of the slots only if it needs one.  costs is NULL if no
 * window has rejected it.
 */
static void
find_nearest(FamilyUse *use, const RateLimits *limits, const int64 *costs, bool slot,
			 TimestampTz slots_retry_at, TimestampTz now, LimitStatus *nearest)
{
	LimitStatus status;

	nearest->name = NULL;
	for (int i = 0; i < (slot ? RATE_NLIMITS : WINDOW_NKINDS); i++)
	{
		if (limits->max[i] == 0)
			continue;
		set_status(use, limits, i, now, &status);
		if (i == RATE_SLOTS)
			status.retry_at = slots_retry_at;
		else if (costs != NULL)
			status.retry_at = window_wait(use->windows, i, limits->max[i], costs[i], now);
		if (limit_status_is_nearer(&status, nearest))
			*nearest = status;
	}
}

/* Returns why a limit rejects a request. */
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
 * Checks whether a request passes now, and spends it if so; tells which limit
 * is nearest to its end afterwards.  Tokens are only
 * checked, at least one: how many are used is known when the request is done.
 * now has to be the current time, see above.  If there is no space, nothing is
 * spent and no_space is set.  Raises 55000 if there is no shared memory, 53400
 * if the family has as many slots as it can get.
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
	uint64		random = slot && request->spend ? generate_random() : 0;
	TrackedKey *entry;
	int			exceeded;
	TimestampTz slots_retry_at;
	FamilyUse	use;
	TransactionId xid = GetTopTransactionIdIfAny();
	bool		too_many_slots;
	bool		evicted = false;

	Assert(request->tokens >= 0);
	memset(result, 0, sizeof(RateLimitResult));

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	exceeded = find_exceeded(&ref, entry, limits, costs, slot, now, &result->retry_at, &slots_retry_at);
	too_many_slots = exceeded < 0 && slot && request->spend && has_too_many_slots(table, entry);
	if (exceeded < 0 && request->spend)
		result->no_space = too_many_slots ||
						   !spend(table, &ref, &entry, request, slot, random, xid, now, result, &evicted);
	copy_use(&ref, entry, &use);
	tracked_keys_unlock(ref.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	if (too_many_slots)
		rate_limiter_report_no_space(ERROR);
	if (exceeded >= 0)
		result->reason = explain(exceeded, limits->max[exceeded], tokens);
	find_nearest(&use, limits, exceeded >= 0 ? costs : NULL, slot, slots_retry_at, now, &result->nearest);
}

/* The windows that count tokens. */
static const WindowKind token_windows[] = {WINDOW_TOKENS_MINUTE, WINDOW_TOKENS_DAY};

/*
 * Spends tokens that have been used, even if they are more than was left.  They
 * count from the time at which they were recorded, by which they are returned.
 * Without shared memory nothing is spent: then the key does not pass verify.
 * Returns false if there is no space in shared memory.
 */
bool
rate_limiter_spend_tokens(const pg_uuid_t *root_id, const RateLimits *limits, int64 tokens,
						  TimestampTz recorded_at)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now;
	TransactionId xid = GetTopTransactionIdIfAny();
	TrackedKeyRef ref;
	TrackedKey *entry;
	bool		evicted;

	Assert(tokens >= 0);
	if (table == NULL || tokens == 0 ||
		(limits->max[WINDOW_TOKENS_MINUTE] == 0 && limits->max[WINDOW_TOKENS_DAY] == 0))
		return true;

	ref = tracked_keys_locate(table, MyDatabaseId, root_id);
	now = GetCurrentTimestamp();
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find_or_add(table, &ref, now, &evicted);
	for (int i = 0; entry != NULL && i < (int) lengthof(token_windows); i++)
	{
		if (limits->max[token_windows[i]] > 0)
			window_add_at(entry->windows, token_windows[i], tokens, recorded_at, now);
	}
	if (entry != NULL && TransactionIdIsValid(xid))
		entry->xid = xid;
	tracked_keys_unlock(ref.partition);

	if (evicted)
		counters_add(COUNT_EVICTIONS, 1);
	return entry != NULL;
}

/*
 * Returns tokens to the windows that still count them.  A window that has
 * counted nothing since they were recorded, a limit being new, is not touched.
 * Raises no error once shared memory is attached.
 */
void
rate_limiter_return_tokens(const pg_uuid_t *root_id, int64 tokens, TimestampTz recorded_at)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref;
	TrackedKey *entry;

	Assert(tokens > 0);
	if (table == NULL)
		return;

	ref = tracked_keys_locate(table, MyDatabaseId, root_id);
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	for (int i = 0; entry != NULL && i < (int) lengthof(token_windows); i++)
		window_add_at(entry->windows, token_windows[i], -tokens, recorded_at, now);
	tracked_keys_unlock(ref.partition);
}

/* Releases a slot; false if no key of this database has acquired it. */
bool
rate_limiter_release(int64 slot)
{
	TrackedKeys *table = tracked_keys_attach();
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref;
	bool		released = false;
	int			i;

	if (table == NULL || !tracked_keys_locate_slot(table, slot, &ref))
		return false;

	i = slot_index(slot) - ref.pool.first_index;
	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	if (ref.pool.slots[i].number == slot)
	{
		TrackedKey *entry = &ref.entries[ref.pool.slots[i].owner];

		slots_expire(&ref.pool, &entry->slots, tracked_keys_slot_timeout(), now);
		released = ref.pool.slots[i].number == slot && entry->tag.database == MyDatabaseId;
		if (released)
			slots_release(&ref.pool, &entry->slots, i);
	}
	tracked_keys_unlock(ref.partition);

	return released;
}

/*
 * Reads the status of the RATE_NLIMITS limits of a key family, except for
 * retry_at; one that is not set has no name.  Returns the time at which they
 * were read.  Raises 55000 if there is no shared memory.
 */
TimestampTz
rate_limiter_read(const pg_uuid_t *root_id, const RateLimits *limits, LimitStatus *statuses)
{
	TrackedKeys *table = require_table();
	TimestampTz now = GetCurrentTimestamp();
	TrackedKeyRef ref = tracked_keys_locate(table, MyDatabaseId, root_id);
	TrackedKey *entry;
	FamilyUse	use;

	tracked_keys_lock(ref.partition, LW_EXCLUSIVE);
	entry = tracked_keys_find(&ref);
	if (entry != NULL)
		slots_expire(&ref.pool, &entry->slots, tracked_keys_slot_timeout(), now);
	copy_use(&ref, entry, &use);
	tracked_keys_unlock(ref.partition);

	for (int i = 0; i < RATE_NLIMITS; i++)
	{
		statuses[i].name = NULL;
		if (limits->max[i] > 0)
			set_status(&use, limits, i, now, &statuses[i]);
	}

	return now;
}
