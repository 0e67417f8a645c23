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

/* Texts that are stored with keys. */
typedef struct OwnKeyTexts OwnKeyTexts;

extern OwnKeyTexts *own_key_texts_make(void);
extern void own_key_add_text(OwnKeyTexts *texts, const char *what, const text *value);
extern void own_key_add_words(OwnKeyTexts *texts, const char *what, const text *value);
extern void own_key_add_config(OwnKeyTexts *texts, const KeyConfig *config);
extern void own_key_check(OwnKeyTexts *texts, const bytea *hash);
extern void own_key_check_config(const bytea *hash, const KeyConfig *config);

#endif							/* APIKEYS_VERIFY_OWN_KEY_H */
