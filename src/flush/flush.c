/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  Writes what is pending in shared memory to the tables.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * That is last uses, windows, entries of the ledger to be rolled up, and keys to
 * be rehashed.  Notices that keys are going to expire are given here, too.
 *
 * All of it happens in the caller's transaction: a flush worker's, or that of
 * apikey_flush().  What comes of it waits for the commit, see flush_outcomes.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "flush/flush.h"
#include "flush/flush_outcomes.h"
#include "flush/flush_windows.h"
#include "flush/reclaim.h"
#include "live/counters.h"
#include "live/last_used.h"
#include "live/rehash_queue.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "store/advisory_locks.h"
#include "store/budgets.h"
#include "store/earlier_commits.h"
#include "store/families.h"
#include "store/last_used.h"
#include "store/notices.h"
#include "store/rehash.h"
#include "store/roll_up.h"
#include "store/usage.h"

/* The subtransaction that holds the lock of apikey_flush(), the outermost. */
static SubTransactionId locked_in = InvalidSubTransactionId;

PG_FUNCTION_INFO_V1(apikey_flush);
PG_FUNCTION_INFO_V1(apikey_flush_node);

/* The lock ends with the transaction, or with a savepoint that it was taken in or within: those have higher ids. */
void
flush_at_eoxact(void)
{
	locked_in = InvalidSubTransactionId;
}

void
flush_at_subxact_abort(SubTransactionId subid)
{
	if (locked_in >= subid)
		locked_in = InvalidSubTransactionId;
}

/*
 * Refuses to prepare a transaction that has called apikey_flush(): it would
 * keep the lock, and with it all flushes of the database, until somebody ends
 * it.
 */
void
flush_pre_prepare(void)
{
	if (locked_in != InvalidSubTransactionId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has called apikey_flush()"),
				 errdetail("Nothing could be persisted in this database until it ends.")));
}

/* Persists up to FLUSH_BATCH uses; returns how many rows were written. */
int64
flush_uses(const KeyUse *uses, int nuses)
{
	UseOutcome	outcomes[FLUSH_BATCH];
	int64		written;

	Assert(nuses > 0 && nuses <= FLUSH_BATCH);

	written = store_persist_uses(uses, nuses, outcomes);
	flush_outcomes_add(uses, outcomes, nuses);
	flush_outcomes_count_rows(written);

	return written;
}

/* Stores a batch of windows that have changed; false: there are no others. */
bool
flush_windows(void)
{
	int			nrows;
	bool		more = flush_windows_next(&nrows);

	if (nrows > 0)
		flush_outcomes_count_rows(nrows);
	return more;
}

/* Has budgets warn whose spending has been rolled up. */
static void
warn_budgets(ArrayType *ids)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
		(void) store_warn_budget(DatumGetUUIDP(elements[i]), GetCurrentTimestamp());
}

/* Begins to roll up the ledger, in batches. */
void
flush_begin_ledger(RollUp *batch, int wait_ms)
{
	memset(batch, 0, sizeof(RollUp));
	batch->limit = LEDGER_BATCH;
	store_begin_roll_up(batch, GetCurrentTimestamp(), wait_ms);
}

/* Rolls up a batch of entries of a node: its statement asks which one this is. */
static void
roll_up_of(int node, RollUp *batch)
{
	int			this_node = guc_node;

	PG_TRY();
	{
		guc_node = node;
		store_roll_up(batch);
	}
	PG_FINALLY();
	{
		guc_node = this_node;
	}
	PG_END_TRY();
}

/* Rolls up a batch of entries; what budgets then warn of is of this node in any case. */
static void
roll_up_batch(int node, RollUp *batch)
{
	Assert(batch->limit > 0 && batch->limit <= LEDGER_BATCH);

	batch->alone = last_used_is_shared();
	roll_up_of(node, batch);
	warn_budgets(batch->warning_budgets);
	Assert(batch->taken <= batch->seen && batch->seen <= batch->limit);
	flush_outcomes_count_rows(batch->taken);
}

/* Rolls up a batch of entries of this node. */
void
flush_ledger(RollUp *batch)
{
	roll_up_batch(guc_node, batch);
}

/* Deletes up to FLUSH_BATCH request ids that have expired; returns how many. */
int64
flush_request_ids(void)
{
	int64		retention_ms = INT64CONST(1000) * guc_request_id_retention;

	return store_delete_requests(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), -retention_ms),
								 FLUSH_BATCH);
}

/*
 * Gives the notices of keys that are going to expire, looking at up to
 * FLUSH_BATCH of their ends; returns at how many.
 */
