/*-------------------------------------------------------------------------
 *
 * missing_secrets.c
 *	  Logs HMAC secrets that keys need and that are not loaded.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Keys that are hashed with a secret which the file does not have are not
 * found by verify.  That may be why a key was not found, so this is when the
 * table is searched for such secrets; not more often than once a minute in
 * each backend, since anybody can send texts that are not keys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "live/missing_secrets.h"
#include "settings/hmac_secrets.h"
#include "store/rehash.h"
#include "verify/missing_secrets.h"

#define SEARCH_INTERVAL_MS	60000

/* Is it time for another search?  At once if the secrets have changed. */
static bool
is_search_due(void)
{
	static TimestampTz searched_at = 0;
	static uint64 searched_version = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (searched_at != 0 && searched_version == hmac_secrets_version() && now >= searched_at &&
		now < TimestampTzPlusMilliseconds(searched_at, SEARCH_INTERVAL_MS))
		return false;

	searched_at = now;
	searched_version = hmac_secrets_version();
	return true;
}

/* Logs secrets that are missing in this database, each once for the server. */
void
log_missing_secrets(void)
{
	const char *known[HMAC_SECRETS_MAX * 2];
	char	   *missing[MISSING_SECRETS_MAX];
	bool		newly_missing[MISSING_SECRETS_MAX];
	int			n;

	Assert(IsTransactionState());
	Assert(hmac_secrets_count() <= lengthof(known));
	if (!is_search_due())
		return;

	for (int i = 0; i < hmac_secrets_count(); i++)
		known[i] = hmac_secrets_get(i)->name;
	n = store_missing_secrets(known, hmac_secrets_count(), missing, MISSING_SECRETS_MAX);
	missing_secrets_exchange(MyDatabaseId, missing, n, newly_missing);
	for (int i = 0; i < n; i++)
	{
		if (newly_missing[i])
			ereport(LOG,
					(errmsg("API keys are hashed with HMAC secret \"%s\", which is not loaded", missing[i]),
					 errdetail("In database \"%s\" apikey_verify does not find these keys.",
							   get_database_name(MyDatabaseId)),
					 errhint("Add the secret to the file of apikeys.hmac_secret_file and reload the configuration.")));
	}
}
