/*-------------------------------------------------------------------------
 *
 * flush_outcomes.h
 *	  What comes of a flush or a deletion in shared memory when it commits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_FLUSH_OUTCOMES_H
#define APIKEYS_FLUSH_FLUSH_OUTCOMES_H

#include "utils/array.h"

#include "store/last_used.h"

extern void flush_outcomes_count_rows(int64 rows);
extern void flush_outcomes_add(const KeyUse *uses, const UseOutcome *outcomes, int nuses);
extern void flush_outcomes_remove_keys(ArrayType *ids);

/* for hooks/transaction.c */
extern void flush_outcomes_at_eoxact(bool is_commit);
extern void flush_outcomes_remove_deleted(void);
extern void flush_outcomes_at_subxact_abort(void);

#endif							/* APIKEYS_FLUSH_FLUSH_OUTCOMES_H */
