/*-------------------------------------------------------------------------
 *
 * status.c
 *	  The effective status of a key at a given time.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * One rule for apikey_verify and apikeys.info.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "model/status.h"

static const char *const status_names[] = {
	[KEY_STATUS_REVOKED] = "revoked",
	[KEY_STATUS_EXPIRED] = "expired",
	[KEY_STATUS_DISABLED] = "disabled",
	[KEY_STATUS_ACTIVE] = "active",
};

StaticAssertDecl(lengthof(status_names) == KEY_STATUS_ACTIVE + 1,
				 "each KeyStatus needs a name");

#define TEN_MINUTES		(10 * USECS_PER_MINUTE)

PG_FUNCTION_INFO_V1(apikeys_effective_status);
PG_FUNCTION_INFO_V1(apikeys_ten_minutes);

/* Returns the status at now; expires_at is DT_NOEND if the key never expires. */
KeyStatus
status_at(TimestampTz now, bool revoked, TimestampTz expires_at, bool enabled)
{
	if (revoked)
		return KEY_STATUS_REVOKED;
	if (now > expires_at)
		return KEY_STATUS_EXPIRED;
	return enabled ? KEY_STATUS_ACTIVE : KEY_STATUS_DISABLED;
}

/*
 * apikeys.effective_status(revoked_at timestamptz, expires_at timestamptz,
 * enabled boolean): text, by the wall clock.
 */
Datum
apikeys_effective_status(PG_FUNCTION_ARGS)
{
	KeyStatus	status = status_at(GetCurrentTimestamp(),
								   !PG_ARGISNULL(0),
								   PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1),
								   PG_GETARG_BOOL(2));

	PG_RETURN_TEXT_P(cstring_to_text(status_names[status]));
}

/*
 * apikeys_data.ten_minutes(at timestamptz): timestamptz.  In C, for a planner puts
 * the text of an SQL function in its place for some users, and not for others: then
 * the index on it is lost.
 */
Datum
apikeys_ten_minutes(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	int64		rest = at % TEN_MINUTES;

	if (TIMESTAMP_NOT_FINITE(at))
		PG_RETURN_TIMESTAMPTZ(at);
	PG_RETURN_TIMESTAMPTZ(at - (rest < 0 ? rest + TEN_MINUTES : rest));
}
