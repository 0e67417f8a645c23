/*-------------------------------------------------------------------------
 *
 * found_keys.h
 *	  What is shown of a key that was found by its text.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_FOUND_KEYS_H
#define APIKEYS_STORE_FOUND_KEYS_H

#include "utils/uuid.h"

extern bool store_found_info(const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *info);
extern bool store_found_status(const pg_uuid_t *id, const pg_uuid_t *user_id, Datum *status);

#endif							/* APIKEYS_STORE_FOUND_KEYS_H */
