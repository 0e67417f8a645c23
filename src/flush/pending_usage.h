/*-------------------------------------------------------------------------
 *
 * pending_usage.h
 *	  Reports usage entries to the flush queue when their transaction commits.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_PENDING_USAGE_H
#define APIKEYS_FLUSH_PENDING_USAGE_H

extern void pending_usage_record(void);

/* for hooks/transaction.c */
extern void pending_usage_pre_commit(void);
extern void pending_usage_at_eoxact(bool is_commit);

#endif							/* APIKEYS_FLUSH_PENDING_USAGE_H */
