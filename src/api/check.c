/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What apikeys.check() asks of shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It is a function in SQL; here is what SQL cannot see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "live/stored_check.h"
#include "live/tracked_check.h"
#include "store/dirty_read.h"

PG_FUNCTION_INFO_V1(apikeys_shared_memory_problems);
PG_FUNCTION_INFO_V1(apikeys_tracked_owners);
PG_FUNCTION_INFO_V1(apikeys_is_key_or_budget_for_anyone);

/* ------------------------------------------- does it contradict itself? */

static void
put_problem(ReturnSetInfo *rsinfo, const char *level, const char *object, const char *problem)
{
	Datum		values[] = {
		CStringGetTextDatum(level),
		CStringGetTextDatum(object),
		CStringGetTextDatum(problem)
	};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, (bool[]) {false, false, false});
}

/* Of what a fault is. */
static char *
fault_object(const TrackedFault *fault)
{
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&fault->tag.id)));

	if (fault->partition == NO_PARTITION)
		return "shared memory";
	if (!OidIsValid(fault->tag.database))
		return psprintf("shared memory, partition %d", fault->partition);
	if (fault->tag.database != MyDatabaseId)
		return psprintf("shared memory of %s in database %u", id, fault->tag.database);
	return psprintf("shared memory of %s", id);
}

/* Adds a row for each fault, and forgets them. */
static void
put_faults(ReturnSetInfo *rsinfo, TrackedFaults *faults)
{
	for (int i = 0; i < Min(faults->n, TRACKED_FAULTS_MAX); i++)
	{
		const TrackedFault *fault = &faults->faults[i];

		put_problem(rsinfo, fault->is_minor ? "warning" : "error", fault_object(fault),
					psprintf("%s is " INT64_FORMAT ", not " INT64_FORMAT, fault->what, fault->found, fault->expected));
	}
	if (faults->n > TRACKED_FAULTS_MAX)
		put_problem(rsinfo, "error", "shared memory", psprintf("%d more problems", faults->n - TRACKED_FAULTS_MAX));
	faults->n = 0;
}

/* Checks a partition and all its entries. */
static void
check_partition(ReturnSetInfo *rsinfo, TrackedKeys *table, int p, HoldSet linked, TrackedFaults *faults)
{
	tracked_check_partition(table, p, faults);
	put_faults(rsinfo, faults);
	for (int first = 0; first < table->nentries; first += TRACKED_CHECK_BATCH)
	{
		CHECK_FOR_INTERRUPTS();
		tracked_check_entries(table, p, first, linked, faults);
		put_faults(rsinfo, faults);
		stored_check_entries(table, p, first, faults);
		put_faults(rsinfo, faults);
	}
}

/* apikeys_data.shared_memory_problems(): rows of problem; none without shared memory */
Datum
apikeys_shared_memory_problems(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TrackedKeys *table = tracked_keys_attach();
	TrackedFaults *faults = palloc0(sizeof(TrackedFaults));
	TimestampTz since = GetCurrentTimestamp();
	HoldSet		linked;
	int			hold = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (table == NULL)
		return (Datum) 0;

	linked = tracked_check_new_set(table);
	tracked_check_pool(table, faults);
	for (int p = 0; p < table->npartitions; p++)
		check_partition(rsinfo, table, p, linked, faults);
	while (hold != NO_HOLD)
	{
		CHECK_FOR_INTERRUPTS();
		hold = tracked_check_unlinked(table, linked, since, hold, faults);
		put_faults(rsinfo, faults);
	}

	return (Datum) 0;
}

/* --------------------------------------------- what is there of this database? */

/* The columns of apikeys_data.tracked_owners(). */
enum
{
	OWNER_ID,
	OWNER_ACTIVE_AT,
	OWNER_LAST_USED_AT,
	OWNER_STORED_USE,
	OWNER_STORED_AT,
	OWNER_MAY_BE_NEW,
	OWNER_NCOLUMNS
};

