/*-------------------------------------------------------------------------
 *
 * budget_cache.c
 *	  A backend's cache of budgets, with what is spent of them.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * What is spent counts all costs that were committed before it is asked for.  A
 * backend caches the budgets it has read; what is spent of them in the current
 * period is in shared memory, for all: see budget_sums.c.  A change
 * of a budget invalidates it in all caches: see key_cache.c for why that is
 * exact.  A missing budget is cached as well, so creating one does so, too.
 *
 * A budget is read from the ledger each time if it cannot be cached: without
 * shared memory, on a standby, with the cache turned off, and in a
 * transaction that has spent or changed budgets itself and may yet be rolled
 * back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/saved_snapshot.h"
#include "cache/budget_cache.h"
#include "cache/invalidation.h"
#include "cache/messages.h"
#include "cache/watch.h"
#include "live/budget_spend.h"
#include "live/budget_sums.h"
#include "model/cost.h"
#include "settings/guc.h"
#include "store/budgets.h"

/* A cached budget is read again after this time: see doc/architecture.md. */
#define MAX_AGE		USECS_PER_MINUTE

#define MAX_BUDGETS	1024		/* in the cache, before a request */

typedef struct CachedBudget
{
	Oid			number;			/* the hash table's key: first; see invalidation.h */
	pg_uuid_t	id;
	bool		changed;		/* since it was cached */
	Budget		budget;
} CachedBudget;

StaticAssertDecl(offsetof(CachedBudget, number) == 0,
				 "the hash table's key is its entry's first member");

static MemoryContext memory = NULL; /* of all that is cached */
static HTAB *cache = NULL;		/* of CachedBudget */
static uint64 nremovals = 0;	/* from it; a BudgetHint is valid until the next */

/* Sets what remains of a budget, from what is spent. */
static void
set_remaining(Budget *budget)
{
	Assert(budget->exists);
	budget->is_exhausted = false;
	budget->available = COST_UNLIMITED;
	budget->is_exact = false;
	if (budget->limit != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(budget->context);

		limit_status_set_cost(&budget->status, budget->limit, budget->spent);
		MemoryContextSwitchTo(old);
		budget->is_exhausted = budget->status.remaining_part == 0;
		budget->available = cost_to_billionths(budget->status.remaining_cost, false);
		budget->is_exact = budget->available != COST_UNLIMITED && cost_is_in_billionths(budget->status.remaining_cost);
	}
}

/*
 * Begins a request: budgets found before are valid no more.  Empties a cache that
 * is full, since from now on what is found must stay; so it may have a few more
 * budgets than it should.
 */
void
budget_cache_begin(void)
{
	if (cache == NULL || hash_get_num_entries(cache) < MAX_BUDGETS)
		return;

	cache = NULL;
	nremovals++;
	MemoryContextReset(memory);
}

/* Marks what a message has changed. */
static void
accept_message(Oid relid)
{
	CachedBudget *cached = NULL;

	if (cache != NULL && INVALIDATION_IS_OF(relid, INVALIDATION_BUDGET))
		cached = hash_search(cache, &relid, HASH_FIND, NULL);
	if (cached != NULL)
		cached->changed = true;
}

