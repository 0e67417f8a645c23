/*-------------------------------------------------------------------------
 *
 * budget_cache.c
 *	  Is the budget of a key spent?
 *
 * The answer counts all that has been recorded and committed before the
 * question.  A backend keeps the budgets it has read, with what is spent in
 * the present period, and adds what has been spent since: see budget_spend.c.  A
 * change of the budget itself raises the fence, as a change of a key does.
 * That there is no budget with an id is kept as well: to make one raises the
 * fence, too.
 *
 * A budget is read from the ledger each time where none can be kept: without
 * shared memory, on a standby, with the cache turned off, and in a
 * transaction that has itself spent or changed budgets and may yet be rolled
 * back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/saved_snapshot.h"
#include "cache/budget_cache.h"
#include "live/budget_spend.h"
#include "settings/guc.h"
#include "store/budgets.h"

/* After this time a budget is read again, whoever has written the ledger. */
#define MAX_AGE		USECS_PER_MINUTE

#define CHUNK		16			/* records taken from the ring at a time */

typedef struct Budget
{
	MemoryContext memory;		/* of what this points to */
	bool		exists;			/* else it has no name, cost or horizon */
	char	   *name;
	Numeric		max_cost;
	Numeric		spent;
	bool		is_exhausted;
	bool		is_first;		/* period, which has no real start */
	TimestampTz started_at;		/* the period */
	TimestampTz ends_at;
	TimestampTz read_at;
	uint64		generation;		/* of the keys' cache */
	BudgetSpendPosition position;
	SavedSnapshot snapshot;		/* which of the records from there on count */
	bool		in_order;		/* false while it is brought up to date */
} Budget;

typedef struct CachedBudget
{
	pg_uuid_t	id;				/* the hash table's key: first */
	Budget		budget;
} CachedBudget;

static MemoryContext memory = NULL; /* of all that is kept */
static HTAB *cache = NULL;		/* of CachedBudget */
static uint64 nremovals = 0;	/* of budgets from it: hints go stale */

static void
set_exhausted(Budget *budget)
{
	budget->is_exhausted = DatumGetBool(DirectFunctionCall2(numeric_ge,
															NumericGetDatum(budget->spent),
															NumericGetDatum(budget->max_cost)));
}

