/*-------------------------------------------------------------------------
 *
 * revocation.c
 *	  Revokes a key, by its id or by the key itself, or all that have something
 *	  in common.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/key_config.h"
#include "store/earlier_commits.h"
#include "store/key_batches.h"
#include "store/keys.h"
#include "verify/lookup.h"
#include "verify/own_key.h"
#include "verify/restriction.h"

PG_FUNCTION_INFO_V1(apikey_revoke);
PG_FUNCTION_INFO_V1(apikey_revoke_raw);
PG_FUNCTION_INFO_V1(apikey_revoke_where);

/* Why keys are revoked. */
typedef struct Reason
{
	text	   *value;			/* may be NULL */
	OwnKeyTexts *texts;			/* what it consists of: no key may be among them */
} Reason;

/* Reads an argument that gives the reason.  Raises 22023. */
static Reason
reason_argument(FunctionCallInfo fcinfo, int argno)
{
	Reason		reason = {NULL, own_key_texts_make()};

	if (PG_ARGISNULL(argno))
		return reason;

	key_config_check_revoke_reason(PG_GETARG_DATUM(argno));
	reason.value = PG_GETARG_TEXT_PP(argno);
	own_key_add_words(reason.texts, "reason", reason.value);
	return reason;
}

/* Revokes a locked key.  Raises 22023 for a reason that has the key in it. */
static void
revoke_locked(const pg_uuid_t *id, const Reason *reason)
{
	if (reason->value != NULL)
		own_key_check(reason->texts, store_key_hash(id));
	store_revoke_key(id, reason->value, GetCurrentTimestamp());
}

/* apikey_revoke(id uuid, reason text): void */
Datum
apikey_revoke(PG_FUNCTION_ARGS)
{
	Reason		reason;
	pg_uuid_t  *id;
	KeyRow		key;

	require_not_null(fcinfo, 0, "id");
	reason = reason_argument(fcinfo, 1);
	id = PG_GETARG_UUID_P(0);
	if (!store_read_key(id, restriction_for_changes(), true, &key))
		raise_key_not_found(id);
	if (!key.nulls[KEY_REVOKED_AT])
		raise_wrong_state("API key is already revoked");

	revoke_locked(id, &reason);
	PG_RETURN_VOID();
}

/*
 * apikey_revoke_raw(raw_key text, reason text): uuid, null if there is no such
 * key.  A key that is revoked already stays as it is: whoever has found a key
 * wants to know that it is of no use any more, not who was first.
 */
Datum
apikey_revoke_raw(PG_FUNCTION_ARGS)
{
	Reason		reason = reason_argument(fcinfo, 1);
	pg_uuid_t  *id;
	CachedKey  *found;
	KeyRow		key;

	found = PG_ARGISNULL(0) ? NULL : lookup_key((struct varlena *) PG_GETARG_POINTER(0));
	if (found == NULL)
		PG_RETURN_NULL();

	/* The cache may lose it while its row is locked. */
	id = palloc(sizeof(pg_uuid_t));
	*id = *DatumGetUUIDP(found->row.values[KEY_ID]);
	if (!store_read_key(id, restriction_by_setting(), true, &key))
		PG_RETURN_NULL();
	if (key.nulls[KEY_REVOKED_AT])
		revoke_locked(id, &reason);

	PG_RETURN_UUID_P(id);
}

/* Reads which keys are to be revoked from arguments 0 to 3.  Raises 22023. */
static KeyGroup
group_arguments(FunctionCallInfo fcinfo)
{
	KeyGroup	group = {.restriction = restriction_for_changes()};

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1) && PG_ARGISNULL(2) && PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at least one of user_id, team_id, budget_id and plan must be given")));
	if (!PG_ARGISNULL(0))
		group.user_id = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1))
		group.team_id = PG_GETARG_UUID_P(1);
	if (!PG_ARGISNULL(2))
		group.budget_id = PG_GETARG_UUID_P(2);
	if (!PG_ARGISNULL(3))
	{
		key_config_check_text("plan", PG_GETARG_DATUM(3), false, NAME_MAX_CHARS);
		group.plan = PG_GETARG_TEXT_PP(3);
	}
	return group;
}

/* Revokes the keys of a group that nobody else has locked; returns how many. */
static int64
revoke_unlocked(const KeyGroup *group, const Reason *reason)
{
	KeySearch  *search = store_find_unrevoked(group);
	MemoryContext per_batch = AllocSetContextCreate(CurrentMemoryContext, "apikey_revoke_where",
													ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(per_batch);
	KeyBatch	batch;
	int64		nrevoked = 0;

	while (store_next_batch(search, &batch))
	{
		for (int i = 0; i < batch.n; i++)
			own_key_check(reason->texts, DatumGetByteaPP(batch.hashes[i]));
		store_revoke_batch(&batch, reason->value, GetCurrentTimestamp());
		nrevoked += batch.n;
		MemoryContextReset(per_batch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_batch);

	return nrevoked;
}

/*
 * Revokes those of some keys, a uuid[], that still are in a group, one by one: it
 * waits for who has locked them, and tells the client whom.  Returns how many.
 */
static int64
revoke_left(ArrayType *ids, const KeyGroup *group, const Reason *reason)
{
	pg_uuid_t  *id = (pg_uuid_t *) ARR_DATA_PTR(ids);
	int			n = ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids));
	int64		nrevoked = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (store_lock_unrevoked(&id[i], group))
		{
			revoke_locked(&id[i], reason);
			nrevoked++;
		}
		else if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update"),
					 errdetail("A key that is to be revoked was committed after the snapshot of this transaction.")));
	}
	return nrevoked;
}

/*
 * apikey_revoke_where(user_id uuid, team_id uuid, budget_id uuid, plan text,
 * reason text): bigint, how many keys were revoked.  When it returns, no key is
 * left that was committed before it was called and meets all conditions.
 */
Datum
apikey_revoke_where(PG_FUNCTION_ARGS)
{
	KeyGroup	group = group_arguments(fcinfo);
	Reason		reason = reason_argument(fcinfo, 4);
	int64		nrevoked = revoke_unlocked(&group, &reason);
	ArrayType  *left;

	while ((left = store_unrevoked_ids(&group)) != NULL)
		nrevoked += revoke_left(left, &group, &reason);

	/* They may have been revoked by one who was not told. */
	if (nrevoked == 0)
		store_wait_for_earlier_commits();

	PG_RETURN_INT64(nrevoked);
}
