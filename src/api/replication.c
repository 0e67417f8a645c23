/*-------------------------------------------------------------------------
 *
 * replication.c
 *	  What is different where logical replication brings rows of other servers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "parser/parse_relation.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "live/budget_spend.h"
#include "settings/guc.h"

#define NODE_ID_BITS	48			/* of an id; the others are the node */

StaticAssertDecl(GUC_MAX_NODE < 1 << (63 - NODE_ID_BITS), "ids are positive");

PG_FUNCTION_INFO_V1(apikeys_this_node);
PG_FUNCTION_INFO_V1(apikeys_first_id);
PG_FUNCTION_INFO_V1(apikeys_next_id);
PG_FUNCTION_INFO_V1(apikeys_keep_local);
PG_FUNCTION_INFO_V1(apikeys_publish_spending);

/* The node of this server: the default of the columns of that name. */
Datum
apikeys_this_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(guc_node);
}

static int64
first_id(void)
{
	return (int64) guc_node << NODE_ID_BITS;
}

/* What the ids of this node begin after. */
Datum
apikeys_first_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(first_id());
}

/* The next id of this node, from a sequence that ends before those of the next. */
Datum
apikeys_next_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(first_id() + nextval_internal(PG_GETARG_OID(0), true));
}

/* Returns how this was called, as a row trigger.  Raises 39P01 otherwise. */
static TriggerData *
row_trigger(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s is a trigger for each row", function)));
	return trigger;
}

/*
 * Row trigger BEFORE INSERT, UPDATE or DELETE on a table that each server fills
 * for itself.  Skips what another server has done to its own, but not what
 * triggers do here because of that.
 */
Datum
apikeys_keep_local(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = row_trigger(fcinfo, "apikeys.keep_local()");
	int			depth = DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));

	if (IsLogicalWorker() && depth == 1)
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
																	  : trigger->tg_trigtuple);
}

/* Returns a column of a row of the trigger's table. */
static Datum
get_column(const TriggerData *trigger, HeapTuple row, const char *name, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	return heap_getattr(row, attnameAttNum(trigger->tg_relation, name, false), desc, isnull);
}

/* Counts what a row says is spent of a budget, if of any; or, if it is gone, the contrary. */
static void
count_spending(const TriggerData *trigger, HeapTuple row, bool is_gone)
{
	bool		nulls[3];
	Datum		budget_id = get_column(trigger, row, "budget_id", &nulls[0]);
	Datum		period = get_column(trigger, row, trigger->tg_trigger->tgargs[0], &nulls[1]);
	Datum		cost = get_column(trigger, row, trigger->tg_trigger->tgargs[1], &nulls[2]);

	if (nulls[0] || nulls[1] || nulls[2])
		return;
	if (is_gone)
		cost = DirectFunctionCall1(numeric_uminus, cost);
	budget_spend_record(DatumGetUUIDP(budget_id), DatumGetTimestampTz(period), DatumGetNumeric(cost));
}

/*
 * Row trigger AFTER INSERT, UPDATE or DELETE on a table of what is spent of
 * budgets; its arguments are the columns of the period and of the cost.  What
 * other servers have spent changes the sums in shared memory as what is spent
 * here does.  In the transaction of a roll-up both tables change, and it comes to
 * nothing.
 */
Datum
apikeys_publish_spending(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = row_trigger(fcinfo, "apikeys.publish_spending()");

	/* What is spent here is counted by who records it, whatever triggers fire. */
	if (!IsLogicalWorker())
		return PointerGetDatum(NULL);

	count_spending(trigger, trigger->tg_trigtuple, !TRIGGER_FIRED_BY_INSERT(trigger->tg_event));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		count_spending(trigger, trigger->tg_newtuple, false);
	return PointerGetDatum(NULL);
}
