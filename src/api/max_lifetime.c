/*-------------------------------------------------------------------------
 *
 * max_lifetime.c
 *	  No key lives longer than apikeys.max_lifetime from its creation.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * That holds for each expires_at that is set while the setting is in force:
 * verify does not know it, and a key from before keeps what it has until that is
 * changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/timestamp.h"

#include "api/max_lifetime.h"
#include "settings/guc.h"

/* Returns until when a key may live at most; DT_NOEND: for ever. */
static TimestampTz
latest_end(TimestampTz created_at)
{
	TimestampTz end;

	if (guc_max_lifetime == 0 ||
		pg_add_s64_overflow(created_at, guc_max_lifetime * USECS_PER_SEC, &end))
		return DT_NOEND;
	return end;
}

/* Raises 22023 if a key that was made at created_at may not live for so long. */
void
max_lifetime_check(TimestampTz expires_at, TimestampTz created_at)
{
	TimestampTz latest = latest_end(created_at);

	if (expires_at <= latest)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("expires_at is later than apikeys.max_lifetime allows"),
			 errdetail("The key may live until %s.", timestamptz_to_str(latest)),
			 errhint("Without expires_at a key gets the longest life that is allowed.")));
}

/*
 * Returns an expiry that was not asked for explicitly, or the latest that is
 * allowed if that comes before.  Raises 22023 if that has passed.
 */
TimestampTz
max_lifetime_shorten(TimestampTz expires_at, TimestampTz created_at, TimestampTz now)
{
	TimestampTz latest = latest_end(created_at);

	if (latest <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("API key is older than apikeys.max_lifetime allows"),
				 errdetail("It was made at %s, and might have lived until %s.",
						   pstrdup(timestamptz_to_str(created_at)),
						   pstrdup(timestamptz_to_str(latest)))));
	return Min(expires_at, latest);
}

/*
 * Checks the expiry of a configuration; none becomes the latest that is allowed.
 * Raises 22023.
 */
void
max_lifetime_apply(KeyConfig *config, TimestampTz created_at, TimestampTz now)
{
	TimestampTz end;

	if (!config->nulls[CONFIG_EXPIRES_AT])
	{
		max_lifetime_check(DatumGetTimestampTz(config->values[CONFIG_EXPIRES_AT]), created_at);
		return;
	}

	end = max_lifetime_shorten(DT_NOEND, created_at, now);
	config->nulls[CONFIG_EXPIRES_AT] = (end == DT_NOEND);
	config->values[CONFIG_EXPIRES_AT] = TimestampTzGetDatum(end);
}
