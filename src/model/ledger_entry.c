/*-------------------------------------------------------------------------
 *
 * ledger_entry.c
 *	  What entries of the ledgers may be: for the CHECKs on their tables.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The server parses and plans a CHECK anew in each statement, which takes longer
 * than to write the row if it has many operators.  So each is one function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "base/arguments.h"
#include "base/compat.h"
#include "model/budget_config.h"
#include "model/ledger_entry.h"

PG_FUNCTION_INFO_V1(apikeys_check_usage_entry);
PG_FUNCTION_INFO_V1(apikeys_check_usage_request);

/* Are figures those of a request, or with requests -1 those of a void? */
static bool
are_figures(int32 requests, int64 tokens, Numeric cost)
{
	if (!is_stored_amount(cost))
		return false;
	if (requests == 1)
		return tokens >= 0 && amount_sign(cost) >= 0;
	return requests == -1 && tokens <= 0 && amount_sign(cost) <= 0;
}

/* Are figures those of a cost that counts against a budget alone? */
static bool
are_of_budget(int32 requests, int64 tokens, Numeric cost)
{
	return requests == 0 && tokens == 0 && is_stored_amount(cost);
}

/* Has a text 1 to LEDGER_TEXT_MAX_CHARS characters? */
static bool
has_text(Datum value)
{
	text	   *t = DatumGetTextPP(value);
	int			chars = pg_mbstrlen_with_len(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));

	return chars >= 1 && chars <= LEDGER_TEXT_MAX_CHARS;
}

/* Has an array one element, not null, for each of the budgets that a cost may have? */
static bool
is_of_budgets(ArrayType *array)
{
	return ARR_NDIM(array) == 1 && ARR_LBOUND(array)[0] == 1 &&
		   ARR_DIMS(array)[0] <= 2 * BUDGET_MAX_LEVELS && !array_contains_nulls(array);
}

/*
 * apikeys.check_usage_entry(key_id uuid, requests integer, tokens bigint,
 * cost numeric, budget_id uuid, budget_period timestamptz): boolean.  The key may
 * be null if the last two are not; these only together.
 */
Datum
apikeys_check_usage_entry(PG_FUNCTION_ARGS)
{
	bool		has_budget = !PG_ARGISNULL(4);

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || has_budget == PG_ARGISNULL(5))
		PG_RETURN_BOOL(false);
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(has_budget && are_of_budget(PG_GETARG_INT32(1), PG_GETARG_INT64(2), PG_GETARG_NUMERIC(3)));
	PG_RETURN_BOOL(are_figures(PG_GETARG_INT32(1), PG_GETARG_INT64(2), PG_GETARG_NUMERIC(3)));
}

/*
 * apikeys.check_usage_request(request_id text, tokens bigint, cost numeric,
 * model text, budget_ids uuid[], budget_periods timestamptz[]): boolean.  The
 * last three may be null, the last two only together.
 */
Datum
apikeys_check_usage_request(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < 3; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_BOOL(false);
	}
	if (!has_text(PG_GETARG_DATUM(0)) || !are_figures(1, PG_GETARG_INT64(1), PG_GETARG_NUMERIC(2)))
		PG_RETURN_BOOL(false);
	if (!PG_ARGISNULL(3) && !has_text(PG_GETARG_DATUM(3)))
		PG_RETURN_BOOL(false);
	if (PG_ARGISNULL(4) || PG_ARGISNULL(5))
		PG_RETURN_BOOL(PG_ARGISNULL(4) && PG_ARGISNULL(5));

	PG_RETURN_BOOL(is_of_budgets(PG_GETARG_ARRAYTYPE_P(4)) && is_of_budgets(PG_GETARG_ARRAYTYPE_P(5)) &&
				   ARR_DIMS(PG_GETARG_ARRAYTYPE_P(4))[0] == ARR_DIMS(PG_GETARG_ARRAYTYPE_P(5))[0]);
}
