/*-------------------------------------------------------------------------
 *
 * cost.c
 *	  Costs as integers, for what is counted in shared memory.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Under a lock nothing may raise an error or allocate memory, so costs are
 * counted there as integers, in billionths of the application's unit.  A cost
 * is rounded up and a limit down: a limit never admits more than it says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "model/cost.h"

/* Returns a cost in billionths; one that is too large for that is the largest. */
int64
cost_to_billionths(Numeric cost, bool round_up)
{
	static const int64 scale = INT64CONST(1000000000);
	Datum		scaled;

	Assert(!numeric_is_nan(cost) && !numeric_is_inf(cost));
	scaled = DirectFunctionCall2(numeric_mul, NumericGetDatum(cost),
								 NumericGetDatum(int64_to_numeric(scale)));
	scaled = DirectFunctionCall1(round_up ? numeric_ceil : numeric_floor, scaled);
	if (DatumGetBool(DirectFunctionCall2(numeric_ge, scaled,
										 NumericGetDatum(int64_to_numeric(PG_INT64_MAX)))))
		return PG_INT64_MAX;
	if (DatumGetBool(DirectFunctionCall2(numeric_le, scaled,
										 NumericGetDatum(int64_to_numeric(PG_INT64_MIN)))))
		return PG_INT64_MIN;

	return DatumGetInt64(DirectFunctionCall1(numeric_int8, scaled));
}

/* Returns a cost, palloc'd, without zeros at its end. */
Numeric
cost_from_billionths(int64 billionths)
{
	Numeric		cost = int64_div_fast_to_numeric(billionths, COST_SCALE);

	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(cost)));
}
