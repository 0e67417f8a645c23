/*-------------------------------------------------------------------------
 *
 * notices.h
 *	  Plans the notices of keys that are going to expire.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_NOTICES_H
#define APIKEYS_API_NOTICES_H

#include "utils/array.h"

#include "model/key_config.h"

extern void notices_plan(ArrayType *ids, const KeyConfig *config);

#endif							/* APIKEYS_API_NOTICES_H */
