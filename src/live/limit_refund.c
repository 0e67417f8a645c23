/*-------------------------------------------------------------------------
 *
 * limit_refund.c
 *	  What voids return to the rate windows when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It is not returned sooner: a void that is rolled back would otherwise let
 * more through than the limit allows.  Nor is that of a transaction that is
 * prepared, since COMMIT PREPARED runs none of our code.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "base/transaction_array.h"
#include "live/limit_refund.h"
#include "live/rate_limiter.h"
#include "live/stored_windows.h"

typedef struct Refund
{
	pg_uuid_t	owner;
	uint64		window_id;
	int64		amount;
	TimestampTz at;
	SubTransactionId subid;		/* of the void; grows from one to the next */
} Refund;

/* Those of this transaction, in TopTransactionContext. */
static Refund *refunds = NULL;
static int	nrefunds = 0;
static int	max_refunds = 0;

/* Adds a refund to a window of an owner. */
static void
add_refund(const pg_uuid_t *owner, uint64 window_id, int64 amount, TimestampTz at)
{
	Refund	   *refund;

	refunds = transaction_array_grow(refunds, nrefunds, &max_refunds, sizeof(Refund));
	refund = &refunds[nrefunds++];
	refund->owner = *owner;
	refund->window_id = window_id;
	refund->amount = amount;
	refund->at = at;
	refund->subid = GetCurrentSubTransactionId();
}

/*
 * Returns what was used to the windows of an owner when this is committed.  A
 * window that counts endpoints keeps it: nobody knows whether it has counted it.
 */
void
limit_refund_add(const pg_uuid_t *owner, const RateLimits *limits, const UsedAmounts *used)
{
	WindowSet	windows;

	Assert(IsTransactionState());
	if (limits == NULL || !rate_limiter_available())
		return;

	windows = rate_limits_match(limits, used->model, NULL);
	for (int i = 0; i < limits->nwindows; i++)
	{
		const WindowLimit *limit = &limits->windows[i];
		int64		amount = limit_usage_amount(used, limit->unit);

		if (windows & 1 << i && amount > 0)
			add_refund(owner, limit->id, amount, used->at);
	}
}

/* Has what will be given back in memory, while tables can still be read; warns if there is no space. */
void
limit_refund_pre_commit(void)
{
	for (int i = 0; i < nrefunds; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((i == 0 || memcmp(&refunds[i].owner, &refunds[i - 1].owner, sizeof(pg_uuid_t)) != 0) &&
			!stored_windows_keep(&refunds[i].owner))
			rate_limiter_report_no_space(WARNING);
	}
}

/* Returns what a transaction that has committed gives back. */
void
limit_refund_at_eoxact(bool is_commit)
{
	for (int i = 0; is_commit && i < nrefunds; i++)
		limit_usage_return(&refunds[i].owner, refunds[i].window_id, refunds[i].amount, refunds[i].at);

	refunds = NULL;				/* freed with the transaction's memory */
	nrefunds = max_refunds = 0;
}

/*
 * Discards the refunds of the subtransaction that aborts, and of those within
 * it, which have higher ids.
 */
void
limit_refund_at_subxact_abort(SubTransactionId subid)
{
	while (nrefunds > 0 && refunds[nrefunds - 1].subid >= subid)
		nrefunds--;
}
