/*-------------------------------------------------------------------------
 *
 * restriction.h
 *	  To whose keys a call is restricted.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_RESTRICTION_H
#define APIKEYS_VERIFY_RESTRICTION_H

#include "utils/uuid.h"

extern bool restriction_to_own_keys(void);
extern const pg_uuid_t *restriction_for_reading(void);
extern const pg_uuid_t *restriction_for_changes(void);
extern const pg_uuid_t *restriction_by_setting(void);

#endif							/* APIKEYS_VERIFY_RESTRICTION_H */
