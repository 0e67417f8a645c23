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

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/arguments.h"
#include "base/numeric_digits.h"
#include "model/cost.h"

/* Has a cost no decimals below billionths? */
bool
cost_is_in_billionths(Numeric cost)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(cost))) <= COST_SCALE;
}

/* Adds a digit to a number, or makes it the largest. */
static int64
add_digit(int64 number, int digit)
{
	if (pg_mul_s64_overflow(number, 10, &number) || pg_add_s64_overflow(number, digit, &number))
		return PG_INT64_MAX;
	return number;
}

/*
 * Returns a cost, not negative, in billionths; one that is too large for that is
 * the largest.
 */
int64
cost_to_billionths(Numeric cost, bool round_up)
{
	NumericDigits digits;
	int64		billionths = 0;
	int			nused;

	Assert(!numeric_is_nan(cost) && !numeric_is_inf(cost) && amount_sign(cost) >= 0);
	numeric_digits(cost, &digits);
	nused = Min(digits.ndecimals, COST_SCALE);
	for (int i = 0; i < digits.nwhole; i++)
		billionths = add_digit(billionths, digits.whole[i] - '0');
	for (int i = 0; i < COST_SCALE; i++)
		billionths = add_digit(billionths, i < nused ? digits.decimals[i] - '0' : 0);
	if (round_up && digits.decimals[nused + strspn(digits.decimals + nused, "0")] != '\0' &&
		billionths < PG_INT64_MAX)
		billionths++;
	return billionths;
}

/* Returns a cost, palloc'd, without zeros at its end. */
Numeric
cost_from_billionths(int64 billionths)
{
	int			scale = COST_SCALE;

	while (scale > 0 && billionths % 10 == 0)
	{
		billionths /= 10;
		scale--;
	}
	return int64_div_fast_to_numeric(billionths, scale);
}
