/*-------------------------------------------------------------------------
 *
 * key_hash.h
 *	  The hash under which a raw key is stored and looked up.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_KEY_HASH_H
#define APIKEYS_MODEL_KEY_HASH_H

#define KEY_HASH_LEN 32			/* SHA-256 */
#define HMAC_SECRET_NAME_MAX_LEN 63
#define HMAC_SECRET_MAX_LEN 255

extern bool key_hash_is_secret_name(const char *name, Size len);
extern bytea *key_hash_compute(const text *raw_key, const bytea *secret);
extern void key_hash_forget_secret(void);

#endif							/* APIKEYS_MODEL_KEY_HASH_H */
