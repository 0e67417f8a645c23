/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  What apikeys does when a transaction or a subtransaction ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The server calls its callbacks in the reverse order of their registration.
 * There is one of each kind, registered when the library is loaded, and it
 * calls the handlers of the modules, so their order is the one written here,
 * the same in every session.
 *
 * Before the commit (PRE_COMMIT, PRE_PREPARE) a handler may raise an error,
 * which aborts the transaction.  Whatever can fail belongs there: looking up
 * a table, allocating memory, attaching to shared memory, starting a worker.
 * Deferred triggers have run by then.
 *
 * At COMMIT the transaction is visible to other backends, but has not been
 * acknowledged to the client, and interrupts are held off.  Nothing may fail:
 * a transaction that has committed cannot abort, so an error would be a PANIC.
 *
 * What has changed is counted for the caches a moment later, when the messages
 * have been sent, and before locks are released; there nothing may fail, either.
 *
 * PREPARE TRANSACTION ends a transaction for this backend without a commit.
 * COMMIT PREPARED calls none of this; budget_sums.c, flush_worker.c and
 * prepared.c allow for it.
 *
 * These callbacks run for every transaction of every backend that has loaded
 * the library, so a handler without work returns at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/resowner.h"

#include "cache/invalidation.h"
#include "flush/flush.h"
#include "flush/flush_outcomes.h"
#include "flush/flush_windows.h"
#include "flush/pending_usage.h"
#include "hooks/object_drop.h"
#include "hooks/prepared.h"
#include "hooks/transaction.h"
#include "live/budget_spend.h"
#include "live/limit_refund.h"
#include "live/reservation.h"
#include "store/usage_durability.h"
#include "verify/identity.h"

/*
 * 1. budget_spend first: until its records are in shared memory other backends
 *	  accept keys whose budget this transaction has exhausted.
 * 2. reservation around it: it holds what this transaction settles until the
 *	  costs are published, so that nobody sees both or neither.
 * 3. limit_refund depends on no other.
 * 4. flush and flush_windows before pending_usage: the launcher, once woken, must
 *	  not find due what this transaction has stored.
 * 5. pending_usage adds this database to the flush queue.
 * 6. object_drop after both: they could add the database again that it
 *	  removes.
 * 7. usage_durability depends on no other; before the commit it comes last, since
 *	  it looks at what has been written.
 * 8. identity last, so that it exists while the others run.
 */
static void
at_eoxact(bool is_commit)
{
	Assert(!IsTransactionState());
	Assert(InterruptHoldoffCount > 0);

	if (is_commit)
		reservation_before_publish();
	budget_spend_at_eoxact(is_commit);
	reservation_at_eoxact(is_commit);
	limit_refund_at_eoxact(is_commit);
	flush_outcomes_at_eoxact(is_commit);
	flush_at_eoxact();
	flush_windows_at_eoxact(is_commit);
	pending_usage_at_eoxact(is_commit);
	object_drop_at_eoxact(is_commit);
	usage_durability_at_eoxact();
	identity_at_eoxact();
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			Assert(IsTransactionState());
			pending_usage_pre_commit();
			limit_refund_pre_commit();
			prepared_pre_commit();
			usage_durability_pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			Assert(IsTransactionState());
			flush_pre_prepare();
			break;
		case XACT_EVENT_COMMIT:
			at_eoxact(true);
			break;
		case XACT_EVENT_PREPARE:
			budget_spend_at_prepare();
			reservation_at_prepare();
			at_eoxact(false);
			invalidation_forget_sent();
			break;
		case XACT_EVENT_ABORT:
			at_eoxact(false);
			invalidation_at_abort();
			break;
		case XACT_EVENT_PARALLEL_COMMIT: /* a worker records nothing */
		case XACT_EVENT_PARALLEL_ABORT:
			at_eoxact(false);
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

/*
 * Called when resources of a kind have been released: after the messages have been
 * sent, and of the owner that invalidation.c makes before any lock is released.
 */
static void
release_callback(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg)
{
	if (phase == RESOURCE_RELEASE_LOCKS && isCommit && isTopLevel)
	{
		invalidation_count_sent();
		flush_outcomes_remove_deleted();
	}
}

/*
 * The order is that of at_eoxact(), though none depends on another here.
 * pending_usage has no handler: if the usage entries of a savepoint are rolled
 * back, a flush worker is started and finds nothing to do.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
				 void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			identity_at_eosubxact(true, subid, parent);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			budget_spend_at_subxact_abort();
			reservation_at_subxact_abort(subid);
			limit_refund_at_subxact_abort(subid);
			flush_outcomes_at_subxact_abort();
			flush_at_subxact_abort(subid);
			flush_windows_at_subxact_abort();
			object_drop_at_subxact_abort(subid);
			invalidation_at_subxact_abort(subid);
			usage_durability_at_subxact_abort();
			identity_at_eosubxact(false, subid, parent);
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

/* Registers the callbacks.  Called while the library is loaded. */
void
transaction_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	RegisterResourceReleaseCallback(release_callback, NULL);
}
