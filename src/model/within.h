/*-------------------------------------------------------------------------
 *
 * within.h
 *	  May a key do no more than another one?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_WITHIN_H
#define APIKEYS_MODEL_WITHIN_H

#include "model/key_config.h"

extern const char *within_find_excess(const KeyConfig *config, const KeyConfig *bound);

#endif							/* APIKEYS_MODEL_WITHIN_H */
