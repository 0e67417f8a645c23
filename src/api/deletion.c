/*-------------------------------------------------------------------------
 *
 * deletion.c
 *	  Deletes a key, or what is old: expired keys, events, days of usage.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "flush/flush_outcomes.h"
#include "model/period.h"
#include "settings/guc.h"
#include "store/key_batches.h"
#include "store/key_deletion.h"
#include "store/keys.h"
#include "store/retention.h"
#include "store/usage_deletion.h"
#include "verify/restriction.h"

#define OLDER_THAN_MAX_YEARS	1000

PG_FUNCTION_INFO_V1(apikey_delete);
PG_FUNCTION_INFO_V1(apikey_cleanup_expired);
PG_FUNCTION_INFO_V1(apikey_cleanup_events);
PG_FUNCTION_INFO_V1(apikey_cleanup_usage);

/* apikey_delete(id uuid): void.  Deletes the keys that are derived from it, too. */
Datum
apikey_delete(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id;
	ArrayType  *ids = NULL;
	KeyRow		key;

	require_not_null(fcinfo, 0, "id");
	id = PG_GETARG_UUID_P(0);
	if (store_read_key(id, restriction_for_changes(), true, &key))
		ids = store_delete_key(id, GetCurrentTimestamp());
	if (ids == NULL)
		raise_key_not_found(id);
	flush_outcomes_remove_keys(ids);

	PG_RETURN_VOID();
}

/* Returns the time that lies argument 0, older_than, before now.  Raises 22023. */
static TimestampTz
older_than_argument(FunctionCallInfo fcinfo, TimestampTz now)
{
	TimestampTz until;

	require_not_null(fcinfo, 0, "older_than");
	period_check_span("older_than", PG_GETARG_INTERVAL_P(0), OLDER_THAN_MAX_YEARS);
	until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
													TimestampTzGetDatum(now),
													PG_GETARG_DATUM(0)));
	if (until > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must not be negative")));
	return until;
}

/*
 * Deletes the keys that a search finds, each batch after those that are derived
 * from its keys, if expired is true.  Returns how many there were.
 */
static int64
delete_found(KeySearch *search, bool expired, TimestampTz until, TimestampTz now)
{
	MemoryContext per_batch = AllocSetContextCreate(CurrentMemoryContext, "apikey_cleanup_expired",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(per_batch);
	KeyBatch	batch;
	int64		ndeleted = 0;

	while (store_next_batch(search, &batch))
	{
		if (expired)
			ndeleted += delete_found(store_find_derived(&batch, until), false, until, now);
		store_delete_batch(&batch, now);
		flush_outcomes_remove_keys(batch.ids);
		ndeleted += batch.n;
		MemoryContextReset(per_batch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_batch);

	return ndeleted;
}

/*
 * apikey_cleanup_expired(older_than interval): bigint, how many keys were
 * deleted.  Keys that do not expire are never deleted.
 */
Datum
apikey_cleanup_expired(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = older_than_argument(fcinfo, now);
	int64		ndeleted = delete_found(store_find_expired(restriction_by_setting(), until), true, until, now);

	store_delete_orphans();

	PG_RETURN_INT64(ndeleted);
}

/*
 * apikey_cleanup_events(older_than interval): bigint, how many events were
 * deleted, of the oldest.
 */
Datum
apikey_cleanup_events(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();

	PG_RETURN_INT64(store_delete_events(older_than_argument(fcinfo, now), now));
}

/*
 * apikey_cleanup_usage(older_than interval): bigint, how many rows of days were
 * deleted, of the oldest.  Days for which a record may be voided yet stay: the
 * void would have nothing to be taken from.
 */
Datum
apikey_cleanup_usage(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = older_than_argument(fcinfo, now);
	TimestampTz voidable =
		TimestampTzPlusMilliseconds(now, -INT64CONST(1000) * guc_request_id_retention);

	PG_RETURN_INT64(store_delete_usage_days(Min(until, voidable), now));
}
