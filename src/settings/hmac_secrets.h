/*-------------------------------------------------------------------------
 *
 * hmac_secrets.h
 *	  The HMAC secrets, as this process has read them from their file.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_SETTINGS_HMAC_SECRETS_H
#define APIKEYS_SETTINGS_HMAC_SECRETS_H

#include "model/key_hash.h"

#define HMAC_SECRETS_MAX			16	/* per file; an unknown key costs that many hashes */
#define HMAC_SECRET_MIN_LEN		16

typedef struct HmacSecret
{
	char		name[HMAC_SECRET_NAME_MAX_LEN + 1];
	struct						/* laid out as a bytea */
	{
		int32		vl_len_;
		char		data[HMAC_SECRET_MAX_LEN];
	} value;
} HmacSecret;

/* Identifies a set of secrets to all processes of the server, without telling them. */
typedef struct HmacSecretsId
{
	uint8		bytes[16];
} HmacSecretsId;

#define hmac_secrets_value(secret)	((const bytea *) &(secret)->value)

extern void hmac_secrets_init(void);

/* for apikeys.hmac_secret_file */
extern const char *hmac_secrets_stage(const char *path);
extern void hmac_secrets_adopt(void);
extern void hmac_secrets_clear(void);

/* for the hashing of keys */
extern const HmacSecret *hmac_secrets_first(void);
extern int	hmac_secrets_count(void);
extern const HmacSecret *hmac_secrets_get(int i);
extern uint64 hmac_secrets_version(void);
extern HmacSecretsId hmac_secrets_id(void);
extern bool hmac_secrets_are_outdated(void);
extern bool hmac_secrets_reread(const char *path);

#endif							/* APIKEYS_SETTINGS_HMAC_SECRETS_H */