/* What is copied of an entry, so that the lock is held briefly. */
typedef struct Owner
{
	pg_uuid_t	id;
	TimestampTz active_at;
	TimestampTz last_used;
	TimestampTz persisted;
	TimestampTz written_at;
	bool		may_be_new;
} Owner;

/* When there was something of an entry last.  The lock is held. */
static TimestampTz
active_at(const TrackedKeyRef *ref, TrackedKey *entry)
{
	const TrackedLimits *limits = &entry->limits;
	TimestampTz at = pg_atomic_read_u64(&entry->last_used);

	if (limits->holds.count > 0)
		at = Max(at, ref->pools.holds[limits->holds.newest].reserved_at);
	for (int w = limits->windows.first; w != NO_TRACKED_WINDOW; w = ref->pools.windows.windows[w].next)
		at = Max(at, ref->pools.windows.windows[w].window.start);
	return at;
}

/* Copies a batch of the entries of a partition, from first on; returns how many. */
static int
copy_owners(TrackedKeys *table, int p, int first, Owner *owners)
{
	TrackedKeyRef ref = tracked_keys_partition(table, p);
	int			n = 0;

	tracked_keys_lock(ref.partition, LW_SHARED);
	for (int i = first; i < Min(first + TRACKED_CHECK_BATCH, table->nentries); i++)
	{
		TrackedKey *entry = &ref.entries[i];

		if (entry->tag.database != MyDatabaseId)
			continue;
		owners[n].id = entry->tag.id;
		owners[n].active_at = active_at(&ref, entry);
		owners[n].last_used = pg_atomic_read_u64(&entry->last_used);
		owners[n].persisted = pg_atomic_read_u64(&entry->persisted);
		owners[n].written_at = pg_atomic_read_u64(&entry->written_at);
		owners[n++].may_be_new = TransactionIdIsValid(entry->limits.xid);
	}
	tracked_keys_unlock(ref.partition);

	return n;
}

/* Adds the row of an owner; a time of 0 is -infinity. */
static void
put_owner(ReturnSetInfo *rsinfo, const Owner *owner)
{
	Datum		values[OWNER_NCOLUMNS];
	bool		nulls[OWNER_NCOLUMNS] = {0};

#define TIME_OR_NEVER(time) TimestampTzGetDatum((time) == 0 ? DT_NOBEGIN : (time))
	values[OWNER_ID] = UUIDPGetDatum(&owner->id);
	values[OWNER_ACTIVE_AT] = TIME_OR_NEVER(owner->active_at);
	values[OWNER_LAST_USED_AT] = TIME_OR_NEVER(owner->last_used);
	values[OWNER_STORED_USE] = TIME_OR_NEVER(owner->persisted);
	values[OWNER_STORED_AT] = TIME_OR_NEVER(owner->written_at);
	values[OWNER_MAY_BE_NEW] = BoolGetDatum(owner->may_be_new);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * apikeys_data.tracked_owners(): rows (id uuid, active_at timestamptz,
 * last_used_at timestamptz, stored_use timestamptz, stored_at timestamptz,
 * may_be_new boolean)
 */
Datum
apikeys_tracked_owners(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TrackedKeys *table = tracked_keys_attach();
	Owner	   *owners = palloc(TRACKED_CHECK_BATCH * sizeof(Owner));

	InitMaterializedSRF(fcinfo, 0);
	Assert(rsinfo->setDesc->natts == OWNER_NCOLUMNS);
	for (int p = 0; table != NULL && p < table->npartitions; p++)
	{
		for (int first = 0; first < table->nentries; first += TRACKED_CHECK_BATCH)
		{
			int			n = copy_owners(table, p, first, owners);

			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < n; i++)
				put_owner(rsinfo, &owners[i]);
		}
	}

	return (Datum) 0;
}

/* apikeys_data.is_key_or_budget_for_anyone(id uuid): boolean */
Datum
apikeys_is_key_or_budget_for_anyone(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);

	PG_RETURN_BOOL(store_exists_for_anyone("key", id) || store_exists_for_anyone("budget", id));
}
