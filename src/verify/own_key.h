/*-------------------------------------------------------------------------
 *
 * own_key.h
 *	  Refuses a configuration that has the very key it describes.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_OWN_KEY_H
#define APIKEYS_VERIFY_OWN_KEY_H

#include "model/key_config.h"

extern void own_key_check_text(const bytea *hash, const char *what, const text *value);
extern void own_key_check_words(const bytea *hash, const char *what, const text *value);
extern void own_key_check_config(const bytea *hash, const KeyConfig *config);

#endif							/* APIKEYS_VERIFY_OWN_KEY_H */
