/*-------------------------------------------------------------------------
 *
 * secrets.c
 *	  The HMAC secrets that this backend has loaded, by name.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "settings/hmac_secrets.h"

PG_FUNCTION_INFO_V1(apikeys_loaded_secrets);

/*
 * apikeys.loaded_secrets(): rows (secret text, is_current boolean); names, never
 * values.  Plain SHA-256, with a secret of null, is always among them.
 */
Datum
apikeys_loaded_secrets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const HmacSecret *first = hmac_secrets_first();
	int			n = hmac_secrets_count();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i <= n; i++)
	{
		const HmacSecret *secret = i < n ? hmac_secrets_get(i) : NULL;
		Datum		values[2];
		bool		nulls[2] = {secret == NULL, false};

		values[0] = secret != NULL ? CStringGetTextDatum(secret->name) : (Datum) 0;
		values[1] = BoolGetDatum(secret == first);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}

	return (Datum) 0;
}
