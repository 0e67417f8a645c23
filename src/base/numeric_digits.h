/*-------------------------------------------------------------------------
 *
 * numeric_digits.h
 *	  The digits of a numeric.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_NUMERIC_DIGITS_H
#define APIKEYS_BASE_NUMERIC_DIGITS_H

#include "utils/numeric.h"

/* Four decimal digits a group: group i counts 10000^(first - i). */
typedef struct NumericDigits
{
	bool		negative;
	int			scale;			/* decimals that are shown */
	int			first;			/* the power of the first group */
	int			ngroups;		/* 0: the number is 0 */
	const int16 *groups;		/* of the numeric, without zeroes at both ends */
} NumericDigits;

#define NUMERIC_GROUP	10000

extern bool numeric_digits(Numeric value, NumericDigits *digits);

/* The group that counts 10000^power. */
static inline int
numeric_digits_group(const NumericDigits *digits, int power)
{
	int			i = digits->first - power;

	return i >= 0 && i < digits->ngroups ? digits->groups[i] : 0;
}

/* Has it any digits below those of 10000^power? */
static inline bool
numeric_digits_below(const NumericDigits *digits, int power)
{
	return digits->ngroups > 0 && digits->first - digits->ngroups + 1 < power;
}

/* The number that the groups from one power down to another make. */
static inline int64
numeric_digits_number(const NumericDigits *digits, int first, int last)
{
	int64		number = 0;

	for (int power = first; power >= last; power--)
		number = number * NUMERIC_GROUP + numeric_digits_group(digits, power);
	return number;
}

#endif							/* APIKEYS_BASE_NUMERIC_DIGITS_H */
