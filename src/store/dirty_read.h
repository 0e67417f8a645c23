/*-------------------------------------------------------------------------
 *
 * dirty_read.h
 *	  Is there a row, for whoever can see it?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_DIRTY_READ_H
#define APIKEYS_STORE_DIRTY_READ_H

#include "utils/uuid.h"

extern bool store_exists_for_anyone(const char *table, const pg_uuid_t *id);

#endif							/* APIKEYS_STORE_DIRTY_READ_H */
