/*-------------------------------------------------------------------------
 *
 * object_drop.h
 *	  Removes a dropped extension or database from shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_HOOKS_OBJECT_DROP_H
#define APIKEYS_HOOKS_OBJECT_DROP_H

extern void object_drop_init(void);

/* for hooks/transaction.c */
extern void object_drop_at_eoxact(bool is_commit);
extern void object_drop_at_subxact_abort(SubTransactionId subid);

#endif							/* APIKEYS_HOOKS_OBJECT_DROP_H */
