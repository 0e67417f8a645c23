/*-------------------------------------------------------------------------
 *
 * numeric_digits.c
 *	  The digits of a numeric.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * For those who compute with integers: arithmetic with numerics takes several
 * times as long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/numeric_digits.h"

static int
count_digits(const char *text)
{
	return (int) strspn(text, "0123456789");
}

/* Sets digits, which are palloc'd; false for NaN and infinity, which have none. */
bool
numeric_digits(Numeric value, NumericDigits *digits)
{
	const char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));

	digits->negative = (*text == '-');
	digits->whole = text + digits->negative;
	digits->nwhole = count_digits(digits->whole);
	digits->decimals = digits->whole + digits->nwhole;
	if (*digits->decimals == '.')
		digits->decimals++;
	digits->ndecimals = count_digits(digits->decimals);

	return digits->nwhole > 0;
}
