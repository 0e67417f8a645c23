/*-------------------------------------------------------------------------
 *
 * numeric_digits.c
 *	  The digits of a numeric.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * For those who compute with integers: arithmetic with numerics, or their text,
 * takes several times as long.  The server has no function for this, but what it
 * stores is known, and stays: pg_upgrade keeps the tables.  Sixteen bits say what
 * follows:
 *
 *	 10 s dddddd w eeeeee	sign, scale and power of the first group
 *	 0s dddddddddddddd		sign and scale; the power is in the next sixteen
 *	 11 ...					NaN and infinity
 *
 * Then come the groups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/numeric_digits.h"

#define KIND(header)		((header) >> 14)
#define KIND_SHORT			2
#define KIND_SPECIAL		3
#define SHORT_SIGN			0x2000
#define SHORT_SCALE(header)	((header) >> 7 & 0x3f)
#define SHORT_POWER(header)	(((header) & 0x3f) - ((header) & 0x40))
#define LONG_SIGN			0x4000
#define LONG_SCALE(header)	((header) & 0x3fff)

/* Sets digits, which are valid as long as the numeric; false for NaN and infinity, which have none. */
bool
numeric_digits(Numeric value, NumericDigits *digits)
{
	const uint16 *words = (const uint16 *) VARDATA(value);
	int			nwords = (VARSIZE(value) - VARHDRSZ) / sizeof(uint16);
	uint16		header = words[0];
	bool		is_short = KIND(header) == KIND_SHORT;
	int			nheader = is_short ? 1 : 2;

	if (KIND(header) == KIND_SPECIAL)
		return false;

	digits->negative = (header & (is_short ? SHORT_SIGN : LONG_SIGN)) != 0;
	digits->scale = is_short ? SHORT_SCALE(header) : LONG_SCALE(header);
	digits->first = is_short ? SHORT_POWER(header) : (int16) words[1];
	digits->groups = (const int16 *) words + nheader;
	digits->ngroups = nwords - nheader;
	return true;
}