/* Makes the cache if there is none. */
static void
ensure_cache(void)
{
	HASHCTL		ctl = {0};

	if (memory == NULL)
	{
		memory = AllocSetContextCreate(TopMemoryContext, "apikeys budgets",
									   ALLOCSET_DEFAULT_SIZES);
		messages_listen(accept_message);
	}
	if (cache == NULL)
	{
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(CachedBudget);
		ctl.hcxt = memory;
		cache = hash_create("apikeys budgets", 32, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

/* Returns the entry of a budget, changed or not, or NULL. */
static CachedBudget *
search(const pg_uuid_t *id)
{
	Oid			number = invalidation_of_budget(id);
	CachedBudget *cached = cache != NULL ? hash_search(cache, &number, HASH_FIND, NULL) : NULL;

	return cached != NULL && memcmp(&cached->id, id, sizeof(pg_uuid_t)) == 0 ? cached : NULL;
}

static CachedBudget *
find_cached(const pg_uuid_t *id, BudgetHint *hint)
{
	if (hint->cached == NULL || hint->nremovals != nremovals)
	{
		hint->cached = search(id);
		hint->nremovals = nremovals;
	}
	return hint->cached;
}

static void
remove_from_cache(CachedBudget *cached)
{
	Assert(search(&cached->id) == cached);
	nremovals++;
	MemoryContextDelete(cached->budget.context);
	hash_search(cache, &cached->number, HASH_REMOVE, NULL);
}

/* Is a cached budget of this period, not invalidated, and not too old? */
static bool
is_current(const Budget *budget, TimestampTz now)
{
	return budget->is_consistent &&
		   budget->generation == watch_generation() &&
		   now < budget->ends_at && now >= budget->started_at &&
		   now >= budget->read_at && now - budget->read_at < MAX_AGE;
}

/* Sets what is spent of a budget, which is not consistent, from its sum. */
static void
set_spent(Budget *budget)
{
	MemoryContext old = MemoryContextSwitchTo(budget->context);
	Numeric		spent = exact_cost_get(&budget->sum.spent);

	Assert(budget->exists && !budget->is_consistent);
	MemoryContextSwitchTo(old);
	pfree(budget->spent);
	budget->spent = spent;
	budget->read_at = budget->sum.read_at;
	set_remaining(budget);
	budget->is_consistent = true;
}

/* Brings a cached budget up to date; false if it has to be read again. */
static bool
catch_up(CachedBudget *cached, TimestampTz now)
{
	Budget	   *budget = &cached->budget;
	bool		changed;

	if (!budget->exists)
		return true;			/* what is spent was so before it was deleted */

	if (!budget_spend_position(&budget->position) ||
		!budget_sums_get(&cached->id, &budget->sum, &changed))
		return false;
	if (changed)
	{
		budget->is_consistent = false;
		set_spent(budget);
	}
	return is_current(budget, now);
}

/* Sets a budget from what was read; row is NULL if there is no budget. */
static void
set_budget(Budget *budget, const BudgetRow *row, TimestampTz now)
{
	budget->exists = (row != NULL);
	budget->read_at = now;
	budget->is_consistent = true;
	budget->started_at = DT_NOBEGIN;
	budget->ends_at = DT_NOEND;
	if (row == NULL)
		return;

	budget->name = row->name;
	budget->has_parent = row->has_parent;
	budget->parent_id = row->parent_id;
	budget->rate_limits = rate_limits_parse(row->rate_limits, budget->context);
	budget->status.name = psprintf("budget:%s", row->name);
	budget->limit = row->limit;
	budget->spent = row->spent;
	budget->warn_next = row->warn_next;
	if (row->ends_at != DT_NOEND)
		budget->started_at = row->started_at;
	budget->ends_at = row->ends_at;
	set_remaining(budget);
}

/*
 * Puts what is spent of a budget into shared memory; false if that is not possible.
 * The budget was read with a snapshot.
 */
static bool
share_spent(const pg_uuid_t *id, Budget *budget, const SavedSnapshot *snapshot)
{
	if (!exact_cost_set(&budget->sum.spent, budget->spent))
		return false;
	budget->sum.started_at = budget->started_at;
	budget->sum.ends_at = budget->ends_at;
	budget->sum.read_at = budget->read_at;
	if (!budget_sums_set(id, &budget->sum, budget->position, snapshot))
		return false;

	budget->is_consistent = false;
	set_spent(budget);
	return true;
}

/*
 * Reads a budget from the ledger, into a memory context of its own.  What this
 * transaction has spent counts if own is set.  Returns whether the budget may be
 * cached.
 */
static bool
read_budget(const pg_uuid_t *id, bool own, TimestampTz now, Budget *budget)
{
	BudgetRow	row;
	SavedSnapshot snapshot;
	MemoryContext old;
	uint64		nmessages = watch_nmessages();
	bool		cacheable;
	bool		found;

	memset(budget, 0, sizeof(Budget));
	budget->context = AllocSetContextCreate(CurrentMemoryContext, "apikeys budget",
											ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(budget->context);

	cacheable = budget_spend_position(&budget->position) && guc_cache && !RecoveryInProgress() &&
				!(own && budget_spend_is_pending()) && watch_is_cacheable() && budget_sums_can_set();
	budget->generation = watch_generation();
	found = store_find_budget(id, own, &row, &snapshot);
	set_budget(budget, found ? &row : NULL, now);
	MemoryContextSwitchTo(old);

	return cacheable && nmessages == watch_nmessages() &&
		   (!found || (!row.own && share_spent(id, budget, &snapshot)));
}

/*
 * Moves a budget to the cache, which takes over its memory context.  Where
 * another has its number, that one may be in use, and stays.
 */
static Budget *
add_to_cache(const pg_uuid_t *id, Budget *budget)
{
	Oid			number = invalidation_of_budget(id);
	CachedBudget *cached;
	bool		found;

	ensure_cache();
	cached = hash_search(cache, &number, HASH_ENTER, &found);
	if (found)
		return budget;

	cached->id = *id;
	cached->changed = false;
	cached->budget = *budget;
	MemoryContextSetParent(budget->context, memory);

	return &cached->budget;
}

/*
 * Returns a budget as it is now, also if there is none with this id; valid
 * until budget_cache_begin(), if no budget is asked for twice.  What this transaction has spent counts if own is set.
 * Sets now to the current time if the budget had to be read, since that may have
 * had to wait.
 */
Budget *
budget_cache_find(const pg_uuid_t *id, bool own, BudgetHint *hint, TimestampTz *now)
{
	CachedBudget *cached = find_cached(id, hint);
	Budget	   *budget;

	if (cached != NULL && guc_cache && !(own && budget_spend_is_pending()) &&
		!cached->changed && is_current(&cached->budget, *now) && catch_up(cached, *now))
		return &cached->budget;

	if (cached != NULL)
		remove_from_cache(cached);
	budget = palloc(sizeof(Budget));
	if (read_budget(id, own, *now, budget))
		budget = add_to_cache(id, budget);
	*now = GetCurrentTimestamp();

	return budget;
}

/*
 * Has a budget to warn, with what is committed as spent and with what this
 * transaction has spent?  In memory, so that it can be asked at each cost; the
 * answer may be late, as others spend at the same time.
 */
bool
budget_has_to_warn(const pg_uuid_t *id, Numeric own)
{
	BudgetHint	hint = {0};
	TimestampTz now = GetCurrentTimestamp();
	const Budget *budget;

	key_cache_begin();
	budget_cache_begin();
	budget = budget_cache_find(id, false, &hint, &now);

	return budget->exists && budget->warn_next != NULL &&
		   DatumGetBool(DirectFunctionCall2(numeric_ge,
											DirectFunctionCall2(numeric_add,
																NumericGetDatum(budget->spent),
																NumericGetDatum(own)),
											NumericGetDatum(budget->warn_next)));
}

/* Forgets a budget whose warnings have changed. */
void
budget_forget(const pg_uuid_t *id)
{
	CachedBudget *cached = search(id);

	if (cached != NULL)
		remove_from_cache(cached);
}
