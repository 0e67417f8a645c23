/*-------------------------------------------------------------------------
 *
 * flush.h
 *	  Writes what is pending in shared memory to the tables.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_FLUSH_H
#define APIKEYS_FLUSH_FLUSH_H

#include "store/last_used.h"
#include "store/rehash.h"
#include "store/roll_up.h"

#define FLUSH_BATCH 1000		/* rows of a transaction */

/* Entries, of whose keys each has its totals written once. */
#define LEDGER_BATCH 20000

extern int64 flush_uses(const KeyUse *uses, int nuses);
extern bool flush_windows(void);
extern void flush_begin_ledger(RollUp *batch, int wait_ms);
extern void flush_ledger(RollUp *batch);
extern int64 flush_request_ids(void);
extern int	flush_notices(void);
extern int64 flush_rehash(const RehashRequest *requests, int nrequests);

/* for hooks/transaction.c */
extern void flush_at_eoxact(void);
extern void flush_pre_prepare(void);
extern void flush_at_subxact_abort(SubTransactionId subid);

#endif							/* APIKEYS_FLUSH_FLUSH_H */
