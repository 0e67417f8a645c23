/*-------------------------------------------------------------------------
 *
 * reclaim.h
 *	  Removes from shared memory what nobody can use any more.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_RECLAIM_H
#define APIKEYS_FLUSH_RECLAIM_H

#include "utils/uuid.h"

extern bool reclaim_for(const pg_uuid_t *owner);
extern void reclaim_all_partitions(void);

#endif							/* APIKEYS_FLUSH_RECLAIM_H */
