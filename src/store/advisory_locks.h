/*-------------------------------------------------------------------------
 *
 * advisory_locks.h
 *	  The advisory locks of the extension.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_ADVISORY_LOCKS_H
#define APIKEYS_STORE_ADVISORY_LOCKS_H

#include "utils/uuid.h"

extern bool store_lock_flush(bool wait);
extern void store_lock_budget_tree(void);
extern void store_lock_grants(void);
extern void store_lock_own_keys(const pg_uuid_t *user_id);
extern bool store_try_lock_warnings(const pg_uuid_t *budget_id);

#endif							/* APIKEYS_STORE_ADVISORY_LOCKS_H */
