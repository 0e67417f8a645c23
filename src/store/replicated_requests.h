/*-------------------------------------------------------------------------
 *
 * replicated_requests.h
 *	  Which requests other nodes have recorded.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_REPLICATED_REQUESTS_H
#define APIKEYS_STORE_REPLICATED_REQUESTS_H

#include "utils/uuid.h"

extern bool store_request_is_of_another_node(const pg_uuid_t *key_id, const text *request_id);

#endif							/* APIKEYS_STORE_REPLICATED_REQUESTS_H */
