/*-------------------------------------------------------------------------
 *
 * key_references.h
 *	  What the configuration of a key names must exist.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_KEY_REFERENCES_H
#define APIKEYS_API_KEY_REFERENCES_H

#include "model/key_config.h"
#include "store/keys.h"

extern void key_references_lock(const KeyConfig *config, const KeyRow *present);

#endif							/* APIKEYS_API_KEY_REFERENCES_H */
