/*-------------------------------------------------------------------------
 *
 * notices.c
 *	  Plans the notices of keys that are going to expire: the trigger on
 *	  apikeys_data.key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * It notes which keys have an end; when notices are due, flush workers find out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "parser/parse_relation.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "api/notices.h"
#include "base/compat.h"
#include "flush/pending_usage.h"
#include "settings/guc.h"
#include "store/bulk.h"
#include "store/catalog.h"
#include "store/notices.h"

PG_FUNCTION_INFO_V1(apikeys_plans_notices);
PG_FUNCTION_INFO_V1(apikeys_plan_notices);

/* The columns on which the end of a key depends. */
typedef enum EndColumn
{
	END_EXPIRES_AT,
	END_IDLE_TIMEOUT,
	END_IDLE_SINCE,
	END_CREATED_AT,
	END_REVOKED_AT,
	END_NCOLUMNS
} EndColumn;

typedef struct KeyEnd
{
	Datum		values[END_NCOLUMNS];
	bool		nulls[END_NCOLUMNS];
} KeyEnd;

static const char *const column_names[END_NCOLUMNS] = {
	[END_EXPIRES_AT] = "expires_at",
	[END_IDLE_TIMEOUT] = "idle_timeout",
	[END_IDLE_SINCE] = "idle_since",
	[END_CREATED_AT] = "created_at",
	[END_REVOKED_AT] = "revoked_at",
};

/* Reads a column of a row by its name, since the table may have others. */
static Datum
get_column(const TriggerData *trigger, HeapTuple row, const char *name, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	return heap_getattr(row, attnameAttNum(trigger->tg_relation, name, false), desc, isnull);
}

static void
read_end(const TriggerData *trigger, HeapTuple row, KeyEnd *end)
{
	for (int i = 0; i < END_NCOLUMNS; i++)
		end->values[i] = get_column(trigger, row, column_names[i], &end->nulls[i]);
}

static bool
is_same_end(const KeyEnd *a, const KeyEnd *b)
{
	for (int i = 0; i < END_NCOLUMNS; i++)
	{
		if (a->nulls[i] != b->nulls[i])
			return false;
		if (!a->nulls[i] &&
			!(i == END_IDLE_TIMEOUT ? datumIsEqual(a->values[i], b->values[i], false, sizeof(Interval))
									: a->values[i] == b->values[i]))
			return false;
	}
	return true;
}

/* Plans the notices of new or changed keys, a uuid[]; expires_at is DT_NOEND for never. */
static void
plan(ArrayType *ids, TimestampTz expires_at, bool may_be_idle)
{
	bool		expires = !TIMESTAMP_NOT_FINITE(expires_at);

	if (!expires && !may_be_idle)
		return;

	store_plan_notices(ids, expires, may_be_idle);
	if (guc_expiry_notices.n > 0)
		pending_usage_record();
}

/* Plans the notices of keys, a uuid[], that have been made in bulk. */
void
notices_plan(ArrayType *ids, const KeyConfig *config)
{
	plan(ids,
		 config->nulls[CONFIG_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(config->values[CONFIG_EXPIRES_AT]),
		 !config->nulls[CONFIG_IDLE_TIMEOUT]);
}

/*
 * apikeys.plans_notices(): boolean, does the trigger plan for each row?  Its
 * condition: not for those for which a function does so at once.
 */
Datum
apikeys_plans_notices(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!store_is_writing_many(true));
}

/*
 * Row trigger AFTER INSERT OR UPDATE OR DELETE on apikeys_data.key, and on the table
 * in which Citus has the rows of that.
 */
Datum
apikeys_plan_notices(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	KeyEnd		end;
	KeyEnd		old;
	Datum		id;
	ArrayType  *ids;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		attnameAttNum(trigger->tg_relation, "idle_timeout", false) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("apikeys.plan_notices() is the trigger of apikeys_data.key")));

	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	(void) get_column(trigger, row, "parent_id", &isnull);
	if (!isnull)
		return PointerGetDatum(NULL); /* a derived key is short-lived by intent */
	read_end(trigger, row, &end);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		read_end(trigger, trigger->tg_trigtuple, &old);
		if (is_same_end(&end, &old))
			return PointerGetDatum(NULL);
	}

	id = get_column(trigger, row, "id", &isnull);
	ids = construct_array(&id, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || !end.nulls[END_REVOKED_AT])
		store_remove_notices(ids);
	else
		plan(ids, end.nulls[END_EXPIRES_AT] ? DT_NOEND : DatumGetTimestampTz(end.values[END_EXPIRES_AT]),
			 !end.nulls[END_IDLE_TIMEOUT]);
	return PointerGetDatum(NULL);
}