/* Makes room for one more budget. */
static void
make_room(void)
{
	HASHCTL		ctl = {0};

	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "apikeys budgets",
									   ALLOCSET_DEFAULT_SIZES);
	if (cache != NULL && hash_get_num_entries(cache) >= guc_cache_size)
	{
		cache = NULL;
		nremovals++;
		MemoryContextReset(memory);
	}
	if (cache == NULL)
	{
		ctl.keysize = sizeof(pg_uuid_t);
		ctl.entrysize = sizeof(CachedBudget);
		ctl.hcxt = memory;
		cache = hash_create("apikeys budgets", 32, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
}

static CachedBudget *
find_cached(const pg_uuid_t *id, BudgetHint *hint)
{
	if (hint->cached == NULL || hint->nremovals != nremovals)
	{
		hint->cached = cache != NULL ? hash_search(cache, id, HASH_FIND, NULL) : NULL;
		hint->nremovals = nremovals;
	}
	return hint->cached;
}

static void
remove_from_cache(CachedBudget *cached)
{
	nremovals++;
	MemoryContextDelete(cached->budget.memory);
	hash_search(cache, &cached->id, HASH_REMOVE, NULL);
}

/* Has a kept budget the present period, definition, and age? */
static bool
is_current(const Budget *budget, TimestampTz now)
{
	return budget->in_order &&
		   budget->generation == key_cache_generation() &&
		   now < budget->ends_at && (now >= budget->started_at || budget->is_first) &&
		   now >= budget->read_at && now - budget->read_at < MAX_AGE;
}

/* Adds what a transaction has spent; false when that is not known. */
static bool
add_record(Budget *budget, SpendRecord *record)
{
	MemoryContext old;
	Numeric		sum;

	if (saved_snapshot_has_seen(&budget->snapshot, record->xid))
		return true;
	if (!record->exact)
		return false;
	if (record->period < budget->started_at || record->period >= budget->ends_at)
		return true;

	old = MemoryContextSwitchTo(budget->memory);
	sum = DatumGetNumeric(DirectFunctionCall2(numeric_add,
											  NumericGetDatum(budget->spent),
											  PointerGetDatum(record->cost.bytes)));
	MemoryContextSwitchTo(old);
	pfree(budget->spent);
	budget->spent = sum;

	return true;
}

/* Brings a kept budget up to date; false when it has to be read again. */
static bool
catch_up(CachedBudget *cached)
{
	Budget	   *budget = &cached->budget;
	SpendRecord records[CHUNK];
	int			nrecords;

	if (!budget->exists)
		return true;			/* whoever has spent it, before it was deleted */
	do
	{
		nrecords = budget_spend_read(&budget->position, &cached->id, records, CHUNK);
		if (nrecords == 0)
			return true;

		/* Should an error strike now, some of them are lost to us. */
		budget->in_order = false;
		for (int i = 0; i < nrecords; i++)
		{
			if (!add_record(budget, &records[i]))
				return false;
		}
		if (nrecords < 0)
			return false;
		set_exhausted(budget);
		budget->in_order = true;
	} while (nrecords == CHUNK);

	return true;
}

/* Takes over what the ledger has; row is NULL where there is no budget. */
static void
set_budget(Budget *budget, const BudgetRow *row, TimestampTz now)
{
	budget->exists = (row != NULL);
	budget->read_at = now;
	budget->in_order = true;
	budget->started_at = DT_NOBEGIN;
	budget->ends_at = DT_NOEND;
	if (row == NULL)
		return;

	budget->name = row->name;
	budget->max_cost = row->max_cost;
	budget->spent = row->spent;
	budget->is_first = row->started_at == row->created_at;
	budget->started_at = row->started_at;
	budget->ends_at = row->ends_at;
	set_exhausted(budget);
}

/*
 * Reads a budget from the ledger, in a memory context of its own.  Returns
 * whether it may be kept, to be brought up to date later.
 */
static bool
read_budget(const pg_uuid_t *id, TimestampTz now, Budget *budget)
{
	BudgetRow	row;
	MemoryContext old;
	bool		cacheable;
	bool		found;

	memset(budget, 0, sizeof(Budget));
	budget->memory = AllocSetContextCreate(CurrentMemoryContext, "apikeys budget",
										   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(budget->memory);

	cacheable = guc_cache_size > 0 && !RecoveryInProgress() && !budget_spend_is_pending() &&
				key_cache_is_cacheable() && budget_spend_position(&budget->position);
	budget->generation = key_cache_generation();
	found = store_find_budget(id, &row, &budget->snapshot);
	set_budget(budget, found ? &row : NULL, now);
	MemoryContextSwitchTo(old);

	return cacheable && !(found && row.own);
}

/* Keeps a budget, which moves there. */
static Budget *
add_to_cache(const pg_uuid_t *id, const Budget *budget)
{
	CachedBudget *cached;

	make_room();
	cached = hash_search(cache, id, HASH_ENTER, NULL);
	cached->budget = *budget;
	MemoryContextSetParent(budget->memory, memory);

	return &cached->budget;
}

/*
 * Finds a budget, or that there is none, as it is now; the result is good
 * until the next one is looked for.  Moves now on when it had to be read,
 * which may have had to wait.
 */
static const Budget *
find_budget(const pg_uuid_t *id, BudgetHint *hint, TimestampTz *now)
{
	CachedBudget *cached = find_cached(id, hint);
	Budget	   *budget;

	if (cached != NULL && guc_cache_size > 0 && !budget_spend_is_pending() &&
		is_current(&cached->budget, *now) && catch_up(cached))
		return &cached->budget;

	if (cached != NULL)
		remove_from_cache(cached);
	budget = palloc(sizeof(Budget));
	if (read_budget(id, *now, budget))
		budget = add_to_cache(id, budget);
	*now = GetCurrentTimestamp();

	return budget;
}

/*
 * Is the budget of a key spent at this time?  Then says so, and when its next
 * period starts: DT_NOEND, never.  A key without a budget has no limit, nor
 * has one whose id names no budget.  now is moved on when it is no longer the
 * present.
 */
bool
budget_is_exhausted(CachedKey *key, TimestampTz *now, char **reason, TimestampTz *retry_at)
{
	const Budget *budget;

	if (key->row.nulls[KEY_BUDGET_ID])
		return false;
	budget = find_budget(DatumGetUUIDP(key->row.values[KEY_BUDGET_ID]), &key->budget, now);
	if (!budget->is_exhausted)
		return false;

	*reason = psprintf("budget \"%s\" is spent", budget->name);
	*retry_at = budget->ends_at;
	return true;
}
