/*-------------------------------------------------------------------------
 *
 * counters.c
 *	  The counters behind apikeys.stats.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Each backend has a set of counters on cache lines of its own, which only
 * that backend writes: no locks, and no contention between verifies.  A
 * reader adds up all sets.  The set of a backend that exits is taken over by
 * the next backend with its number, so counts last as long as the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "live/counters.h"

/* Padded to whole cache lines. */
typedef union CounterSet
{
	pg_atomic_uint64 count[COUNT_NCOUNTERS]; /* written by its backend */
	char		padding[TYPEALIGN(PG_CACHE_LINE_SIZE,
								  COUNT_NCOUNTERS * sizeof(pg_atomic_uint64))];
} CounterSet;

typedef struct Counters
{
	ShmemHeader header;
	int			nsets;			/* constant */
	TimestampTz since;			/* constant: when counting started */
} Counters;

#define COUNTERS_SIZE	TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(Counters))

StaticAssertDecl(sizeof(CounterSet) % PG_CACHE_LINE_SIZE == 0,
				 "no two sets share a cache line");

/* The sets follow, each on cache lines of its own. */
static CounterSet *
get_set(Counters *counters, int i)
{
	return (CounterSet *) ((char *) counters + COUNTERS_SIZE) + i;
}

static Size
counters_size(void)
{
	return add_size(COUNTERS_SIZE, mul_size(MaxBackends, sizeof(CounterSet)));
}

static void
counters_init_shared(void *segment)
{
	Counters   *counters = segment;

	counters->nsets = MaxBackends;
	counters->since = GetCurrentTimestamp();
	for (int i = 0; i < counters->nsets; i++)
		for (int c = 0; c < COUNT_NCOUNTERS; c++)
			pg_atomic_init_u64(&get_set(counters, i)->count[c], 0);
}

static ShmemSegment segment = {
	.name = "apikeys counters",
	.size = counters_size,
	.init = counters_init_shared,
};

void
counters_init(void)
{
	shmem_add(&segment);
}

/* Attaches the counters now, so that counters_add() cannot fail. */
bool
counters_attach(void)
{
	return shmem_attach(&segment) != NULL;
}

/* Adds n to a counter.  Not to be called under an LWLock: it may attach. */
void
counters_add(Counter counter, uint64 n)
{
	Counters   *counters = shmem_attach(&segment);
	int			set = backend_index();
	pg_atomic_uint64 *count;

	Assert(counter >= 0 && counter < COUNT_NCOUNTERS);
	if (counters == NULL || set < 0 || set >= counters->nsets)
		return;

	count = &get_set(counters, set)->count[counter];
	pg_atomic_write_u64(count, pg_atomic_read_u64(count) + n);
}

/* Adds up all sets; false if there is no shared memory. */
bool
counters_read(uint64 *totals, TimestampTz *since)
{
	Counters   *counters = shmem_attach(&segment);

	if (counters == NULL)
		return false;

	*since = counters->since;
	memset(totals, 0, sizeof(uint64) * COUNT_NCOUNTERS);
	for (int i = 0; i < counters->nsets; i++)
		for (int c = 0; c < COUNT_NCOUNTERS; c++)
			totals[c] += pg_atomic_read_u64(&get_set(counters, i)->count[c]);

	return true;
}
