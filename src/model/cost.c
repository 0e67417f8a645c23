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

#include "base/numeric_digits.h"
#include "model/cost.h"

/* A billionth is a tenth of the second group after the point. */
#define LAST_WHOLE_GROUP	(-2)
#define BILLIONTHS_PER_GROUP	10
#define BELOW_BILLIONTHS	1000	/* of the group after it */

/* Has a cost no decimals below billionths? */
bool
cost_is_in_billionths(Numeric cost)
{
	NumericDigits digits;

	return numeric_digits(cost, &digits) && digits.scale <= COST_SCALE;
}

/* Appends digits to a number, or makes it the largest. */
static int64
append_digits(int64 number, int base, int digits)
{
	if (pg_mul_s64_overflow(number, base, &number) || pg_add_s64_overflow(number, digits, &number))
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
	NumericDigits digits = {0};
	int64		billionths = 0;
	int			last;

	(void) numeric_digits(cost, &digits);
	Assert(!numeric_is_nan(cost) && !numeric_is_inf(cost) && !digits.negative);
	for (int power = digits.first; power >= LAST_WHOLE_GROUP; power--)
		billionths = append_digits(billionths, NUMERIC_GROUP, numeric_digits_group(&digits, power));
	last = numeric_digits_group(&digits, LAST_WHOLE_GROUP - 1);
	billionths = append_digits(billionths, BILLIONTHS_PER_GROUP, last / BELOW_BILLIONTHS);
	if (round_up && billionths < PG_INT64_MAX &&
		(last % BELOW_BILLIONTHS > 0 || numeric_digits_below(&digits, LAST_WHOLE_GROUP - 1)))
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
