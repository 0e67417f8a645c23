/*-------------------------------------------------------------------------
 *
 * invalidation.h
 *	  The messages that tell all backends what their caches must forget.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_CACHE_INVALIDATION_H
#define APIKEYS_CACHE_INVALIDATION_H

#include "utils/uuid.h"

/*
 * A message names a key, a budget or a plan by a number, in place of a
 * relation's oid: a kind, and 29 bits of a hash.  If two have the same, a change
 * of one makes backends forget both.
 */
#define INVALIDATION_BIT	0x80000000U /* far from the oids of relations */
#define INVALIDATION_KINDS	0x60000000U
#define INVALIDATION_KEY	0x00000000U
#define INVALIDATION_BUDGET 0x20000000U
#define INVALIDATION_PLAN	0x40000000U

#define INVALIDATION_IS_OF(number, kind) \
	(((number) & (INVALIDATION_BIT | INVALIDATION_KINDS)) == (INVALIDATION_BIT | (kind)))

extern Oid	invalidation_of_key(const bytea *hash);
extern Oid	invalidation_of_budget(const pg_uuid_t *id);
extern Oid	invalidation_of_plan(const text *name);
extern bool invalidation_is_pending(void);
extern void invalidation_of_everything(void);

/* for hooks/ */
extern void invalidation_count_sent(void);
extern void invalidation_forget_sent(void);
extern void invalidation_at_abort(void);
extern void invalidation_at_subxact_abort(SubTransactionId subid);
extern void invalidation_begin_counting(void);
extern void invalidation_count_received(void);
extern void invalidation_always_count(void);

#endif							/* APIKEYS_CACHE_INVALIDATION_H */
