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

/* In decimal; whole begins with no zero unless that is all. */
typedef struct NumericDigits
{
	bool		negative;
	int			nwhole;
	int			ndecimals;
	const char *whole;
	const char *decimals;
} NumericDigits;

extern bool numeric_digits(Numeric value, NumericDigits *digits);

#endif							/* APIKEYS_BASE_NUMERIC_DIGITS_H */
