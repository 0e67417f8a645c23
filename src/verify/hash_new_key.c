/*-------------------------------------------------------------------------
 *
 * hash_new_key.c
 *	  Under which hash a new key is stored.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * A new key is hashed with the first HMAC secret, or with plain SHA-256 if
 * apikeys.hmac_secret_file names no file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "postmaster/interrupt.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "live/secret_file.h"
#include "model/key_hash.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"
#include "verify/hash_new_key.h"

/*
 * If a reload of the configuration is pending, reads the file of secrets now,
 * in the middle of the statement.  The administrator may be about to remove
 * the secret that is the first in our copy, since apikeys.secret_usage shows
 * no key that needs it; no further key may be hashed with it.
 */
static void
reload_early(void)
{
	if (ConfigReloadPending && guc_hmac_secret_file[0] != '\0' &&
		hmac_secrets_stage(guc_hmac_secret_file) == NULL)
		hmac_secrets_adopt();
}

/*
 * Hashes a new key.  Raises 55000 if there should be a secret and none is
 * loaded: the hash must not be weaker than the administrator thinks.
 */
void
hash_new_key(const text *raw_key, NewKey *key)
{
	const HmacSecret *secret;

	Assert(VARSIZE_ANY_EXHDR(raw_key) > 0);

	reload_early();
	secret = hmac_secrets_first();
	if (secret == NULL && guc_hmac_secret_file[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the HMAC secrets are not loaded"),
				 errdetail("The file of apikeys.hmac_secret_file was refused."),
				 errhint("The server log says why.")));

	if (secret != NULL)
		secret_file_announce(guc_hmac_secret_file);
	key->hash = key_hash_compute(raw_key, secret != NULL ? hmac_secrets_value(secret) : NULL);
	key->hash_secret = secret != NULL ? cstring_to_text(secret->name) : NULL;
}
