/*-------------------------------------------------------------------------
 *
 * token_refund.c
 *	  Tokens that voids return to the rate windows when they are committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * They are not returned sooner: a void that is rolled back would otherwise let
 * more tokens through than the limit allows.  So are those of a transaction
 * that is prepared, since COMMIT PREPARED runs none of our code.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "live/rate_limiter.h"
#include "live/token_refund.h"

typedef struct Refund
{
	pg_uuid_t	root_id;
	int64		tokens;
	TimestampTz recorded_at;
	SubTransactionId subid;		/* of the void; grows from one to the next */
} Refund;

/* Those of this transaction, in TopTransactionContext. */
static Refund *refunds = NULL;
static int	nrefunds = 0;
static int	max_refunds = 0;

/* Makes space for one more refund. */
static void
ensure_space(void)
{
	if (nrefunds < max_refunds)
		return;

	max_refunds = Max(16, 2 * max_refunds);
	refunds = refunds == NULL
				  ? MemoryContextAlloc(TopTransactionContext, max_refunds * sizeof(Refund))
				  : repalloc_huge(refunds, max_refunds * sizeof(Refund));
}

/* Returns tokens to the windows of a key family when this is committed. */
void
token_refund_add(const pg_uuid_t *root_id, int64 tokens, TimestampTz recorded_at)
{
	Refund	   *refund;

	Assert(IsTransactionState());
	if (!rate_limiter_available())
		return;

	ensure_space();
	refund = &refunds[nrefunds++];
	refund->root_id = *root_id;
	refund->tokens = tokens;
	refund->recorded_at = recorded_at;
	refund->subid = GetCurrentSubTransactionId();
}

/* Returns the tokens of a transaction that has committed. */
void
token_refund_at_eoxact(bool is_commit)
{
	for (int i = 0; is_commit && i < nrefunds; i++)
		rate_limiter_return_tokens(&refunds[i].root_id, refunds[i].tokens, refunds[i].recorded_at);

	refunds = NULL;				/* freed with the transaction's memory */
	nrefunds = max_refunds = 0;
}

/*
 * Discards the refunds of the subtransaction that aborts, and of those within
 * it, which have higher ids.
 */
void
token_refund_at_subxact_abort(SubTransactionId subid)
{
	while (nrefunds > 0 && refunds[nrefunds - 1].subid >= subid)
		nrefunds--;
}
