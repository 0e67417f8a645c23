/*-------------------------------------------------------------------------
 *
 * usage_durability.c
 *	  Does a commit wait until recorded usage is on disk?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * With apikeys.usage_durability = sync it does, whatever synchronous_commit says.
 * With async a transaction that has written nothing but usage is committed as
 * with synchronous_commit = off, and any other as it would be without us.
 *
 * What else it has written shows in the WAL: it had a transaction id before, or
 * there are records that are not ours.  Those that a mere read has written count
 * as well, as when it has pruned a page: then a commit waits that need not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/instrument.h"
#include "utils/guc.h"

#include "settings/guc.h"
#include "store/earlier_commits.h"
#include "store/usage_durability.h"

static bool may_be_lazy = false; /* all that was written is usage */
static bool is_mixed = false;	/* it is not */
static int64 records_after;		/* of WAL, by this backend, when we had written last */

/* To be called before usage is recorded. */
void
usage_durability_begin(void)
{
	Assert(IsTransactionState());

	if (guc_usage_durability == USAGE_DURABILITY_SYNC)
	{
		ForceSyncCommit();
		return;
	}
	if (may_be_lazy ? pgWalUsage.wal_records != records_after
					: TransactionIdIsValid(GetTopTransactionIdIfAny()))
		is_mixed = true;
	may_be_lazy = !is_mixed;
}

/* To be called after it was. */
void
usage_durability_end(void)
{
	records_after = pgWalUsage.wal_records;
}

/* To be called if it was recorded before, by somebody who may not have waited for it. */
void
usage_durability_repeated(void)
{
	if (guc_usage_durability == USAGE_DURABILITY_SYNC)
		store_wait_for_earlier_commits();
}

/* Has the commit not wait if it need not. */
void
usage_durability_pre_commit(void)
{
	if (may_be_lazy && pgWalUsage.wal_records == records_after)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

void
usage_durability_at_eoxact(void)
{
	may_be_lazy = false;
	is_mixed = false;
}

/* Nobody knows any more what was written in the savepoint. */
void
usage_durability_at_subxact_abort(void)
{
	is_mixed |= may_be_lazy;
	may_be_lazy = false;
}