int
flush_notices(void)
{
	if (guc_expiry_notices.n == 0)
		return 0;
	return store_give_notices(guc_expiry_notice, &guc_expiry_notices, FLUSH_BATCH,
							  GetCurrentTimestamp());
}

/*
 * Rehashes up to FLUSH_BATCH keys; returns how many rows were written.  Skips
 * requests whose secret is no longer the current one: it may have been removed
 * from the file.  While a reload is pending, we do not know which is current.
 */
int64
flush_rehash(const RehashRequest *requests, int nrequests)
{
	const HmacSecret *current = ConfigReloadPending ? NULL : hmac_secrets_first();
	RehashRequest *valid = palloc(nrequests * sizeof(RehashRequest));
	int			nvalid = 0;
	int64		written;

	Assert(nrequests > 0 && nrequests <= FLUSH_BATCH);

	for (int i = 0; i < nrequests && current != NULL; i++)
	{
		if (strcmp(requests[i].secret, current->name) == 0)
			valid[nvalid++] = requests[i];
	}
	written = nvalid > 0 ? store_rehash_keys(valid, nvalid) : 0;
	flush_outcomes_count_rows(written);
	pfree(valid);

	return written;
}

/*
 * Rehashes all keys in the queue of this database.  REPEATABLE READ would fail
 * on a row that was changed after its snapshot, so such a transaction leaves
 * them to a flush worker.  So does one with a pending reload, see
 * flush_rehash(), and a subtransaction: whoever changes the key next waits for the
 * transaction that has given it another hash, by the id that the row has.
 */
static int64
rehash_all(void)
{
	RehashRequest *requests;
	int64		written = 0;
	int			n;

	if (IsolationUsesXactSnapshot() || IsSubTransaction())
		return 0;

	requests = palloc(FLUSH_BATCH * sizeof(RehashRequest));
	while (!ConfigReloadPending &&
		   (n = rehash_dequeue(MyDatabaseId, requests, FLUSH_BATCH)) > 0)
		written += flush_rehash(requests, n);
	pfree(requests);

	return written;
}

/* Rolls up all entries of a node that are not locked; returns how many. */
static int64
roll_up_all(int node, RollUp *batch)
{
	int64		taken = 0;

	do
	{
		CHECK_FOR_INTERRUPTS();
		roll_up_batch(node, batch);
		taken += batch->taken;
	} while (batch->seen == batch->limit);

	return taken;
}

/* Nobody else flushes in this database until the caller's transaction has ended. */
static void
lock_flush(void)
{
	store_lock_flush(true);
	if (locked_in == InvalidSubTransactionId)
		locked_in = GetCurrentSubTransactionId();
}

/* apikey_flush(): bigint, how many rows were written. */
Datum
apikey_flush(PG_FUNCTION_ARGS)
{
	KeyUse	   *uses;
	int			nuses;
	int			nwindows;
	int64		written = 0;
	RollUp		batch;

	lock_flush();
	reclaim_all_partitions();

	nuses = last_used_collect(MyDatabaseId, ALL_PARTITIONS, DT_NOEND, &uses);
	for (int i = 0; i < nuses; i += FLUSH_BATCH)
		written += flush_uses(&uses[i], Min(FLUSH_BATCH, nuses - i));

	nwindows = flush_windows_all();
	flush_outcomes_count_rows(nwindows);

	written += nwindows + rehash_all();
	flush_begin_ledger(&batch, 0);
	written += roll_up_all(guc_node, &batch);

	/* A void that is not in the snapshot would fail us, see rehash_all(). */
	while (!IsolationUsesXactSnapshot() && flush_request_ids() == FLUSH_BATCH)
		CHECK_FOR_INTERRUPTS();
	while (!IsolationUsesXactSnapshot() && flush_notices() == FLUSH_BATCH)
		CHECK_FOR_INTERRUPTS();

	/* What a worker has just stored may not be on the disk yet. */
	if (written == 0)
		store_wait_for_earlier_commits();
	PG_RETURN_INT64(written);
}

/*
 * apikey_flush_node(node integer): bigint, how many entries of that node were rolled
 * up.  Its ledger is read from the start each time, and stays where it is: more of it
 * may still come.  What is used here is not touched.  Raises 22023.
 */
Datum
apikey_flush_node(PG_FUNCTION_ARGS)
{
	RollUp		batch = {.limit = LEDGER_BATCH};
	int			node;

	require_not_null(fcinfo, 0, "node");
	node = PG_GETARG_INT32(0);
	if (node < 0 || node > GUC_MAX_NODE || node == guc_node)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node must be another one than this, from 0 to %d", GUC_MAX_NODE)));

	lock_flush();
	PG_RETURN_INT64(roll_up_all(node, &batch));
}
