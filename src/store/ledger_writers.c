/*-------------------------------------------------------------------------
 *
 * ledger_writers.c
 *	  Which transactions are writing to the ledger.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Entries get their ids before they are committed, so a lower id may become
 * visible after a higher one.  But who inserts locks the table before he gets an
 * id, and keeps the lock until his transaction has ended, in two phases as well.
 * So once all those have ended who had the lock after an id was given, each entry
 * up to that id is seen by snapshots taken from then on, or never will be.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "store/catalog.h"
#include "store/ledger_writers.h"

#define POLL_MS		2

/* Is any of these transactions among those, arrays that end as the server's do? */
static bool
have_in_common(const VirtualTransactionId *these, const VirtualTransactionId *those)
{
	for (; VirtualTransactionIdIsValid(*these); these++)
	{
		for (const VirtualTransactionId *other = those; VirtualTransactionIdIsValid(*other); other++)
		{
			if (VirtualTransactionIdEquals(*these, *other))
				return true;
		}
	}
	return false;
}

/*
 * Waits until all other transactions have ended that are writing to the ledger now,
 * but no longer than wait_ms; returns whether they have.  VACUUM counts as one.
 */
bool
ledger_writers_end(int wait_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	Oid			ledger = store_relation_oid("usage_entry");
	VirtualTransactionId *writers = store_writers(ledger);

	Assert(wait_ms >= 0);

	while (have_in_common(writers, store_writers(ledger)))
	{
		if (GetCurrentTimestamp() >= until)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 POLL_MS, wait_event("ApikeysLedgerWriters"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}
